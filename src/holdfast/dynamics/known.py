"""The known part of a model: where its members agree (Kidambi et al. 2020, arXiv:2005.05951, MOReL)."""

from __future__ import annotations

import jax
import jax.numpy as jnp

from ..core.contract import Data
from ..core.spec import Scalar
from ..core.tree import PyTree
from .ensemble import Ensemble, Outcome
from .penalties import pairwise_disagreement
from .rollout import Verdict, ended
from .termination import Rule

PIECE = 2_000  # rows whose disagreement is computed at a time


class Known(PyTree):
    """An ensemble with the threshold of its disagreement."""

    model: Ensemble
    limit: jax.Array  # []
    rule: Rule | None  # of ends, if one is known

    def unknown(self, mean: jax.Array) -> jax.Array:
        """Whether the members' predictions [E, ..., d + 1] differ by more than the threshold, [...]."""
        return pairwise_disagreement(mean[..., :-1]) > self.limit

    def ends(self, kind: str, obs: jax.Array, action: jax.Array, next_obs: jax.Array) -> jax.Array:
        """Whether steps end their episode, [...]; `kind` is the setting `termination`."""
        return ended(self.model, self.rule, kind in ("auto", "learned"), obs, action, next_obs)


def halted(limit: Scalar, reward: Scalar, obs: jax.Array, action: jax.Array, found: Outcome) -> Verdict:
    """Rows that leave the known part halt, and get `reward` in addition."""
    unknown = pairwise_disagreement(found.mean[..., :-1]) > limit
    return Verdict(found.reward + reward * unknown, unknown)


def disagreement(model: Ensemble, obs: jax.Array, action: jax.Array) -> jax.Array:
    """max_{i,j} |f_i(s, a) - f_j(s, a)|_2 of the predicted next observations, in the units of training, [n]."""
    mean, _ = model.predict(obs, action)
    return pairwise_disagreement(mean[..., :-1])


def threshold(model: Ensemble, data: Data | None, pessimism: Scalar) -> jax.Array:
    """The largest disagreement at any logged row, divided by `pessimism`; 0 if there are no data."""
    if data is None:
        return jnp.zeros(())
    count = data.row.shape[0]
    pieces = -(-count // PIECE)
    index = jnp.minimum(jnp.arange(pieces * PIECE), count - 1).reshape(pieces, PIECE)

    def largest(rows: jax.Array) -> jax.Array:
        return disagreement(model, data.obs[data.row[rows]], data.action[rows]).max()

    return jax.lax.map(largest, index).max() / pessimism
