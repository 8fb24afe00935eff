"""How policies act while a phase collects, and what is reported of the episodes: the same in Gymnasium and in JAX."""

from __future__ import annotations

from collections.abc import Sequence

import jax
import jax.numpy as jnp
import numpy as np

from ..core.contract import Collect, remembered
from ..core.noise import Noise
from ..core.spec import Cfg, Memory, Seen, Spec, State, Step
from ..parts.distributions import Categorical
from .loop import Program

COLLECTED = ("collect/return", "collect/length", "collect/episodes")


def ended(finished: Sequence[tuple[int, float, int]], replicas: int) -> dict[str, np.ndarray]:
    """Mean return and length, and number, of the (replica, return, length) of episodes: [R] each by COLLECTED."""
    found = {name: np.full(replicas, np.nan) for name in COLLECTED}
    for r in range(replicas):
        mine = [(value, length) for replica, value, length in finished if replica == r]
        found["collect/episodes"][r] = len(mine)
        if mine:
            found["collect/return"][r], found["collect/length"][r] = np.mean(mine, 0)
    return found


def explore(
    program: Program,
    spec: Spec,
    cfg: Cfg,
    key: jax.Array,
    state: State,
    seen: Seen,
    memory: Memory,
    start: jax.Array,
    step: Step,
) -> tuple[jax.Array, Memory]:
    """The actions `[n, ...]` of one replica, and its memory after them.

    During the warm-up the actions are random. The policy acts all the same, so that its memory has seen every step.

    Args:
        program: the phase that collects.
        spec: shapes of the problem.
        cfg: config of the replica.
        key: key of the replica.
        state: training state of the replica.
        seen: what its n environments show.
        memory: its memory after the step before, leaves `[n, ...]`.
        start: which environments begin an episode, `[n]`: their memory is a fresh one.
        step: environment steps so far.
    """
    n = len(seen.reward)
    collect = program.phase.collect or Collect()
    noise = Noise(jax.random.fold_in(jax.random.fold_in(key, program.index), step)).sub("collect")
    memory = remembered(program.algorithm.memory(cfg, spec, n), memory, start)
    chosen, memory = program.algorithm.act(cfg, state, seen, memory, noise, "explore")
    if spec.discrete:
        logits = jnp.zeros((n, spec.action)) if seen.mask is None else jnp.where(seen.mask, 0.0, -jnp.inf)
        random = Categorical(logits).sample(noise.uniform("random", logits.shape)).astype(jnp.int32)
        return jnp.where(step < collect.warmup, random, chosen).astype(jnp.int32), memory
    random = noise.uniform("random", (n, *spec.action_shape)) * 2 - 1
    return jnp.where(step < collect.warmup, random, chosen), memory
