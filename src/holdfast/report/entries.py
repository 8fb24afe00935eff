"""What a comparison compares: finds runs by folders and patterns, and gives each run, or each setting of a sweep, a
label that says how it differs from the others."""

from __future__ import annotations

import dataclasses
import glob
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from ..core.errors import UserError
from ..evaluation.ope.result import bounds, number, signed
from ..evaluation.statistics import Estimate
from ..runs.estimates import Estimated, read_evidence
from ..runs.groups import Group
from ..runs.listing import find_runs
from ..runs.read import Record, read_run
from ..runs.settings import Setting, Settings

MOST_NAMED = 3  # settings in a label; if more differ, the name of the folder is clearer


@dataclasses.dataclass(frozen=True, eq=False)
class Entry:
    """The seeds of a run, or of one setting of a sweep."""

    label: str  # algorithm and settings that differ; no two entries of a task have the same
    task: str  # the data set, or the environment if there are no data
    record: Record
    rows: list[int]  # indices of its replicas, in the order of their seeds

    @property
    def seeds(self) -> list[int]:
        """Seeds of the replicas, ascending."""
        return [self.record.seeds[i] for i in self.rows]

    @property
    def returns(self) -> np.ndarray:
        """Returns [R, E] in the last evaluation."""
        return self.record.final(self.rows)

    @property
    def scores(self) -> np.ndarray | None:
        """Normalised score [R] of each seed's mean return; None if no reference is known."""
        return self.record.score(self.returns.mean(1))

    @property
    def step(self) -> int:
        """Step of the last evaluation."""
        return int(self.record.eval_steps[-1]) + self.record.origin


class EstimatedEntry(NamedTuple):
    """A policy of a run that was not evaluated, with its best estimate from logged data."""

    label: str
    task: str
    record: Record
    found: Estimated

    @property
    def row(self) -> dict[str, Any]:
        """The same columns as those of an evaluated entry."""
        best = self.found.result.best
        interval = best.interval or Estimate(float("nan"), None, None)
        difference = best.difference or Estimate(float("nan"), None, None)
        return {
            "task": self.task, "entry": self.label, "run": str(self.record.path),
            "finished": self.record.result is not None, "seeds": str(self.found.seed),
            "episodes": self.found.result.episodes, "step": self.found.step, "best": False,
            "average": f"estimate ({best.name})", "return": best.value, "return_low": interval.low,
            "return_high": interval.high, "score": None, "reference": f"log {self.found.result.dataset}",
            "difference": None if best.difference is None else difference.value, "difference_low": difference.low,
            "difference_high": difference.high, "paired": None, "improvement": None, "improvement_low": None,
            "improvement_high": None,
        }  # fmt: skip

    @property
    def cells(self) -> tuple[str, ...]:
        """The texts of `ESTIMATE_HEADER`."""
        best = self.found.result.best
        return (self.label, best.name, f"{number(best.value)} {bounds(best.interval)}", signed(best.difference),
                self.found.result.dataset, str(self.found.result.episodes), str(self.found.step))  # fmt: skip


ESTIMATE_HEADER = ("policy", "estimator", "estimate [95 % interval]", "against the log [95 % interval]", "log",
                   "episodes", "step")  # fmt: skip


def find(names: Sequence[str | Path]) -> list[Path]:
    """Folders of runs.

    Args:
        names: folders of runs, folders that contain runs, and patterns (`runs/iql-*`).

    Returns:
        Each run once, in the order of the names.

    Raises:
        UserError: a name is not a folder, a pattern matches nothing, or there is no run in a folder.
    """
    found: dict[Path, Path] = {}
    for name in names:
        for path in _matches(name):
            inside = [path] if (path / "config.json").is_file() else list(find_runs(path))
            if not inside:
                raise UserError(f"{path} contains no run: name folders that `holdfast train` made, or a folder of them")
            for run in inside:
                found.setdefault(run.resolve(), run)
    return list(found.values())


def _matches(name: str | Path) -> list[Path]:
    path = Path(name)
    if path.is_dir():
        return [path]
    if not glob.has_magic(str(name)):
        raise UserError(f"{name} is not a folder: name folders of runs, or a folder that contains runs")
    found = [Path(match) for match in sorted(glob.glob(str(name))) if Path(match).is_dir()]
    if not found:
        raise UserError(f"no folder matches {name}: name folders of runs, or a folder that contains runs")
    return found


def entries_of(paths: Sequence[Path]) -> tuple[list[Entry], list[EstimatedEntry], list[str]]:
    """The entries of runs, the estimated policies of runs without evaluations, and one line for each run without both.

    Raises:
        UserError: a folder is not a run, or a file is damaged.
    """
    records = [read_run(path) for path in paths]
    differing = _differing(records)
    found = []
    estimated: list[EstimatedEntry] = []
    left_out = []
    for record in records:
        if not len(record.eval_steps):
            some = _estimated(record, _settings_texts(record, differing[_family(record)]))
            estimated += some
            left_out += [] if some else [f"{record.path}: no evaluation yet, and no estimate (holdfast ope)"]
            continue
        texts = _settings_texts(record, differing[_family(record)])
        for group in record.groups:
            parts = [*texts, *([group.label] if group.label else [])]
            label = f"{_family(record)} {', '.join(parts)}" if len(parts) <= MOST_NAMED else _by_folder(record, group)
            rows = sorted(group.rows, key=lambda i: record.seeds[i])
            found.append(Entry(label.strip(), _task(record), record, rows))
    return _distinct(found), estimated, left_out


def _estimated(record: Record, texts: Sequence[str]) -> list[EstimatedEntry]:
    """The estimated policies of a run; empty if it has none, or all estimates are refused."""
    given = [one for one in read_evidence(record.path).estimates if not one.result.refused]
    found = []
    for one in given:
        parts = [*texts] if len(texts) <= MOST_NAMED else [record.path.name]
        parts += [Path(one.folder).name] if len(given) > 1 else []
        label = f"{_family(record)} {', '.join(parts)}".strip()
        found.append(EstimatedEntry(f"{label} ({record.path.name})", _task(record), record, one))
    return found


def _by_folder(record: Record, group: Group) -> str:
    return f"{_family(record)} ({record.path.name}) {group.label}"


def _task(record: Record) -> str:
    return Path(record.subject).name if record.is_path else record.subject


def _family(record: Record) -> str:
    """The algorithm, and whether the run fine-tunes another."""
    return str(record.config["algorithm"]) + (" fine-tuned" if record.config.get("source") else "")


def _values(record: Record) -> dict[str, Any]:
    """Settings that decide what a run computes, by name."""
    settings = Settings.from_dict(record.config, str(record.path / "config.json"))
    own = {name: getattr(settings, name) for name in ("steps", "growing", "envs", "replay")}
    return {**settings.config, **settings.treatment, **own}


def _differing(records: Sequence[Record]) -> dict[str, list[str]]:
    """Names of the settings that differ between runs of one algorithm on the same task, by algorithm."""
    found: dict[str, list[str]] = {_family(record): [] for record in records}
    for family, names in found.items():
        alike = [record for record in records if _family(record) == family]
        values = {id(record): _values(record) for record in alike}
        for record in alike:
            for other in alike:
                if _task(record) != _task(other):
                    continue
                both = values[id(record)] | values[id(other)]
                names += [n for n in both if values[id(record)].get(n) != values[id(other)].get(n)]
            names += record.sweep[0] if len(alike) > 1 else []
        found[family] = list(dict.fromkeys(names))
    return found


def _settings_texts(record: Record, names: Sequence[str]) -> list[str]:
    """`["batch_size 64"]`: the settings of these names, without those that the run sweeps."""
    values = _values(record)
    return [f"{name} {_text(values.get(name))}" for name in names if name not in record.sweep[0]]


def _text(value: Setting) -> str:
    if isinstance(value, float):
        return f"{value:g}"
    return " ".join(map(str, value)) if isinstance(value, list | tuple) else str(value)


def _distinct(entries: list[Entry]) -> list[Entry]:
    """The entries; the label of each that has a namesake in its task gets the name of its folder, or its path."""
    for name in (lambda entry: entry.record.path.name, lambda entry: str(entry.record.path)):
        keys = [(entry.task, entry.label) for entry in entries]
        entries = [
            dataclasses.replace(entry, label=f"{entry.label} ({name(entry)})") if keys.count(key) > 1 else entry
            for entry, key in zip(entries, keys, strict=True)
        ]
    return entries
