"""The base of trackers: turns the metrics of a run into scalars for each replica."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from ..core.errors import UserError
from ..runs.replicas import Replica
from ..runs.settings import Settings
from .hooks import Block, Evaluated, Hook


class Tracker(Hook):
    """Base class: turns blocks and evaluations into scalars by name and step, one stream for each replica."""

    def require_ready(self) -> None:
        """Refuse a service that cannot be reached. It is called before the run has a folder.

        Raises:
            UserError: naming what to do.
        """

    def scalars(self, replica: int, values: dict[str, float], step: int) -> None:
        """Send scalars of one replica. Subclasses define this.

        Args:
            replica: its index.
            values: scalars by name.
            step: step of the run.
        """
        raise TypeError(f"{type(self).__name__} does not define scalars()")

    def values(self, values: Mapping[str, np.ndarray], step: int) -> None:
        """Send the values [R] of all replicas by name; NaN is not sent."""
        for i in range(len(next(iter(values.values()), ()))):
            self.scalars(i, {name: float(x[i]) for name, x in values.items() if x[i] == x[i]}, step)

    def block(self, block: Block) -> None:
        self.values(block.metrics, block.step)

    def evaluated(self, evaluated: Evaluated) -> None:
        found = evaluated.evaluation
        values = {"evaluation/return_mean": found.returns.mean(1)}
        if found.scores is not None:
            values["evaluation/normalized_score"] = found.scores
        self.values(values, evaluated.step)


def parameters(settings: Settings, replica: Replica) -> dict[str, bool | int | float | str]:
    """What decides the result of a replica, by name: algorithm, data, seed, settings with the swept values."""
    values = {**settings.config, **settings.treatment, **replica.values}
    plain = {name: x if isinstance(x, bool | int | float | str) else str(x) for name, x in values.items()}
    return {"algorithm": settings.algorithm, "data": settings.subject, "seed": replica.seed, **plain}


def missing(extra: str) -> UserError:
    """The error for an extra that is not installed."""
    return UserError(f"{extra} is not installed: pip install 'holdfast-rl[{extra}]'")
