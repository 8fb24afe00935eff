"""The results of a search: its trials, the best settings as preset files, and the files that it writes."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

from ..core.errors import UserError
from ..core.files import read_json, write_atomic, write_json
from ..core.schema import require_types
from ..core.shown import counted, line, table_html
from ..report.tune_page import HEADER, Part, page, row_texts
from ..runs import trials as tables
from ..runs.trials import Trial
from .plan import FILE, Search
from .search import Cell, best_settings

TRIALS = "trials.json"
TRIAL: dict[str, Any] = {
    "algorithm": str, "data": str, "number": int, "round": int, "origin": str, "values": dict[str, Any], "steps": int,
    "seeds": list[int], "state": str, "each": list[float], "value": float | None, "low": float | None,
    "high": float | None, "score": float | None, "replicas": list[str], "run": str, "note": str,
}  # fmt: skip


class Tuning:
    """A finished search."""

    def __init__(self, path: Path, trials: Sequence[Trial]) -> None:
        """
        Args:
            path: folder of the search.
            trials: all trials of all rounds.
        """
        self.path = path
        self.trials = list(trials)

    @classmethod
    def load(cls, path: str | Path) -> Tuning:
        """A finished search from its folder.

        Raises:
            UserError: the folder is not that of a search, or the search is not finished.
        """
        file = Path(path) / TRIALS
        if not file.is_file():
            known = (Path(path) / FILE).is_file()
            hint = f"resume it with holdfast tune --resume {path}" if known else "name a folder of `holdfast tune`"
            raise UserError(f"{path} is not a finished search: {hint}")
        entries = require_types(read_json(file), {"trials": list[dict[str, Any]]}, str(file), ("trials",))["trials"]
        found = [require_types(one, TRIAL, str(file), tuple(TRIAL)) for one in entries]
        return cls(Path(path), [Trial(**{**one, "replicas": tuple(one["replicas"])}) for one in found])

    @property
    def searches(self) -> dict[tuple[str, str], list[Trial]]:
        """The trials of each algorithm on each data set."""
        found: dict[tuple[str, str], list[Trial]] = {}
        for trial in self.trials:
            found.setdefault((trial.algorithm, trial.data), []).append(trial)
        return found

    @property
    def best(self) -> Trial:
        """The trial with the highest value, of those that were trained for all steps.

        Raises:
            UserError: there are several searches, whose values cannot be compared, or no trial has a value.
        """
        if len({trial.data for trial in self.trials}) > 1:
            raise UserError("the trials are of several data sets: use `searches`")
        found = tables.full(self.trials)
        if not found:
            raise UserError(f"no trial in {self.path} has a value")
        return found[0]

    def preset(self, algorithm: str | None = None, data: str | None = None) -> Path:
        """The file with the best settings, which `holdfast train --config` takes.

        Args:
            algorithm: which algorithm. None: the only one.
            data: which data set. None: the only one.

        Raises:
            UserError: no or several searches fit.
        """
        fits = [key for key in self.searches if algorithm in (None, key[0]) and data in (None, key[1])]
        if len(fits) != 1:
            raise UserError(f"{len(fits)} searches fit: name the algorithm and the data set, as `searches` has them")
        trial = self.searches[fits[0]][0]
        return self.path / f"best-{Path(trial.run).parent.name}.json"

    def rows(self) -> list[dict[str, Any]]:
        """One dictionary for each trial and round, for a data frame."""
        return [trial.row() for trial in self.trials]

    def __repr__(self) -> str:
        about = f"{counted(len(self.trials), 'trial')} in {self.path}"
        return line("Tuning", about)

    def _repr_html_(self) -> str:
        return "".join(
            table_html(f"{algorithm} on {data}", HEADER, row_texts(trials))
            for (algorithm, data), trials in self.searches.items()
        )


class Written(NamedTuple):
    """A finished search, and what is missing among its files."""

    tuning: Tuning
    notes: list[str]


def write(folder: Path, found: Sequence[tuple[Cell, list[Trial]]], search: Search) -> Written:
    """Write the table, the preset files and the page of a search.

    Args:
        folder: folder of the search.
        found: the trials of each cell.
        search: what was searched.

    Raises:
        UserError: the disk is full or read-only.
    """
    trials = [trial for _, some in found for trial in some]
    files = tables.write(trials, folder)
    notes = [] if len(files) > 1 else ["trials.parquet needs Polars: pip install 'holdfast-rl[table]'"]
    for cell, some in found:
        best = tables.full(some)
        if best:
            write_json(folder / f"best-{cell.name}.json", best_settings(cell, best[0]).to_dict())
    parts = [Part(cell.name, cell.given.algorithm, cell.given.subject, some, _logs(cell)) for cell, some in found]
    try:
        text = page(parts, search.by, search.sampler)
        write_atomic(folder / "tune.html", text.encode(errors="backslashreplace"))
    except UserError as error:
        notes.append(f"no page: {error}")
    write_json(folder / TRIALS, {"trials": [json.loads(json.dumps(trial._asdict())) for trial in trials]})
    return Written(Tuning(folder, trials), notes)


def _logs(cell: Cell) -> frozenset[str]:
    """Settings whose axis is logarithmic."""
    return frozenset(domain.name for domain in cell.space if domain.log)
