"""Training the learners of a study in memory, and acting with what they learned."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from ..algorithms import registry
from ..core import config
from ..core.contract import Algorithm, Treatment
from ..core.noise import Noise
from ..core.spec import Cfg, Memory, Mode, Seen, Spec, State
from ..data.dataset import Dataset
from ..runs.settings import Settings
from ..training.in_memory import train_in_memory


class Trained(NamedTuple):
    """The last state of R replicas; leaves of `state` and `cfgs` lead with R."""

    algorithm: Algorithm
    state: Any
    cfgs: Any

    def memory(self, spec: Spec, n: int) -> Memory:
        """The memory of n environments for each replica, leaves [R, n, ...]."""
        return jax.vmap(lambda cfg: self.algorithm.memory(cfg, spec, n))(self.cfgs)

    def act(
        self, cfg: Cfg, state: State, obs: jax.Array, memory: Memory, key: jax.Array, mode: Mode
    ) -> tuple[jax.Array, Memory]:
        """The actions [n, A] of one replica for observations [n, d], and its memory."""
        seen = Seen(obs, jnp.zeros(len(obs)))
        return self.algorithm.act(cfg, state, seen, memory, Noise(key), mode)

    def actor(self, mode: Mode) -> Callable[..., tuple[jax.Array, Memory]]:
        """`(obs [R, n, d], memory, key) -> (actions [R, n, A], memory)`, compiled."""

        def one(cfg: Cfg, state: State, obs: jax.Array, memory: Memory, key: jax.Array) -> tuple[jax.Array, Memory]:
            return self.act(cfg, state, obs, memory, key, mode)

        many = jax.jit(jax.vmap(one, (0, 0, 0, 0, 0)))

        def act(obs: np.ndarray, memory: Memory, key: jax.Array) -> tuple[jax.Array, Memory]:
            keys = jax.random.split(key, len(obs))
            return many(self.cfgs, self.state, jnp.asarray(obs, jnp.float32), memory, keys)

        return act


def train(
    name: str,
    data: Dataset,
    steps: int,
    seeds: int,
    seed: int,
    settings: Mapping[str, Any],
    preset: str | None = None,
) -> Trained:
    """Train one learner on a log without treatment.

    Args:
        name: the algorithm.
        data: the log.
        steps: updates of the main phase.
        seeds: R, number of replicas.
        seed: the first seed.
        settings: settings of the algorithm that differ from the preset.
        preset: name of the preset; None: the algorithm's first.

    Raises:
        UserError: settings that do not fit.
        Diverged: a metric became NaN or infinite.
    """
    algorithm = registry.get(name)
    cfg = algorithm.presets[preset or next(iter(algorithm.presets))].config
    values = {**config.to_dict(cfg), **settings}
    made = Settings(
        name,
        data=data.id,
        steps=steps,
        config=values,
        treatment=Treatment()._asdict(),
        seeds=seeds,
        seed=seed,
        evaluate=False,
        in_memory=True,
    )
    last = None
    for moment in train_in_memory(made, data, steps):
        last = moment
    assert last is not None  # the state at the start is yielded at least
    return Trained(last.plan.algorithm, last.state, last.cfgs)
