"""Which reference returns the normalised score of an evaluation is computed with."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ..data.references import reference_for
from ..data.scores import Reference, normalized

__all__ = ["Reference", "normalized", "reference_of"]


def reference_of(info: Mapping[str, Any], env_id: str | None) -> Reference | None:
    """Returns of a random and an expert policy; None if they are unknown.

    They are those of the policy's own data set if it is of this environment, else those of `data.references`.

    Args:
        info: facts of the policy: `reference`, `dataset`, `env_id`.
        env_id: the environment of the evaluation.
    """
    own = info.get("reference")
    if own is not None and env_id in (None, info.get("env_id")):
        return float(own[0]), float(own[1])
    return reference_for(info.get("dataset"), env_id)
