"""What is known of the policies of a run without an environment: estimates and departures from the log, in its folder.

`holdfast ope` writes `estimates.json` and `holdfast explain` writes `departures.json`. The report, the comparison and
the model card read them.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

from ..core.errors import UserError
from ..core.files import read_json, write_json
from ..core.schema import require_types
from ..evaluation.ope.departures import Departures
from ..evaluation.ope.result import OpeResult
from ..policy.folder import JSON, policies_in

FORMAT = 1
ESTIMATES = "estimates.json"
DEPARTURES = "departures.json"
PLACE: dict[str, Any] = {"folder": str, "step": int | None, "seed": int | None, "fingerprint": str}


class Estimated(NamedTuple):
    """The estimates of one policy of a run."""

    folder: str  # of the policy, below the run
    step: int | None
    seed: int | None
    fingerprint: str  # of the log
    result: OpeResult
    p_best: float | None  # probability that it is the best of the run's policies; None: not known


class Departed(NamedTuple):
    """The departures of one policy of a run from a log."""

    folder: str
    step: int | None
    seed: int | None
    fingerprint: str
    result: Departures


@dataclasses.dataclass(frozen=True, eq=False)
class Evidence:
    """What is known of the policies of a run without an environment; both lists may be empty.

    Attributes:
        estimates: those of the run's last policies.
        departures: those of the run's last policies.
        notes: what was left out, because it belongs to policies of other steps.
    """

    estimates: tuple[Estimated, ...] = ()
    departures: tuple[Departed, ...] = ()
    notes: tuple[str, ...] = ()

    @property
    def refused(self) -> bool:
        """Whether there is no estimate, or all of them are refused."""
        return all(one.result.refused for one in self.estimates)

    def departures_of(self, folder: str) -> Departures | None:
        """The departures of the policy in a folder below the run; None if they are not known."""
        return next((one.result for one in self.departures if one.folder == folder), None)


def write_estimates(
    run: Path, found: Sequence[tuple[Path, OpeResult]], fingerprint: str, p_best: Sequence[float] | None = None
) -> Path:
    """Write the estimates of the policies of a run.

    Args:
        run: the run's folder.
        found: the folder of each policy, and its estimates.
        fingerprint: that of the log.
        p_best: probability of each policy that it is the best of them; None: not known.

    Returns:
        The path of the file.

    Raises:
        UserError: it cannot be written.
    """
    policies = [
        {
            **_place(run, folder, fingerprint),
            "p_best": None if p_best is None else float(p_best[i]),
            "estimates": one.to_dict(),
        }
        for i, (folder, one) in enumerate(found)
    ]
    write_json(run / ESTIMATES, {"format": FORMAT, "policies": policies})
    return run / ESTIMATES


def write_departures(run: Path, found: Sequence[tuple[Path, Departures]], fingerprint: str) -> Path:
    """Write the departures of the policies of a run.

    Args:
        run: the run's folder.
        found: the folder of each policy, and its departures.
        fingerprint: that of the log.

    Returns:
        The path of the file.

    Raises:
        UserError: it cannot be written.
    """
    policies = [{**_place(run, folder, fingerprint), "departures": one.to_dict()} for folder, one in found]
    write_json(run / DEPARTURES, {"format": FORMAT, "policies": policies})
    return run / DEPARTURES


def read_evidence(run: Path) -> Evidence:
    """What is known of the last policies of a run without an environment.

    Raises:
        UserError: a file is damaged.
    """
    notes: list[str] = []
    steps = _steps(run)
    estimates = []
    for entry, where in _entries(run / ESTIMATES):
        hints = {**PLACE, "p_best": float | None, "estimates": dict[str, Any]}
        place = require_types(entry, hints, where, tuple(hints))
        if steps.get(place["folder"], -1) != place["step"]:
            notes.append(_stale(place, ESTIMATES, "holdfast ope"))
            continue
        result = OpeResult.from_dict(place["estimates"], where)
        own = (place["folder"], place["step"], place["seed"], place["fingerprint"])
        estimates.append(Estimated(*own, result, place["p_best"]))
    departures = []
    for entry, where in _entries(run / DEPARTURES):
        place = require_types(entry, {**PLACE, "departures": dict[str, Any]}, where, (*PLACE, "departures"))
        if steps.get(place["folder"], -1) != place["step"]:
            notes.append(_stale(place, DEPARTURES, "holdfast explain"))
            continue
        own = (place["folder"], place["step"], place["seed"], place["fingerprint"])
        departures.append(Departed(*own, Departures.from_dict(place["departures"], where)))
    return Evidence(tuple(estimates), tuple(departures), tuple(dict.fromkeys(notes)))


def _place(run: Path, folder: Path, fingerprint: str) -> dict[str, Any]:
    info = read_json(folder / JSON).get("info", {})
    return {"folder": folder.relative_to(run).as_posix(), "step": info.get("step"), "seed": info.get("seed"),
            "fingerprint": fingerprint}  # fmt: skip


def _steps(run: Path) -> dict[str, Any]:
    """The step of each last policy of a run by its folder."""
    try:
        folders = policies_in(run)
    except UserError:
        return {}
    return {folder.relative_to(run).as_posix(): read_json(folder / JSON).get("info", {}).get("step")
            for folder in folders}  # fmt: skip


def _entries(path: Path) -> list[tuple[Any, str]]:
    """The entries of a file with their names for errors; empty if there is no file."""
    if not path.is_file():
        return []
    found = read_json(path)
    require_types(found, {"format": int, "policies": list[dict[str, Any]]}, str(path), ("format", "policies"))
    if found["format"] != FORMAT:
        raise UserError(f"{path} has format {found['format']}, expected {FORMAT}: use another holdfast")
    return [(entry, f"policies[{i}] of {path}") for i, entry in enumerate(found["policies"])]


def _stale(place: dict[str, Any], name: str, command: str) -> str:
    old = f"step {place['step']} of {place['folder']}"
    return f"{name} belongs to {old}, which is not the last policy: run {command} again"
