"""Data set validation. Faults are reported before training and never fixed automatically.

`check` lists all faults; `require_sound` refuses those that would make training wrong. A check is a function from a
data set to a list of faults: `VALUES` look at single columns, `EPISODES` at flags and lengths, `DYNAMICS` at
consecutive rows.
"""

from __future__ import annotations

from collections.abc import Iterable

from ...core.errors import UserError, unknown
from ..dataset import Dataset
from .dynamics import DYNAMICS
from .episodes import EPISODES
from .faults import Fault, Where
from .values import VALUES

ALLOWED = {
    "both_flags": "rows with both flags are treated as terminations",
    "one_step": "every episode is a single decision (bandit logs)",
    "action_bounds": "clipped by the treatment (--clip-actions)",
    "same_action": "the log has one action only",
    "jump": "the transitions across the jumps are learned from",
    "reference": "normalised scores are not computed",
    "log_prob": "the logged log-probabilities are not used",
}
"""Fatal faults that the user may accept, and their meaning then. With the others there is nothing to train on."""


def check(dataset: Dataset) -> list[Fault]:
    """All faults of a data set: fatal ones first, then warnings, then notes. The data set is not changed.

    Fatal faults would make training wrong; warnings are probable mistakes; notes are for information.
    """
    faults = [Fault.from_dict(f) for f in dataset.provenance.get("faults", [])]
    if not dataset.n_steps:
        return [*faults, _empty()]
    for find in (*VALUES, *EPISODES):
        faults += find(dataset)
    if not dataset.images and not any(f.kind in ("nonfinite", "observation_shape") for f in faults):
        for find in DYNAMICS:
            faults += find(dataset)
    order = {"fatal": 0, "warn": 1, "note": 2}
    return sorted(faults, key=lambda f: order[f.level])


def require_sound(dataset: Dataset, allow: Iterable[str] = ()) -> list[Fault]:
    """Refuse a data set with fatal faults.

    Args:
        dataset: the data set.
        allow: kinds of fatal faults to accept, from `ALLOWED`.

    Returns:
        The warnings.

    Raises:
        UserError: fatal faults that are not allowed, the first one with its place and its fix; or an unknown kind in
            `allow`.
    """
    allow = set(allow)
    for kind in sorted(allow):
        if kind not in ALLOWED:
            raise unknown("fault to allow", kind, ALLOWED)
    faults = check(dataset)
    fatal = [f for f in faults if f.level == "fatal" and f.kind not in allow]
    if fatal:
        rest = ""
        if len(fatal) > 1:
            rest = f"; {len(fatal) - 1} more: {', '.join(dict.fromkeys(f.kind for f in fatal[1:]))}"
            rest += f" (`holdfast data check {dataset.id}` lists them)"
        raise UserError(f"{dataset.id}: {fatal[0]}{rest}")
    return [f for f in faults if f.level == "warn"]


def _empty() -> Fault:
    text = "the data set is empty: no transitions, expected at least one"
    return Fault("fatal", "empty", Where(), 1, text, "check how it was written")
