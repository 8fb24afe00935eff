"""The space of a search: which settings of an algorithm are tried, and between which values."""

from __future__ import annotations

import dataclasses
import json
import math
import re
import typing
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from ..algorithms import registry
from ..core import config as configs
from ..core.contract import Algorithm
from ..core.errors import UserError, unknown

if TYPE_CHECKING:
    from _typeshed import DataclassInstance

Value = float | int | str | bool | list[Any]
Given = str | tuple[float, float] | list[Any]  # how a caller writes the values of a setting

NUMBER = r"[-+]?(?:\d+\.?\d*|\.\d+)(?:[eE][-+]?\d+)?"
RANGE = re.compile(rf"^({NUMBER})\.\.({NUMBER})(?::({NUMBER}))?$")
EXPECTED = (
    "expected NAME=LOW..HIGH, NAME=LOW..HIGH:STEP, NAME=log(LOW..HIGH) or NAME=[A,B,...] "
    "(--space expectile=0.5..0.9 'batch_size=[128,256]')"
)
DIGITS = 6  # significant digits of a drawn number, so that its name is the number itself


@dataclasses.dataclass(frozen=True)
class Domain:
    """The values of one setting: a list, or a range of numbers."""

    name: str
    values: tuple[Any, ...] = ()  # a list of values; empty: a range
    low: float = 0.0
    high: float = 0.0
    step: float | None = None  # distance of the values in a range; None: every number
    log: bool = False  # draw the logarithm uniformly
    whole: bool = False  # whole numbers only
    shared: bool = False  # values that differ can be trained in one program

    def rounded(self, value: float) -> Value:
        """A drawn number with at most `DIGITS` digits, within the range."""
        if self.whole:
            return round(value)
        return min(max(float(f"{value:.{DIGITS}g}"), self.low), self.high)

    def grid(self) -> tuple[Any, ...]:
        """All values; empty if the range has no step."""
        if self.values:
            return self.values
        step = self.step or (1.0 if self.whole and not self.log else None)
        if step is None:
            return ()
        count = math.floor((self.high - self.low) / step + 1e-9) + 1
        return tuple(self.rounded(self.low + i * step) for i in range(count))

    def contains(self, value: Value) -> bool:
        """Whether a value can be drawn."""
        known = self.grid()
        if known:
            return value in known
        return isinstance(value, int | float) and self.low <= value <= self.high


def parse(texts: Sequence[str]) -> dict[str, str]:
    """`["expectile=0.5..0.9", ...]` as values by name.

    Raises:
        UserError: an entry without a name or without values, or a setting that is named twice.
    """
    found: dict[str, str] = {}
    for text in texts:
        name, _, values = text.partition("=")
        name = name.strip().lstrip("-").replace("-", "_")
        if not name or not values.strip():
            raise UserError(f"--space {text}: {EXPECTED}")
        if name in found:
            raise UserError(f"--space names {name} twice: name each setting once")
        found[name] = values.strip()
    return found


def written(given: Mapping[str, Given]) -> dict[str, str]:
    """The space of a caller as texts: `(0.5, 0.9)` as `0.5..0.9`, a list as JSON."""
    found = {}
    for name, values in given.items():
        if isinstance(values, tuple):
            if len(values) != 2 or not all(isinstance(x, int | float) for x in values):
                raise UserError(f"space of {name} is {values!r}, expected (low, high), a list, or a text: {EXPECTED}")
            found[name] = f"{values[0]!r}..{values[1]!r}"
        else:
            found[name] = values if isinstance(values, str) else json.dumps(list(values))
    return found


def require_used(space: Mapping[str, str], algorithms: Sequence[str]) -> None:
    """Refuse a setting that none of the algorithms has.

    Raises:
        UserError: names the nearest setting.
    """
    known = {name for one in algorithms for name in _fields(registry.get(one))}
    for name in space:
        owner, dot, field = name.rpartition(".")
        if dot and owner not in algorithms:
            raise UserError(f"--space {name}: {owner} is not tuned; name it, or one of {', '.join(algorithms)}")
        here = set(_fields(registry.get(owner))) if dot else known
        if field not in here:
            raise unknown(f"setting of {owner or ' or '.join(algorithms)}", field, here)


def domains(space: Mapping[str, str], algorithm: Algorithm, cfg: DataclassInstance) -> tuple[Domain, ...]:
    """The values of each setting that an algorithm has; `ALGORITHM.NAME` goes before `NAME`.

    Args:
        space: texts by name.
        algorithm: the algorithm.
        cfg: its config, with the values of the settings that are not searched.

    Raises:
        UserError: a text that cannot be read, or a value that the algorithm refuses.
    """
    fields = _fields(algorithm)
    texts = {name: text for name, text in space.items() if name in fields}
    for name, text in space.items():
        owner, dot, field = name.rpartition(".")
        if dot and owner == algorithm.name:
            texts[field] = text
    return tuple(_domain(name, text, algorithm, cfg) for name, text in texts.items())


def _fields(algorithm: Algorithm) -> list[str]:
    return [field.name for field in dataclasses.fields(algorithm.Config)]


def _domain(name: str, text: str, algorithm: Algorithm, cfg: DataclassInstance) -> Domain:
    whole = typing.get_type_hints(algorithm.Config)[name] is int
    # Monte-Carlo returns of the data depend on the discount, and are computed once for a program
    shared = name in configs.traced_fields(cfg) and name != "discount"
    if text.startswith("["):
        found = Domain(name, _listed(name, text), shared=shared)
    else:
        log = text.startswith("log(") and text.endswith(")")
        match = RANGE.match(text[4:-1].strip() if log else text)
        if match is None:
            raise UserError(f"--space {name}={text}: {EXPECTED}")
        low = float(match[1])
        high = float(match[2])
        step = None if match[3] is None else float(match[3])
        _require_range(name, text, (low, high), step, log)
        found = Domain(name, (), low, high, step, log, whole, shared)
        if whole and not (low.is_integer() and high.is_integer() and (step or 1.0).is_integer()):
            raise UserError(f"--space {name}={text}: {name} is a whole number, expected whole numbers")
    ends = found.values or (found.rounded(found.low), found.rounded(found.high))
    taken = tuple(_taken(name, text, value, algorithm, cfg) for value in ends)
    return dataclasses.replace(found, values=taken) if found.values else found


def _listed(name: str, text: str) -> tuple[Any, ...]:
    """The values of a list: JSON, or words with commas between them."""
    try:
        values = json.loads(text)
    except ValueError:
        values = [word.strip() for word in text.strip("[]").split(",")]
    if not values or any(value in values[:i] for i, value in enumerate(values)) or "" in values:
        raise UserError(f"--space {name}={text}: expected a list of different values, [128,256]")
    return tuple(values)


def _require_range(name: str, text: str, ends: tuple[float, float], step: float | None, log: bool) -> None:
    low, high = ends
    if not low < high:
        raise UserError(f"--space {name}={text}: expected a lower number before a higher one")
    if log and low <= 0:
        raise UserError(f"--space {name}={text}: a logarithmic range needs numbers above 0")
    if step is not None and (log or not 0 < step <= high - low):
        raise UserError(f"--space {name}={text}: expected a step above 0 that fits in the range, without log")


def _taken(name: str, text: str, value: Value, algorithm: Algorithm, cfg: DataclassInstance) -> Value:
    """A value as the config of the algorithm has it. A value that the algorithm refuses is refused."""
    try:
        made: Any = configs.from_dict(algorithm.Config, {**configs.to_dict(cfg), name: value})
    except UserError as error:
        raise UserError(f"--space {name}={text}: {error}") from error
    faults = [fault for fault in algorithm.check(made) if fault not in algorithm.check(cfg)]
    if faults:
        raise UserError(f"--space {name}={text}: {'; '.join(faults)}")
    return configs.to_dict(made)[name]
