"""Attributions of an action to the columns of an observation, by integrated gradients."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from numpy.typing import ArrayLike

from ..core import config
from ..core.errors import UserError
from ..core.noise import Noise
from ..core.spec import Seen
from ..data.dataset import Dataset
from ..parts.distributions import Categorical
from ..policy.policy import Policy
from ..policy.q_values import estimated_value
from .departures import columns_of
from .explanation import Attribution

STEPS = 64  # of the path of integrated gradients
GAP = 0.1  # share of the change of the output that the attributions may miss


def attributed(
    policy: Policy,
    dataset: Dataset,
    raw: np.ndarray,
    inside: np.ndarray,
    mask: ArrayLike | None,
    steps: int,
    notes: list[str],
) -> tuple[tuple[str, ...], tuple[float, ...], tuple[float, ...], np.ndarray]:
    """Names of the outputs, their values at the mean observation and here, and the attributions [outputs, numbers]."""
    made = _function(policy, inside, mask)
    if made is None:
        notes.append(f"no attribution: {policy.algorithm.name} gives neither probabilities nor values of its actions")
        return (), (), (), np.zeros((0, raw.size))
    names, compute = made
    end = np.asarray(policy.fitted.observe(raw[None]), np.float64)
    start = np.asarray(policy.fitted.observe(dataset.observation_moments[0][None].astype(raw.dtype)), np.float64)
    found, before, after = integrated_gradients(compute, start[0], end[0], steps)
    change = after - before
    missed = np.abs(change - found.sum(1)) > GAP * np.maximum(np.abs(change), 1e-3 * (1 + np.abs(after)))
    if missed.any():
        notes.append("the attributions do not add up to the change of the output: the policy jumps on the way, so read "
                     "them with care")  # fmt: skip
    return names, tuple(before.tolist()), tuple(after.tolist()), found


def integrated_gradients(
    compute: Callable[[jax.Array], jax.Array], start: np.ndarray, end: np.ndarray, steps: int
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Attributions [K, d] of K outputs, and the outputs [K] at both ends.

    Args:
        compute: from treated observations [n, *obs] to outputs [n, K], each row on its own.
        start: treated observation [*obs] where the line begins.
        end: treated observation at its end.
        steps: points on the line, the middles of equal parts.
    """
    shares = ((np.arange(steps) + 0.5) / steps).reshape(-1, *[1] * start.ndim)
    points = jnp.asarray(np.concatenate([start + shares * (end - start), start[None], end[None]]), jnp.float32)

    @jax.jit
    def gradients(points: jax.Array) -> tuple[jax.Array, jax.Array]:
        out, pull = jax.vjp(compute, points)
        each = jax.vmap(lambda one: pull(jnp.broadcast_to(one[None], out.shape))[0])(jnp.eye(out.shape[1]))
        return out, each[:, :-2].mean(1)

    out, mean = gradients(points)
    flat = np.asarray(mean, np.float64).reshape(len(mean), -1) * np.ravel(end - start)
    return flat, np.asarray(out[-2], np.float64), np.asarray(out[-1], np.float64)


def _function(
    policy: Policy, inside: np.ndarray, mask: ArrayLike | None
) -> tuple[tuple[str, ...], Callable[[jax.Array], jax.Array]] | None:
    """Names of the outputs and their function of treated observations, [n, *obs] to [n, K]; None if it has none."""
    algorithm = policy.algorithm
    cfg = config.as_arrays(policy.cfg)
    state = policy.state if policy.whole is None else policy.whole
    step = jnp.int32(policy.info.get("step", 0))
    noise = Noise(jax.random.PRNGKey(0))

    def seen(obs: jax.Array) -> Seen:
        n = obs.shape[0]
        legal = None if mask is None else jnp.broadcast_to(jnp.asarray(mask, bool), (n, policy.spec.action))
        return Seen(obs, jnp.zeros(n), legal, step)

    if not policy.spec.discrete:
        half = jnp.asarray(policy.fitted.half_widths, jnp.float32)

        def act(obs: jax.Array) -> jax.Array:
            memory = algorithm.memory(cfg, policy.spec, obs.shape[0])
            return algorithm.act(cfg, state, seen(obs), memory, noise, "best")[0] * half[None]

        names: Sequence[str] = [f"actions[{i}]" for i in range(policy.spec.action)]
        if policy.table is not None:
            names = policy.table.action.columns
        return tuple(names), act
    chosen = int(inside[0])
    if algorithm.dist is not None:
        dist = algorithm.dist

        def distribution(obs: jax.Array) -> Any:
            return dist(cfg, state, seen(obs), algorithm.memory(cfg, policy.spec, obs.shape[0]))

        if isinstance(jax.eval_shape(distribution, jnp.asarray(policy.spec.blank_obs(1))), Categorical):

            def log_prob(obs: jax.Array) -> jax.Array:
                return distribution(obs).log_probs()[:, chosen : chosen + 1]

            return ("log-probability of the action",), log_prob
    try:
        policy.value(np.zeros(policy.spec.obs_shape, np.float32), mask=mask)
    except UserError:
        return None

    def value(obs: jax.Array) -> jax.Array:
        action = jnp.full(obs.shape[0], chosen, jnp.int32)
        return estimated_value(algorithm, cfg, state, obs, action)[:, None]

    return ("value of the action",), value


def by_column(policy: Policy, raw: np.ndarray, parts: np.ndarray) -> tuple[Attribution, ...]:
    """Attributions of each column, the largest first."""
    if not len(parts):
        return ()
    flat = np.ravel(raw)
    found = []
    for name, first, width, categories in columns_of(policy):
        total = parts[:, first : first + width].sum(1)
        value = f"{flat[first]:.4g}"
        if categories:
            chosen = flat[first : first + len(categories)]
            value = categories[int(chosen.argmax())] if chosen.max() > 0 else "none of the categories"
        found.append(Attribution(name, value, tuple(total.tolist())))
    scale = np.maximum(np.abs(parts).sum(1), 1e-12)
    return tuple(sorted(found, key=lambda one: -float((np.abs(one.parts) / scale).sum())))
