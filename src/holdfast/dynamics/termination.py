"""When an episode of an environment ends: known rules of Gymnasium's environments, in the units of training.

The rules are those of the environments' sources (Gymnasium 1, versions 4 and 5). They look at the next observation. An
environment with other limits, given as keyword arguments, has no known rule.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from typing import TYPE_CHECKING

import jax
import jax.numpy as jnp
import numpy as np

from ..core.errors import UserError
from ..core.tree import PyTree, field
from ..parts.layers import raised

if TYPE_CHECKING:
    from ..data.dataset import Dataset
    from ..data.feed.treatment import Fitted

KINDS = "auto|known|learned|never"  # of the setting `termination`


def _never(obs: jax.Array) -> jax.Array:
    return jnp.zeros(obs.shape[:-1], bool)


def _hopper(obs: jax.Array) -> jax.Array:
    sound = (jnp.abs(obs[..., 1:]) < 100).all(-1)
    return ~(sound & (obs[..., 0] > 0.7) & (jnp.abs(obs[..., 1]) < 0.2))


def _walker(obs: jax.Array) -> jax.Array:
    return ~((obs[..., 0] > 0.8) & (obs[..., 0] < 2) & (jnp.abs(obs[..., 1]) < 1))


def _ant(obs: jax.Array) -> jax.Array:
    return ~(jnp.isfinite(obs).all(-1) & (obs[..., 0] >= 0.2) & (obs[..., 0] <= 1))


def _humanoid(obs: jax.Array) -> jax.Array:
    return ~((obs[..., 0] > 1) & (obs[..., 0] < 2))


def _inverted_pendulum(obs: jax.Array) -> jax.Array:
    return ~(jnp.isfinite(obs).all(-1) & (jnp.abs(obs[..., 1]) <= 0.2))


def _inverted_double_pendulum(obs: jax.Array) -> jax.Array:
    """The tip is at most 1 high: obs has the sines of both angles, then their cosines; poles are 0.6 long."""
    sin, cos = (obs[..., 1], obs[..., 2]), (obs[..., 3], obs[..., 4])
    return 0.6 * (cos[0] + cos[0] * cos[1] - sin[0] * sin[1]) <= 1


RULES: dict[str, Callable[[jax.Array], jax.Array]] = {
    "Ant": _ant,
    "HalfCheetah": _never,
    "Hopper": _hopper,
    "Humanoid": _humanoid,
    "InvertedDoublePendulum": _inverted_double_pendulum,
    "InvertedPendulum": _inverted_pendulum,
    "Pendulum": _never,
    "Pusher": _never,
    "Reacher": _never,
    "Swimmer": _never,
    "Walker2d": _walker,
}
CHANGES = re.compile(r"healthy|exclude_current_positions")  # keyword arguments that change ends or observations


class Rule(PyTree):
    """A known rule, for observations as training has them: `obs * std + mean` are the environment's units."""

    name: str = field(static=True)
    mean: jax.Array
    std: jax.Array

    def __call__(self, next_obs: jax.Array) -> jax.Array:
        """Whether a step that leads to next_obs [..., d] ends the episode, [...]."""
        return RULES[self.name](next_obs * raised(self.std, next_obs.ndim) + raised(self.mean, next_obs.ndim))


def rule_for(env_id: str | None, env_spec: str | None, fitted: Fitted) -> Rule | None:
    """The rule of an environment, or None if none is known.

    Args:
        env_id: Gymnasium's id, e.g. "Hopper-v5".
        env_spec: its EnvSpec as JSON, whose keyword arguments may change the rule.
        fitted: treatment of the observations.
    """
    name = (env_id or "").split("/")[-1].partition("-v")[0]
    if name not in RULES or any(CHANGES.search(key) for key in _keywords(env_spec)):
        return None
    shape = np.shape(fitted.obs_mean)
    return Rule(name, jnp.asarray(fitted.obs_mean, float), jnp.asarray(fitted.obs_std, float)) if shape else None


def _keywords(env_spec: str | None) -> list[str]:
    """Names of the keyword arguments in an EnvSpec (JSON)."""
    if env_spec is None or not env_spec.lstrip().startswith("{"):
        return []
    found = json.loads(env_spec)
    return list(found.get("kwargs") or {})


def contradictions(rule: Rule, dataset: Dataset) -> np.ndarray:
    """The transitions of a log [k] at which its end flags differ from the rule."""
    following = dataset.observations[dataset.observation_rows + 1]
    says = np.asarray(RULES[rule.name](jnp.asarray(following)))
    return np.flatnonzero(says != (dataset.terminations > 0))


def chosen(kind: str, rule: Rule | None, dataset: Dataset) -> Rule | None:
    """The rule that a run uses, or None if it learns the ends or has none.

    Args:
        kind: the setting `termination`: known, learned, never, or auto for known if there is a rule, else learned.
        rule: the known rule of the environment.
        dataset: the logged data, with which the rule is compared.

    Raises:
        UserError: `known` without a rule, or a rule that contradicts the log.
    """
    if kind not in ("auto", "known") or (kind == "auto" and rule is None):
        return None
    if rule is None:
        raise UserError(
            f"--termination known: no rule is known for the environment of {dataset.id}, expected one of "
            f"{', '.join(RULES)} with its usual limits: use --termination learned"
        )
    wrong = contradictions(rule, dataset)
    if len(wrong):
        rows = ", ".join(map(str, wrong[:5])) + (" ..." if len(wrong) > 5 else "")
        raise UserError(
            f"the termination rule of {rule.name} contradicts {dataset.id} in {len(wrong)} rows ({rows}): check the "
            "end flags of the log, or use --termination learned"
        )
    return rule
