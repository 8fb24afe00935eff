"""Every fault of a data set, found before training and mended by nobody but its owner.

`check` lists all of them; `require_sound` refuses those that would make training wrong. A check is a function from a
data set to faults; `VALUES` look at columns one by one, `EPISODES` at flags and lengths, `DYNAMICS` at whether rows
follow from one another.
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
    "both_flags": "rows with both flags are true ends",
    "one_step": "every decision stands alone (bandit logs)",
    "action_bounds": "clipped by the treatment (--clip-actions)",
    "same_action": "the log has one action only",
    "jump": "the transitions across the jumps are learned from",
    "log_prob": "the logged log-probabilities are not used",
}
"""Fatal faults that a person may take on, and what then holds. The others leave nothing to train on."""


def check(dataset: Dataset) -> list[Fault]:
    """Every fault of a data set: fatal ones first, then warnings, then notes. Changes nothing."""
    faults = [Fault.from_dict(f) for f in dataset.provenance.get("faults", [])]
    if not dataset.n_steps:
        return [*faults, _empty()]
    for find in (*VALUES, *EPISODES):
        faults += find(dataset)
    if not any(f.kind in ("nonfinite", "observation_shape") for f in faults):
        for find in DYNAMICS:
            faults += find(dataset)
    order = {"fatal": 0, "warn": 1, "note": 2}
    return sorted(faults, key=lambda f: order[f.level])


def require_sound(dataset: Dataset, allow: Iterable[str] = ()) -> list[Fault]:
    """Refuse a data set that training would go wrong on; otherwise give its warnings.

    Args:
        dataset: the data.
        allow: kinds of fatal faults to take on, of `ALLOWED`.

    Raises:
        UserError: fatal faults that are not allowed, the first with its place and mend; or an unknown kind in `allow`.
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
