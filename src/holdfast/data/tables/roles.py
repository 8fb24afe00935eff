"""Reading the roles that a person declares, from a roles file or a mapping, into a `Schema`."""

from __future__ import annotations

import math
import tomllib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

from ...core.errors import UserError, require_known
from ...core.files import LARGEST_JSON, read_regular
from ...core.schema import require_types, shown
from .schema import SINGLE, Actions, Column, Legal, Missing, Schema, text_of

Entry = Any  # of a roles file, before its type is checked
Roles = Mapping[str, Any]  # as a roles file declares them

MOST_DIMENSIONS = 2**16  # numbers of an observation
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
        return schema_of(_plain(columns), base)
    if not isinstance(columns, str | Path):
        raise UserError(f"columns is {shown(str(columns))}, expected a roles file or a mapping of roles")
    return schema_of(roles_in(columns), str(columns))


def schema_of(values: Entry, where: str) -> Schema:
    """A schema from what a roles file, a data set or a policy holds.

    Args:
        values: the entries. A role of one column is its name; see `docs/tables.md` for the others.
        where: name of the file in error messages.

    Raises:
        UserError: an unknown or missing entry, or one of another type.
    """
    values = dict(require_types(values, FILE, where))
    require_known(map(str, values), f"role in {where}", FILE)
    for name, example in (("reward", "click"), ("action", "item")):
        if not values.get(name):
            raise UserError(f'{where} names no {name}: add the column, for example {name} = "{example}"')
    missing = values.get("missing", "refuse")
    following = values.get("next_observations")
    found = Schema(
        observations=_observations(values.get("observations") or {}, missing, where),
        action=_actions(values["action"], where),
        legal=_legal(values.get("legal"), where),
        last_row=values.get("last_row"),
        ties=values.get("ties", "refuse"),
        next_observations=None if following is None else tuple(following),
        missing_texts=tuple(values.get("missing_texts", ())),
        **{name: values.get(name) for name in SINGLE},
    )
    _require_agreement(found, where)
    return found


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


def _require_agreement(schema: Schema, where: str) -> None:
    """Refuse roles that contradict each other."""
    if not schema.observations:
        raise UserError(f"{where} names no observations: list the columns that a decision may use")
    if schema.episode is not None and not (schema.termination or schema.truncation or schema.last_row):
        raise UserError(
            f"{where} has an episode column and does not say how episodes end: add termination or truncation, or "
            'last_row = "terminal" (true ends) or "cut" (the log stops there)'
        )
    if schema.one_step and schema.next_observations is not None:
        raise UserError(
            f"{where} names next_observations, and no episode, termination or truncation: add one of them, or "
            "leave next_observations out, since each row is then an episode"
        )
    if schema.one_step and schema.last_row == "cut":
        raise UserError(f'{where}: last_row = "cut" leaves no step, since each row is an episode: name an episode')
    if schema.width > MOST_DIMENSIONS:
        raise UserError(f"{where}: observations have {schema.width:,} numbers, expected at most {MOST_DIMENSIONS:,}")
    if schema.legal is not None and schema.action.kind == "continuous":
        raise UserError(f"{where} names legal actions, and actions are continuous: leave legal out")


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
        require_known(entry, f"entry of {place}", COLUMN)
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
    require_known(entry, f"entry of {place}", ACTION)
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
    require_known(entry, f"entry of {place}", LEGAL)
    found = Legal(entry.get("column"), entry.get("separator", "|"), entry.get("columns"))
    if (found.column is None) == (found.columns is None) or not found.separator:
        raise UserError(f"{place}: expected column (which lists labels), or columns (a column of flags for each label)")
    return found
