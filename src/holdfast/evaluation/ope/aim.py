"""`Aim`: what is estimated, and how its intervals are made."""

from __future__ import annotations

import dataclasses
from typing import Literal

from ..statistics import LEVEL
from . import intervals

Interval = Literal["bootstrap", "t"]


@dataclasses.dataclass(frozen=True)
class Aim:
    """The value that is estimated, and the form of its interval."""

    discount: float = 1.0
    horizon: int | None = None  # steps; None: discounted value without a horizon
    interval: Interval = "bootstrap"
    level: float = LEVEL
    resamples: int = intervals.RESAMPLES
    seed: int = 0
    tail: float = 0.1  # share of the worst returns whose mean is reported
    below: tuple[float, ...] = ()  # returns c whose P(return < c) is reported
    return_range: tuple[float, float] | None = None  # known before the log is seen: for guaranteed bounds
    force: bool = False  # give numbers that would be refused, with the reasons
