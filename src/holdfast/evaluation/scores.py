"""Normalised scores: 0 is a random policy, 100 an expert."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from ..core.errors import UserError

Reference = tuple[float, float]  # returns of a random and of an expert policy


def normalized(returns: Any, reference: Reference) -> np.ndarray:
    """100 * (return - random) / (expert - random), of any shape.

    Raises:
        UserError: the two reference returns are equal or not finite.
    """
    random, expert = map(float, reference)
    if not np.isfinite([random, expert]).all() or random == expert:
        raise UserError(f"reference returns {random} and {expert} give no score: expected two different finite numbers")
    return 100.0 * (np.asarray(returns, np.float64) - random) / (expert - random)


def reference_of(info: Mapping[str, Any], env_id: str | None) -> Reference | None:
    """The reference for a policy's returns: its data set's own where that is of this environment, else the table's.

    Args:
        info: the policy's facts: `reference`, `dataset`, `env_id`.
        env_id: where it was evaluated.
    """
    from ..data.references import reference_for

    own = info.get("reference")
    if own is not None and env_id in (None, info.get("env_id")):
        return float(own[0]), float(own[1])
    return reference_for(info.get("dataset"), env_id)
