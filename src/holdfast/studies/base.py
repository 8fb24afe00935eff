"""The size of a study: its quick form, its `--paper` form, and the flags that change either."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Protocol, TypeVar

from ..core.errors import UserError


@dataclasses.dataclass(frozen=True, kw_only=True)
class Size:
    """How large a study is. A study subclasses this with the sizes that only it has.

    Attributes:
        steps: updates of a run on a log, or environment steps of a run that collects.
        seeds: number of seeds; all seeds of a run train in one program.
        seed: the first seed.
        hidden: widths of the hidden layers of every learner.
        evaluations: number of evaluations in a run.
        episodes: episodes of one evaluation, for each seed.
    """

    steps: int
    seeds: int
    seed: int = 0
    hidden: tuple[int, ...]
    evaluations: int
    episodes: int

    def minimum(self) -> Mapping[str, int]:
        """The smallest allowed value of each number."""
        return {"steps": 1, "seeds": 1, "seed": 0}

    def faults(self) -> list[str]:
        """One sentence for each number that is below its minimum."""
        return [
            f"{name} is {getattr(self, name)}, expected at least {least}"
            for name, least in self.minimum().items()
            if getattr(self, name) < least
        ]


class Flags(Protocol):
    """The flags of a study that has a quick form and a paper's form."""

    @property
    def paper(self) -> bool:
        """Whether to use the sizes of the paper."""


S = TypeVar("S", bound=Size)


def sized(args: Flags, quick: S, paper: S) -> S:
    """The size that the flags ask for: a flag replaces the field of the same name, unless the flag is None."""
    base = paper if args.paper else quick
    flags = {field.name: getattr(args, field.name, None) for field in dataclasses.fields(base)}
    return dataclasses.replace(base, **{name: value for name, value in flags.items() if value is not None})


def size_of(args: Flags, quick: S, paper: S, more: Sequence[str] = ()) -> S:
    """The size that the flags ask for, checked.

    Args:
        args: the flags.
        quick: the size without `--paper`.
        paper: the size with `--paper`.
        more: further faults, reported together with those of the size.

    Raises:
        UserError: a number is below its minimum, or `more` is not empty; all faults in one line.
    """
    size = sized(args, quick, paper)
    refuse([*size.faults(), *more])
    return size


def refuse(faults: Sequence[str]) -> None:
    """Raise one error that lists all faults.

    Raises:
        UserError: there is at least one fault.
    """
    if faults:
        raise UserError("; ".join(faults))
