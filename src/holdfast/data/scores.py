"""Normalised scores of returns: 0 is a random policy, 100 an expert."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike

from ..core.errors import UserError

Reference = tuple[float, float]  # returns of a random and of an expert policy


def normalized(returns: ArrayLike, reference: Reference) -> np.ndarray:
    """Normalised score of returns of any shape: 100 * (return - random) / (expert - random).

    Raises:
        UserError: the two reference returns are equal or not finite.
    """
    random, expert = _checked(reference)
    return 100.0 * (np.asarray(returns, np.float64) - random) / (expert - random)


def raw(scores: ArrayLike, reference: Reference) -> np.ndarray:
    """The returns that have these scores: the inverse of `normalized`.

    Raises:
        UserError: the two reference returns are equal or not finite.
    """
    random, expert = _checked(reference)
    return np.asarray(scores, np.float64) * (expert - random) / 100.0 + random


def usable(reference: Reference) -> bool:
    """Whether two reference returns define a score: they are finite and differ."""
    return bool(np.isfinite(reference).all()) and float(reference[0]) != float(reference[1])


def _checked(reference: Reference) -> Reference:
    random = float(reference[0])
    expert = float(reference[1])
    if not usable((random, expert)):
        raise UserError(f"reference returns {random} and {expert} give no score: expected two different finite numbers")
    return random, expert
