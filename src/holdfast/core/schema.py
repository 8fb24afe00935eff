"""Types of JSON values: what a file declares is compared with what is expected, entry by entry, before it is used."""

from __future__ import annotations

import types
import typing
from collections.abc import Collection, Mapping
from typing import Any

from .errors import UserError
from .files import JSON

LONGEST = 80  # characters of a value in an error message
Hint = Any  # a type, a union, or list[...], dict[str, ...], tuple[...] or Literal[...] of such


def require_types(
    values: JSON, hints: Mapping[str, Hint], where: str, required: Collection[str] = ()
) -> dict[str, Any]:
    """Check the entries of a JSON object that are known; others are left alone.

    Args:
        values: the object.
        hints: the type of each known entry.
        where: name of the file or the entry that holds the object, for the error message.
        required: names of entries that must exist.

    Returns:
        `values`.

    Raises:
        UserError: it is not an object, or an entry is missing or of another type. The line names the entry.
    """
    if not isinstance(values, dict):
        raise UserError(f"{where} is {shown(values)}, expected an object")
    missing = [name for name in required if name not in values]
    if missing:
        raise UserError(f"{where} is damaged: it lacks {', '.join(missing)}; restore it from a copy")
    for name, hint in hints.items():
        if name in values and not fits(values[name], hint):
            raise UserError(f"{name} in {where} is {shown(values[name])}, expected {described(hint)}")
    return values


def fits(value: JSON, hint: Hint) -> bool:
    """Whether a JSON value has a type. A whole number is also a float, a list is also a tuple, a boolean is neither."""
    kind: Any = typing.get_origin(hint)
    parts = typing.get_args(hint)
    if hint is typing.Any:
        return True
    if kind is typing.Literal:
        return isinstance(value, str | int | None) and value in parts
    if kind is list:
        return isinstance(value, list) and all(fits(v, parts[0]) for v in value)
    if kind is tuple and parts[1:] == (...,):
        return isinstance(value, list | tuple) and all(fits(v, parts[0]) for v in value)
    if kind is tuple:
        return isinstance(value, list) and len(value) == len(parts) and all(map(fits, value, parts))
    if kind is dict:
        return isinstance(value, dict) and all(fits(v, parts[1]) for v in value.values())
    if parts:  # a union
        return any(fits(value, part) for part in parts)
    if hint is None or hint is types.NoneType:
        return value is None
    if isinstance(value, bool):
        return hint is bool
    if isinstance(value, int) and hint in (int, float):
        return abs(value) < 2**63  # fits an array's type
    return isinstance(value, hint)


def described(hint: Hint) -> str:
    """A type in an error message."""
    return str(hint) if typing.get_args(hint) else getattr(hint, "__name__", str(hint))


def shown(value: JSON) -> str:
    """A value in an error message, shortened, on one line."""
    text = " ".join(repr(value).split())
    return text if len(text) <= LONGEST else f"{text[:LONGEST]}..."
