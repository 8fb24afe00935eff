"""Training an algorithm on a small data set, without files and runs: what the tests on probes share."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Sequence

import jax
import jax.numpy as jnp
import numpy as np

from holdfast.algorithms import registry
from holdfast.core.config import as_arrays, over_the_run
from holdfast.core.contract import Context, Treatment
from holdfast.core.noise import Noise
from holdfast.core.spec import Seen
from holdfast.data.dataset import Dataset
from holdfast.data.feed import columns as cols
from holdfast.data.feed import row_sources, treatment
from holdfast.data.split import by_episodes
from holdfast.policy.q_values import estimated_value
from holdfast.training.carry import replicate, seed_keys
from holdfast.training.driver import blocks, enter
from holdfast.training.loop import Program

DISCOUNT = 0.8
# small and fast; restraint so weak that the best action in the data is what is wanted, where that is a setting
USUAL = {
    "hidden": (64,),
    "critic_hidden": (64,),
    "vae_hidden": (64,),
    "batch_size": 64,
    "discount": DISCOUNT,
    "polyak": 0.05,
    "target_every": 1,
    "actor_decay_steps": "constant",
    "critic_decay_steps": "constant",
    "inverse_temperature": 20.0,
    "discrete_inverse_temperature": 20.0,
    "temperature": 0.05,
    "discrete_temperature": 0.05,
}


def settings(name: str) -> dict:
    """Fields of an algorithm's config by name."""
    return {f.name: f for f in dataclasses.fields(registry.get(name).Config)}


class Learned:
    """What R replicas of an algorithm have learned from a data set; every phase takes `steps` updates."""

    def __init__(
        self, name: str, data: Dataset, steps: int, sweep: dict | None = None, seeds: Sequence[int] = (0,), **overrides
    ) -> None:
        self.algorithm = registry.get(name)
        known = settings(name)
        rates = {n: 3e-3 for n in known if n.endswith("lr")}
        values = {k: v for k, v in {**USUAL, **rates, **overrides}.items() if k in known}
        presets = self.algorithm.presets
        preset = presets.get("tuned_100k", next(iter(presets.values())))  # these data sets are short logs
        cfg = dataclasses.replace(preset.config, **values)
        cfg = over_the_run(cfg, steps)
        assert not self.algorithm.check(cfg)
        if self.algorithm.filter is not None:
            data = self.algorithm.filter(cfg, data)
        ((field, swept),) = (sweep or {"batch_size": [cfg.batch_size]}).items()
        cfgs = [dataclasses.replace(cfg, **{field: v}) for v in swept for _ in seeds]
        fitted = treatment.fit(Treatment(), data)
        columns = jax.tree.map(jnp.asarray, cols.prepare(data, fitted, self.algorithm.needs(cfg).columns, DISCOUNT))
        ctx = Context(data.spec, columns, cols.stats(data, fitted))
        self.cfg = as_arrays(cfg)
        keys = seed_keys([*seeds] * len(swept))
        self.carry = None
        for i, phase in enumerate(self.algorithm.phases(cfg)):
            sources = {"data": columns}
            for view, episodes in (by_episodes(data, phase.split, 0) if phase.split else {}).items():
                inside = np.flatnonzero(np.isin(data.episode_of, episodes))
                sources[view] = row_sources.View(columns, jnp.asarray(inside, jnp.int32))
            self.program = Program(self.algorithm, phase, i, replicate(cfgs), keys, ctx, sources)
            self.carry = enter(self.program, self.carry)
            self.steps = 0
            self.more(steps)

    def more(self, steps: int) -> None:
        """Continue the last phase, with its refreshes."""
        end = self.steps + steps
        for block in blocks(self.program, self.carry, self.steps, end, lambda lo: end):
            self.carry = block.carry
            self.steps = block.hi
        self.state = self.carry.state

    def replica(self, i: int = 0):
        return jax.tree.map(lambda x: jnp.asarray(np.asarray(x)[i]), self.state)

    def act(self, obs, mode: str = "best") -> np.ndarray:
        """Of the last replica."""
        obs = jnp.asarray(obs, jnp.float32)
        seen = Seen(obs, jnp.zeros(len(obs)))
        run = jax.jit(functools.partial(self.algorithm.act, mode=mode))
        return np.asarray(run(self.cfg, self.replica(-1), seen, (), Noise(jax.random.PRNGKey(0)))[0])

    def believed(self, obs, action=None) -> tuple[np.ndarray, np.ndarray]:
        """Actions [R, n, ...] (those given, or each replica's own best) and what they are believed to be worth, [R, n].

        All replicas have the first one's settings.
        """
        obs = jnp.asarray(obs, jnp.float32)
        seen = Seen(obs, jnp.zeros(len(obs)))

        def one(state):
            own = self.algorithm.act(self.cfg, state, seen, (), Noise(jax.random.PRNGKey(0)), "best")[0]
            chosen = own if action is None else jnp.asarray(action)
            return chosen, estimated_value(self.algorithm, self.cfg, state, obs, chosen)

        chosen, value = jax.jit(jax.vmap(one))(self.state)
        return np.asarray(chosen), np.asarray(value)

    def q(self, obs, action) -> np.ndarray:
        """Mean over the critics."""
        critic = self.replica().critic.net
        return np.asarray(
            jax.jit(critic.__class__.__call__)(critic, jnp.asarray(obs, jnp.float32), jnp.asarray(action))
        ).mean(0)

    def v(self, obs, i: int = 0) -> np.ndarray:
        net = self.replica(i).value.net
        return np.asarray(jax.jit(net.__class__.__call__)(net, jnp.asarray(obs, jnp.float32)))
