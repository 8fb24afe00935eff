"""Where a policy departs from a log, and for whom it gains or loses: one row for each group of a column."""

from __future__ import annotations

import dataclasses
import typing
from typing import Any

from ...core.errors import UserError
from ...core.schema import require_types
from ...core.shown import facts_html, line, table_html
from ..statistics import Estimate
from .result import signed

HEADER = ("column", "group", "decisions", "departs", "flagged", "episodes", "gain", "note")


@dataclasses.dataclass(frozen=True)
class Group:
    """Decisions and episodes whose value of one column lies in one range, or is one value.

    Attributes:
        column: name of the observation column; "all" for the whole log.
        label: the range or the value.
        share: share of the logged decisions.
        departs: discrete actions: probability that the policy does not do what was logged. Continuous ones: mean
            difference to the logged action, in half widths of the range.
        flagged: share of decisions in which the support of the policy's action is too low; None: no score.
        episodes: episodes that begin in the group.
        gain: estimated value of the policy minus logged return of these episodes, with its interval; None: not given.
        note: why there is no gain.
    """

    column: str
    label: str
    share: float
    departs: float
    flagged: float | None
    episodes: int
    gain: Estimate | None = None
    note: str = ""

    @property
    def clear(self) -> str:
        """`gains`, `loses`, or an empty text if the interval includes 0 or is not known."""
        if self.gain is None or self.gain.low is None or self.gain.high is None:
            return ""
        return "gains" if self.gain.low > 0 else "loses" if self.gain.high < 0 else ""

    def cells(self) -> tuple[str, ...]:
        """The texts of `HEADER`."""
        flagged = "" if self.flagged is None else f"{self.flagged:.0%}"
        note = self.note or self.clear
        return (self.column, self.label, f"{self.share:.0%}", f"{self.departs:.3g}", flagged, str(self.episodes),
                signed(self.gain), note)  # fmt: skip


@dataclasses.dataclass(frozen=True)
class Departures:
    """How a policy differs from a log, as a whole and by groups.

    Attributes:
        policy: name of the policy.
        dataset: name of the log.
        discrete: whether actions are discrete; it decides what `departs` means.
        estimator: the estimator of the gains; empty if they are not given.
        reason: why they are not given; empty if they are.
        level: confidence level of each interval. All intervals hold together with 95 %.
        whole: the whole log.
        groups: the groups of all columns.
        actions: share of each action in the log and under the policy, or the mean of each dimension:
            (name, logged, policy).
    """

    policy: str
    dataset: str
    discrete: bool
    estimator: str
    reason: str
    level: float
    whole: Group
    groups: tuple[Group, ...]
    actions: tuple[tuple[str, float, float], ...]

    @property
    def sentences(self) -> list[str]:
        """What is most important, in sentences."""
        what = "does something else than what was logged in" if self.discrete else "differs from the logged action by"
        unit = "of the decisions" if self.discrete else "of half the range of actions"
        found = [f"The policy {what} {self.whole.departs:.0%} {unit}."]
        if self.whole.flagged is not None:
            found.append(f"The support of its actions is too low in {self.whole.flagged:.0%} of the logged states.")
        most = max(self.groups, key=lambda group: group.departs, default=None)
        if most is not None:
            found.append(f"It departs most where {most.column} is {most.label} ({most.departs:.3g}).")
        for word in ("gains", "loses"):
            clear = [group for group in self.groups if group.clear == word]
            if clear:
                named = "; ".join(f"{group.column} {group.label}: {signed(group.gain)}" for group in clear[:3])
                found.append(f"It {word} clearly in {len(clear)} of {len(self.groups)} groups ({named}).")
        if self.reason:
            found.append(f"Gains are not known: {self.reason}.")
        if self.estimator and not any(group.clear for group in self.groups):
            found.append("No group clearly gains or loses.")
        return found

    def table(self) -> list[tuple[str, ...]]:
        """The cells of the whole log and of every group, see `HEADER`."""
        return [one.cells() for one in (self.whole, *self.groups)]

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready values."""
        found = {field.name: getattr(self, field.name) for field in dataclasses.fields(self)}
        found["whole"] = _values(self.whole)
        found["groups"] = [_values(group) for group in self.groups]
        found["actions"] = [list(one) for one in self.actions]
        return found

    @classmethod
    def from_dict(cls, values: dict[str, Any], where: str) -> Departures:
        """What `to_dict` wrote.

        Raises:
            UserError: an entry is missing or of another type.
        """
        hints = typing.get_type_hints(cls) | {
            "whole": dict[str, Any], "groups": list[dict[str, Any]], "actions": list[tuple[str, float, float]],
        }  # fmt: skip
        found = require_types(values, hints, where, tuple(hints))
        made: dict[str, Any] = {name: found[name] for name in hints}
        made["whole"] = _group(found["whole"], where)
        made["groups"] = tuple(_group(one, where) for one in found["groups"])
        made["actions"] = tuple((str(name), float(a), float(b)) for name, a, b in found["actions"])
        return cls(**made)

    def __repr__(self) -> str:
        return line("Departures", f"{self.policy} from {self.dataset}: {' '.join(self.sentences)}")

    def _repr_html_(self) -> str:
        actions = [(name, f"{a:.3g}", f"{b:.3g}") for name, a, b in self.actions]
        return (
            facts_html(f"{self.policy} on {self.dataset}", [("", text) for text in self.sentences])
            + table_html("groups", HEADER, self.table())
            + table_html("actions", ("action", "log", "policy"), actions)
        )


def _values(group: Group) -> dict[str, Any]:
    return {**dataclasses.asdict(group), "gain": None if group.gain is None else list(group.gain)}


def _group(values: dict[str, Any], where: str) -> Group:
    hints = typing.get_type_hints(Group) | {"gain": list[float | None] | None}
    found = require_types(values, hints, f"a group in {where}", tuple(hints))
    gain = found["gain"]
    if gain is not None and (len(gain) != 3 or gain[0] is None or (gain[1] is None) != (gain[2] is None)):
        raise UserError(f"{where} has a gain that is not a value with an interval: run holdfast explain again")
    return Group(**{**{name: found[name] for name in hints}, "gain": None if gain is None else Estimate(*gain)})
