"""Parsing of the command line with tyro. Every mistake becomes a `UserError` of one line."""

from __future__ import annotations

import dataclasses
import re
import typing
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, TypeVar

import tyro
from tyro import (
    _errors as failures,  # tyro's hook for mistakes; pyproject.toml bounds the version, because it may change
)

from ..core.errors import UserError, either, one_line
from ..core.synonyms import meant

if TYPE_CHECKING:
    from _typeshed import DataclassInstance
    from tyro._arguments import ArgumentDefinition

T = TypeVar("T")

STYLE = (tyro.conf.OmitArgPrefixes, tyro.conf.FlagCreatePairsOff)
TYPES = tyro.constructors.ConstructorRegistry()


def parse(cls: type[T], prog: str, argv: Sequence[str], default: T | None = None, config: Sequence[Any] = STYLE) -> T:
    """Parse the arguments of a command.

    Args:
        cls: a dataclass. Each of its fields is a flag, and so are the fields of dataclasses inside it.
        prog: the command, for messages and help.
        argv: the arguments after it.
        default: values of the flags that are not given. None: the defaults of `cls`.
        config: markers of `tyro.conf` for the whole command.

    Raises:
        UserError: unknown flags, or missing or malformed values.
        SystemExit: after --help, with code 0.
    """
    start: Any = tyro.MISSING_NONPROP if default is None else default

    def refuse(event: failures.ParseErrorEvent) -> None:
        raise UserError(f"{mistake(event, argv, flags_of(cls, typing.cast(Any, default)))}; see {prog} --help")

    with failures.on_parse_error(refuse):
        return tyro.cli(cls, prog=prog, args=list(argv), default=start, config=tuple(config), registry=TYPES)


def peek(prog: str, argv: Sequence[str], *names: str) -> tuple[dict[str, str | None], list[str]]:
    """Read some flags before the others: the flags that decide which other flags exist.

    Args:
        prog: the command, for messages.
        argv: all arguments.
        names: names of the flags.

    Returns:
        The value of each flag, None if it is not given, and the remaining arguments.

    Raises:
        UserError: one of the flags has no value.
    """
    flags: list[Any] = [(name, str | None, dataclasses.field(default=None)) for name in names]
    cls: Any = dataclasses.make_dataclass("Flags", flags)

    def refuse(event: failures.ParseErrorEvent) -> None:
        raise UserError(f"{mistake(event, argv, names)}; see {prog} --help")

    with failures.on_parse_error(refuse):
        found, rest = tyro.cli(cls, prog=prog, args=list(argv), return_unknown_args=True, add_help=False)
    return vars(found), rest


def mistake(event: failures.ParseErrorEvent, argv: Sequence[str], known: Sequence[str]) -> str:
    """What is wrong, on one line.

    Args:
        event: the mistake as tyro reports it.
        argv: the arguments of the command.
        known: the flags of the command, without dashes.
    """
    if isinstance(event, failures.UnrecognizedArgs):
        return _unknown(event.tokens, known)
    if isinstance(event, failures.MissingArgs):
        missing = [_spelled(each.arg) for each in event.missing_arguments]
        unknown = f"; {_unknown(event.unrecognized_tokens, known)}" if event.unrecognized_tokens else ""
        return f"{', '.join(missing)} is missing: give a value{unknown}"
    if isinstance(event, failures.BadValue):
        return f"{_spelled(event.argument)} has no value, expected {_in_words(event.argument.lowered.metavar or '')}"
    if isinstance(event, failures.InvalidChoice):
        hint = [f"'{each}'" for each in meant(event.value, event.choices)]
        guess = f"; did you mean {either(hint)}?" if hint else ""
        return f"{_spelled(event.argument)} is '{event.value}', expected one of {', '.join(event.choices)}{guess}"
    if isinstance(event, failures.InstantiationFailure) and event.argument is not None:
        flags = event.argument.lowered.name_or_flags
        given = [value for flag in flags for value in _values(argv, flag)]
        expected = _in_words(event.argument.lowered.metavar or "")
        return f"{_spelled(event.argument)} is '{' '.join(given)}', expected {expected}"
    return one_line(ValueError(" ".join(str(value) for value in vars(event).values())))


def flags_of(cls: type, default: DataclassInstance | None = None) -> list[str]:
    """The flags of a command as they are written, without dashes: those of a dataclass and of dataclasses in it.

    Args:
        cls: the dataclass.
        default: an instance with the default values. None: the defaults of `cls`.
    """
    found: list[str] = []
    hints = typing.get_type_hints(cls, include_extras=True)
    for field in dataclasses.fields(typing.cast(Any, cls)):
        hint = hints[field.name]
        marks = getattr(hint, "__metadata__", ())
        kind = typing.get_args(hint)[0] if marks else hint
        value: Any = getattr(default, field.name, field.default)
        if tyro.conf.Suppress in marks or tyro.conf.Positional in marks:
            continue
        if isinstance(kind, type) and dataclasses.is_dataclass(kind):
            found += flags_of(kind, value)
            continue
        name = next((mark.name for mark in marks if getattr(mark, "name", None)), field.name)
        found.append(f"{'no-' if value is True else ''}{name.replace('_', '-')}")
    return found


def whole_number(text: str) -> int:
    """A whole number, also if it is written as 1e6.

    Raises:
        ValueError: the text is something else.
    """
    if re.fullmatch(r"\d+(\.\d+)?[eE]\+?\d+", text) and float(text).is_integer():
        return int(float(text))
    try:
        return int(text)
    except ValueError:
        raise ValueError(f"'{text}' is not a whole number") from None


def whole_numbers(texts: Sequence[str]) -> tuple[int, ...]:
    """Whole numbers with spaces or commas between them: `256 256` and `256,256`.

    Raises:
        ValueError: one of them is something else.
    """
    return tuple(whole_number(text) for part in texts for text in part.split(",") if text)


@TYPES.primitive_rule
def _numbers(info: tyro.constructors.PrimitiveTypeInfo) -> tyro.constructors.PrimitiveConstructorSpec | None:
    """How numbers are read from the command line."""
    if info.type is int:
        return tyro.constructors.PrimitiveConstructorSpec(
            nargs=1,
            metavar="INT",
            instance_from_str=lambda texts: whole_number(texts[0]),
            is_instance=lambda value: isinstance(value, int) and not isinstance(value, bool),
            str_from_instance=lambda value: [str(value)],
        )
    if info.type_origin is tuple and typing.get_args(info.type) == (int, ...):
        return tyro.constructors.PrimitiveConstructorSpec(
            nargs="*",
            metavar="[INT [INT ...]]",
            instance_from_str=whole_numbers,
            is_instance=lambda value: isinstance(value, tuple) and all(isinstance(each, int) for each in value),
            str_from_instance=lambda value: [str(each) for each in value],
        )
    return None


def _spelled(argument: ArgumentDefinition) -> str:
    """A flag as it is written, or the name of a positional argument."""
    return str(argument.lowered.metavar) if argument.is_positional() else "/".join(argument.lowered.name_or_flags)


def _values(argv: Sequence[str], flag: str) -> list[str]:
    """The values that were given to a flag, also as `--flag=value`."""
    found: list[str] = []
    taking = False
    for argument in argv:
        name, _, value = argument.partition("=")
        if name.replace("_", "-") == flag:
            taking = True
            found += [value] if value else []
        elif argument.startswith("--"):
            taking = False
        elif taking:
            found.append(argument)
    return found


WORDS = {
    "INT": "a whole number",
    "FLOAT": "a number",
    "[INT [INT ...]]": "whole numbers",
    "PATH": "a path",
    "STR": "a text",
}


def _in_words(metavar: str) -> str:
    """What a flag expects: `INT|{constant,run}` as `a whole number, constant or run`."""
    parts = [part for each in metavar.split("|") for part in each.strip("{}").split(",")]
    return either([WORDS.get(part, part) for part in parts])


def _unknown(tokens: Sequence[str], known: Sequence[str]) -> str:
    """The message about arguments that the command does not have."""
    flags = [token.partition("=")[0] for token in tokens if token.startswith("--")]
    guesses = [f"--{each}" for flag in flags for each in meant(flag.removeprefix("--"), known)]
    hint = f"; did you mean {either(guesses)}?" if guesses else ""
    return f"unknown: {' '.join(tokens)}{hint}"
