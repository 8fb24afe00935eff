"""`Schema`: the roles of the columns of a table, and how its values become numbers and its actions get their labels.

A schema begins as the roles that a person declares (`roles`). Fitting completes it with what the training data decide:
categories, values that replace missing ones, action labels and bounds. The complete schema is saved with the data set
and the policy.
"""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Mapping, Sequence
from fnmatch import fnmatchcase
from typing import Any, Literal

Kind = Literal["number", "one-hot", "ordinal"]
Missing = Literal["refuse", "constant", "mean", "median", "indicator"]
Label = str | int | bool
Value = Any  # a number, a text, a flag, or what a library takes for a missing value

MOST_LABELS = 2**16  # discrete actions of one column
SINGLE = (
    "reward",
    "episode",
    "time",
    "termination",
    "truncation",
    "propensity",
    "discount",
    "weight",
    "split",
    "cluster",
)
"""Roles of one column each."""


@dataclasses.dataclass(frozen=True)
class Column:
    """How one column of a table becomes numbers of an observation."""

    name: str  # in a roles file also a pattern: sensor_*
    kind: Kind = "number"
    categories: tuple[str, ...] | None = None  # as texts, in their order; None: those of the training data
    missing: Missing = "refuse"
    value: float | str | None = None  # what replaces a missing value; mean and median get it from the training data
    unknown: Literal["refuse", "zeros"] = "refuse"  # a category that is not listed: refused, or no category

    @property
    def width(self) -> int:
        """Numbers of the observation: one, or one for each category, and one more for an indicator."""
        return len(self.names)

    @property
    def names(self) -> list[str]:
        """A name for each number of the observation."""
        own = [self.name]
        if self.kind == "one-hot":
            own = [f"{self.name}={category}" for category in self.categories or ()]
        return [*own, f"{self.name} missing"] if self.missing == "indicator" else own

    def to_dict(self) -> dict[str, Any]:
        """The entry of a roles file."""
        found: dict[str, Any] = {"kind": self.kind}
        if self.categories is not None:
            found["categories"] = list(self.categories)
        if self.missing != "refuse":
            found["missing"] = self.missing
        if self.value is not None:
            found["value"] = self.value
        return found | ({"unknown": self.unknown} if self.unknown != "refuse" else {})


@dataclasses.dataclass(frozen=True)
class Actions:
    """The columns of the action. Discrete ones have labels, continuous ones have bounds."""

    columns: tuple[str, ...]
    kind: Literal["discrete", "continuous"] | None = None  # None: floats are continuous, all else is discrete
    labels: tuple[tuple[Label, ...], ...] | None = None  # of each column; None: those of the training data
    low: tuple[float, ...] | None = None  # of each column; None: the least action of the training data
    high: tuple[float, ...] | None = None

    def to_dict(self) -> dict[str, Any]:
        """The entry of a roles file."""
        found: dict[str, Any] = {"columns": list(self.columns)}
        if self.kind is not None:
            found["kind"] = self.kind
        if self.labels is not None:
            found["labels"] = [list(each) for each in self.labels]
        if self.low is not None and self.high is not None:
            found |= {"low": list(self.low), "high": list(self.high)}
        return found


@dataclasses.dataclass(frozen=True)
class Legal:
    """Which discrete actions are legal: one column that lists their labels, or a column of flags for each label."""

    column: str | None = None
    separator: str = "|"  # between the labels in a text
    columns: Mapping[str, str] | None = None  # label, as text -> column of flags

    def to_dict(self) -> dict[str, Any]:
        """The entry of a roles file."""
        if self.columns is not None:
            return {"columns": dict(self.columns)}
        return {"column": self.column, "separator": self.separator}


@dataclasses.dataclass(frozen=True)
class Schema:
    """The roles of the columns of a table.

    Attributes:
        observations: the columns of an observation, in their order.
        action: the columns of the action.
        reward: column of the reward.
        episode: column of the number or name of the episode; None: each row is an episode, or flags end episodes.
        time: column that orders the rows of an episode; None: the order of the table.
        termination, truncation: columns of flags: the row truly ends the episode, or a limit cuts it.
        last_row: what the last row of an episode is if no flag ends it.
        ties: whether rows of an episode with equal times are refused, or keep the order of the table.
        propensity: column with the probability (of a continuous action: the density) of the logged action.
        legal: which discrete actions are legal.
        discount: column of discounts of single steps.
        weight: column that says how much a row counts in averages.
        split: column that names the part of the data that a row belongs to.
        cluster: column of the unit that intervals resample: a user, a day.
        next_observations: columns of the observation after the step, in the order of `observations`.
        missing_texts: texts of a CSV file that mean: no value.
    """

    observations: tuple[Column, ...]
    action: Actions
    reward: str
    episode: str | None = None
    time: str | None = None
    termination: str | None = None
    truncation: str | None = None
    last_row: Literal["terminal", "cut"] | None = None
    ties: Literal["refuse", "file"] = "refuse"
    propensity: str | None = None
    legal: Legal | None = None
    discount: str | None = None
    weight: str | None = None
    split: str | None = None
    cluster: str | None = None
    next_observations: tuple[str, ...] | None = None
    missing_texts: tuple[str, ...] = ()

    @property
    def one_step(self) -> bool:
        """Whether each row is an episode of one step, as in logs of bandits."""
        return self.episode is None and self.termination is None and self.truncation is None

    @property
    def width(self) -> int:
        """Numbers of an observation."""
        return sum(column.width for column in self.observations)

    @property
    def dimensions(self) -> list[str]:
        """A name for each number of an observation."""
        return [name for column in self.observations for name in column.names]

    @property
    def action_names(self) -> list[str] | None:
        """A name for each discrete action: its label, or those of all columns; None if actions are continuous."""
        labels = self.action.labels
        if labels is None:
            return None
        if len(labels) == 1:
            return [str(label) for label in labels[0]]
        return [", ".join(map(str, each)) for each in itertools.product(*labels)]

    @property
    def named(self) -> list[str]:
        """All columns that have a role. A name with `*` is a pattern."""
        legal = self.legal
        found = [*self.action.columns, *(column.name for column in self.observations), *(self.next_observations or ())]
        if legal is not None:
            found += [legal.column] if legal.column is not None else [*(legal.columns or {}).values()]
        return [*found, *(name for name in (getattr(self, role) for role in SINGLE) if name is not None)]

    def expanded(self, names: Sequence[str]) -> Schema:
        """The schema with the columns that the patterns of its observations match, in the order of the table.

        A pattern matches the columns that have no other role.

        Args:
            names: the columns of the table.
        """
        taken = {name for name in self.named if name in names}
        found: list[Column] = []
        for column in self.observations:
            matched = [column.name]
            if "*" in column.name and column.name not in names:
                matched = [name for name in names if name not in taken and fnmatchcase(name, column.name)] or matched
            taken.update(matched)
            found += [dataclasses.replace(column, name=name) for name in matched]
        return dataclasses.replace(self, observations=tuple(found))

    def to_dict(self) -> dict[str, Any]:
        """The JSON-ready form, which `roles.schema_of` reads; it is also that of a roles file."""
        found: dict[str, Any] = {name: getattr(self, name) for name in SINGLE if getattr(self, name) is not None}
        found["action"] = self.action.to_dict()
        found["observations"] = {column.name: column.to_dict() for column in self.observations}
        if self.last_row is not None:
            found["last_row"] = self.last_row
        if self.ties != "refuse":
            found["ties"] = self.ties
        if self.legal is not None:
            found["legal"] = self.legal.to_dict()
        if self.next_observations is not None:
            found["next_observations"] = list(self.next_observations)
        if self.missing_texts:
            found["missing_texts"] = list(self.missing_texts)
        return found


def text_of(value: Value) -> str:
    """The text of a category or a label in comparisons: 1, 1.0 and "1" are the same."""
    value = value.item() if hasattr(value, "item") and getattr(value, "shape", None) == () else value
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, float) and value.is_integer():
        return str(int(value))
    return str(value)
