"""`Schema`: the roles of the columns of a table, and how its values become numbers and its actions get their labels.

A schema begins as the roles that a person declares. Fitting completes it with what the training data decide:
categories, values that replace missing ones, action labels and bounds. The complete schema is saved with the data set
and the policy.
"""

from __future__ import annotations

import dataclasses
import itertools
import math
import tomllib
from collections.abc import Mapping, Sequence
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any, Literal

from ...core.errors import UserError, unknown
from ...core.files import LARGEST_JSON, read_regular
from ...core.schema import require_types, shown

Kind = Literal["number", "one-hot", "ordinal"]
Missing = Literal["refuse", "constant", "mean", "median", "indicator"]
Label = str | int | bool
Value = Any  # a number, a text, a flag, or what a library takes for a missing value
Entry = Any  # of a roles file, before its type is checked
Roles = Mapping[str, Any]  # as a roles file declares them

MOST_DIMENSIONS = 2**16  # numbers of an observation
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
FILE: dict[str, Any] = {  # entries of a roles file
    **dict.fromkeys(SINGLE, str | None),
    "observations": list[str] | dict[str, Any],
    "next_observations": list[str] | None,
    "action": str | list[str] | dict[str, Any],
    "legal": str | dict[str, Any] | None,
    "last_row": Literal["terminal", "cut", None],
    "ties": Literal["refuse", "file"],
    "missing": Literal["refuse", "mean", "median", "indicator"],
    "missing_texts": list[str],
}
COLUMN: dict[str, Any] = {
    "kind": Literal["number", "one-hot", "ordinal"],
    "categories": list[str | int | bool | float] | None,
    "missing": Literal["refuse", "constant", "mean", "median", "indicator"],
    "value": float | str | None,
    "unknown": Literal["refuse", "zeros"],
}
ACTION: dict[str, Any] = {
    "columns": list[str],
    "kind": Literal["discrete", "continuous", None],
    "labels": list[str | int | bool] | list[list[str | int | bool]] | None,
    "low": float | list[float] | None,
    "high": float | list[float] | None,
}
LEGAL: dict[str, Any] = {"column": str | None, "separator": str, "columns": dict[str, str] | None}


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
        """The JSON-ready form, which `from_dict` reads; it is also that of a roles file."""
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

    @classmethod
    def from_dict(cls, values: Entry, where: str) -> Schema:
        """A schema from what a roles file, a data set or a policy holds.

        Args:
            values: the entries. A role of one column is its name; see `docs/tables.md` for the others.
            where: name of the file in error messages.

        Raises:
            UserError: an unknown or missing entry, or one of another type.
        """
        values = dict(require_types(values, FILE, where))
        for name in values:
            if name not in FILE:
                raise unknown(f"role in {where}", str(name), FILE)
        for name, example in (("reward", "click"), ("action", "item")):
            if not values.get(name):
                raise UserError(f'{where} names no {name}: add the column, for example {name} = "{example}"')
        missing = values.get("missing", "refuse")
        following = values.get("next_observations")
        found = cls(
            observations=_observations(values.get("observations") or {}, missing, where),
            action=_actions(values["action"], where),
            legal=_legal(values.get("legal"), where),
            last_row=values.get("last_row"),
            ties=values.get("ties", "refuse"),
            next_observations=None if following is None else tuple(following),
            missing_texts=tuple(values.get("missing_texts", ())),
            **{name: values.get(name) for name in SINGLE},
        )
        found._require_roles(where)
        return found

    def _require_roles(self, where: str) -> None:
        """Refuse roles that contradict each other."""
        if not self.observations:
            raise UserError(f"{where} names no observations: list the columns that a decision may use")
        if self.episode is not None and not (self.termination or self.truncation or self.last_row):
            raise UserError(
                f"{where} has an episode column and does not say how episodes end: add termination or truncation, or "
                'last_row = "terminal" (true ends) or "cut" (the log stops there)'
            )
        if self.one_step and self.next_observations is not None:
            raise UserError(
                f"{where} names next_observations, and no episode, termination or truncation: add one of them, or "
                "leave next_observations out, since each row is then an episode"
            )
        if self.one_step and self.last_row == "cut":
            raise UserError(f'{where}: last_row = "cut" leaves no step, since each row is an episode: name an episode')
        if self.width > MOST_DIMENSIONS:
            raise UserError(f"{where}: observations have {self.width:,} numbers, expected at most {MOST_DIMENSIONS:,}")
        if self.legal is not None and self.action.kind == "continuous":
            raise UserError(f"{where} names legal actions, and actions are continuous: leave legal out")


def read_roles(columns: str | Path | Roles | Schema, base: str = "columns") -> Schema:
    """The schema that a caller names.

    Args:
        columns: path of a roles file (TOML), its entries as a mapping, or a schema.
        base: name of a mapping in error messages.

    Raises:
        UserError: a file that cannot be read, or entries that are not roles.
    """
    if isinstance(columns, Schema):
        return columns
    if isinstance(columns, Mapping):
        return Schema.from_dict(_plain(columns), base)
    if not isinstance(columns, str | Path):
        raise UserError(f"columns is {shown(str(columns))}, expected a roles file or a mapping of roles")
    return Schema.from_dict(roles_in(columns), str(columns))


def roles_in(path: str | Path) -> dict[str, Any]:
    """The entries of a roles file, whose types are not checked.

    Raises:
        UserError: a file that cannot be read, or that is not TOML.
    """
    place = Path(path).expanduser()
    if not place.is_file():
        raise UserError(f"{path} does not exist; expected a roles file: `holdfast data schema LOG` writes one")
    try:
        return tomllib.loads(read_regular(place, LARGEST_JSON).decode())
    except (ValueError, RecursionError) as fault:  # not TOML, not UTF-8, or nested without end
        reason = " ".join(str(fault).split())[:200]
        raise UserError(
            f"{path} is not a roles file ({reason}): expected TOML, see `holdfast data schema LOG`"
        ) from fault


def _plain(values: Roles | Sequence[Entry] | Entry) -> Any:
    """Mappings and sequences as dicts and lists, as TOML has them."""
    if isinstance(values, Mapping):
        return {str(name): _plain(value) for name, value in values.items()}
    if isinstance(values, Sequence) and not isinstance(values, str):
        return [_plain(value) for value in values]
    return values


def _observations(values: Entry, missing: Missing, where: str) -> tuple[Column, ...]:
    if isinstance(values, list):
        values = dict.fromkeys(values, "number")
    found = []
    for name, entry in values.items():
        place = f"observations.{name} in {where}"
        entry = {"kind": entry} if isinstance(entry, str) else entry
        if isinstance(entry, dict) and isinstance(entry.get("missing"), int | float) and entry["missing"] is not True:
            entry = {**entry, "missing": "constant", "value": entry["missing"]}
        entry = require_types(entry, COLUMN, place)
        for key in entry:
            if key not in COLUMN:
                raise unknown(f"entry of {place}", key, COLUMN)
        kind = entry.get("kind", "number")
        rule = entry.get("missing", missing if kind == "number" or missing == "indicator" else "refuse")
        column = Column(
            name=name,
            kind=kind,
            categories=None if entry.get("categories") is None else tuple(map(text_of, entry["categories"])),
            missing=rule,
            value=entry.get("value"),
            unknown=entry.get("unknown", "refuse"),
        )
        _require_column(column, place)
        found.append(column)
    return tuple(found)


def _require_column(column: Column, place: str) -> None:
    numeric = column.kind == "number"
    if not numeric and column.missing in ("mean", "median"):
        raise UserError(f"{place}: missing categories have no {column.missing}; use refuse, constant or indicator")
    if column.missing == "constant" and column.value is None:
        raise UserError(f'{place}: missing = "constant" needs a value, for example value = 0')
    if (isinstance(column.value, str) and numeric) or (
        isinstance(column.value, float) and not math.isfinite(column.value)
    ):
        raise UserError(f"{place}: value is {column.value!r}, expected a finite number")
    if numeric and (column.categories is not None or column.unknown != "refuse"):
        raise UserError(f"{place}: a number has no categories; set kind to one-hot or ordinal")
    if column.kind == "ordinal" and column.unknown != "refuse":
        raise UserError(f"{place}: an unknown category has no order; leave unknown out, or use one-hot")
    if column.categories is not None and len(set(column.categories)) < len(column.categories):
        raise UserError(f"{place}: a category is listed twice: list each once")
    listed = column.categories is None or text_of(column.value) in column.categories
    if not numeric and column.missing == "constant" and not listed:
        raise UserError(f"{place}: value {column.value!r} is not one of its categories")


def _actions(entry: Entry, where: str) -> Actions:
    place = f"action in {where}"
    if isinstance(entry, str | list):
        entry = {"columns": [entry] if isinstance(entry, str) else entry}
    entry = {**entry, "columns": [entry["columns"]]} if isinstance(entry.get("columns"), str) else entry
    entry = require_types(entry, ACTION, place)
    for key in entry:
        if key not in ACTION:
            raise unknown(f"entry of {place}", key, ACTION)
    columns = tuple(entry.get("columns", ()))
    if not columns or len(set(columns)) < len(columns):
        raise UserError(f"{place} names the columns {list(columns)}, expected at least one, each once")
    labels = entry.get("labels")
    if labels is not None and not all(isinstance(each, list) for each in labels):
        labels = [labels]
    if labels is not None:
        if len(labels) != len(columns) or any(len(set(map(text_of, each))) < max(len(each), 1) for each in labels):
            raise UserError(f"{place}: labels are {shown(labels)}, expected a list of different labels for each column")
        if entry.get("kind") == "continuous":
            raise UserError(f"{place}: continuous actions have no labels: leave them out")
    bounds = {}
    for name in ("low", "high"):
        value = entry.get(name)
        each = [value] * len(columns) if isinstance(value, int | float) else value
        if each is not None and len(each) != len(columns):
            raise UserError(f"{place}: {name} has {len(each)} numbers, expected one for each column")
        bounds[name] = None if each is None else tuple(map(float, each))
    low = bounds["low"]
    high = bounds["high"]
    if (low is None) != (high is None):
        raise UserError(f"{place}: low and high belong together: give both, or neither")
    if (
        low is not None
        and high is not None
        and not all(-math.inf < a < b < math.inf for a, b in zip(low, high, strict=True))
    ):
        raise UserError(f"{place}: bounds are {list(low)} to {list(high)}, expected low < high, finite")
    made = None if labels is None else tuple(tuple(each) for each in labels)
    return Actions(columns, entry.get("kind"), made, low, high)


def _legal(entry: Entry, where: str) -> Legal | None:
    if entry is None:
        return None
    place = f"legal in {where}"
    entry = require_types({"column": entry} if isinstance(entry, str) else entry, LEGAL, place)
    for key in entry:
        if key not in LEGAL:
            raise unknown(f"entry of {place}", key, LEGAL)
    found = Legal(entry.get("column"), entry.get("separator", "|"), entry.get("columns"))
    if (found.column is None) == (found.columns is None) or not found.separator:
        raise UserError(f"{place}: expected column (which lists labels), or columns (a column of flags for each label)")
    return found


def text_of(value: Value) -> str:
    """The text of a category or a label in comparisons: 1, 1.0 and "1" are the same."""
    value = value.item() if hasattr(value, "item") and getattr(value, "shape", None) == () else value
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, float) and value.is_integer():
        return str(int(value))
    return str(value)
