"""The trials of a search for settings: the rows of `trials.csv` and `trials.parquet`."""

from __future__ import annotations

import csv
import importlib.util
import io
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

from ..core.files import write_atomic
from ..evaluation.statistics import Estimate

PRESET = "preset"  # origin of the trial that has the settings of the preset
FINISHED = "finished"
HEADER = (
    "algorithm", "data", "trial", "round", "origin", "state", "steps", "seeds", "value", "low", "high", "score",
    "run", "note",
)  # fmt: skip


class Trial(NamedTuple):
    """One setting that was trained with every seed."""

    algorithm: str
    data: str
    number: int  # from 0; 0 has the settings of the preset
    round: int  # from 0
    origin: str  # preset, or the sampler's name
    values: dict[str, Any]  # the searched settings
    steps: int  # of each seed
    seeds: list[int]
    state: str  # finished, diverged, refused (no estimate), failed
    each: list[float]  # return, or estimate of the return, of each seed; empty if there is none
    value: float | None = None  # their average
    low: float | None = None  # 95 % interval of the average
    high: float | None = None
    score: float | None = None  # normalised score of the average; None: no reference returns are known
    replicas: tuple[str, ...] = ()  # names in the run
    run: str = ""  # folder of the run, in that of the search
    note: str = ""  # why there is no value

    @property
    def label(self) -> str:
        """The settings on one line."""
        return ", ".join(f"{name} {value_text(value)}" for name, value in self.values.items()) or self.origin

    @property
    def estimate(self) -> Estimate | None:
        """The average with its interval."""
        return None if self.value is None else Estimate(self.value, self.low, self.high)

    def row(self) -> dict[str, Any]:
        """The cells below HEADER, and one column `config.NAME` for each setting."""
        cells = (
            self.algorithm, self.data, self.number, self.round, self.origin, self.state, self.steps, len(self.seeds),
            self.value, self.low, self.high, self.score, self.run, self.note,
        )  # fmt: skip
        settings = {f"config.{name}": json.dumps(x) if isinstance(x, list) else x for name, x in self.values.items()}
        return dict(zip(HEADER, cells, strict=True)) | settings


def value_text(value: float | str | list[Any]) -> str:
    """The value of a setting in few characters."""
    return f"{value:g}" if isinstance(value, float) else str(value)


def full(trials: Sequence[Trial]) -> list[Trial]:
    """The trials with a value that were trained for the most steps, the best first."""
    most = max((one.steps for one in trials), default=0)
    found = [one for one in trials if one.value is not None and one.steps == most]
    return sorted(found, key=lambda one: (-(one.value or 0.0), one.number))


def write(trials: Sequence[Trial], folder: Path) -> list[Path]:
    """Write `trials.csv`, and `trials.parquet` if Polars is installed.

    Args:
        trials: at least one trial.
        folder: where to write.

    Raises:
        UserError: the disk is full or read-only.
    """
    rows = [trial.row() for trial in trials]
    names = list(dict.fromkeys(name for row in rows for name in row))
    text = io.StringIO(newline="")
    writer = csv.DictWriter(text, names, restval="")
    writer.writeheader()
    writer.writerows([{k: "" if v is None else repr(v) if isinstance(v, float) else v for k, v in row.items()}
                      for row in rows])  # fmt: skip
    write_atomic(folder / "trials.csv", text.getvalue().encode(errors="backslashreplace"))
    if importlib.util.find_spec("polars") is None:
        return [folder / "trials.csv"]
    import polars

    columns = {name: _column([row.get(name) for row in rows]) for name in names}
    data = io.BytesIO()
    polars.DataFrame(columns).write_parquet(data)
    write_atomic(folder / "trials.parquet", data.getvalue())
    return [folder / "trials.csv", folder / "trials.parquet"]


def _column(values: list[Any]) -> list[Any]:
    """Cells of one type: floats if there is one among the numbers, texts if there is one among them."""
    kinds = {type(value) for value in values if value is not None}
    if kinds <= {int, float} and float in kinds:
        return [None if value is None else float(value) for value in values]
    return [None if value is None else str(value) for value in values] if len(kinds) > 1 else values
