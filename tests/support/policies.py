"""Small hand-written policies: their actions can be worked out by hand."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax

from holdfast.core.config import as_arrays, config
from holdfast.core.contract import Algorithm, Context
from holdfast.core.noise import Noise
from holdfast.core.spec import Spec
from holdfast.core.trained import Trained
from holdfast.core.tree import PyTree
from holdfast.data.feed.treatment import Fitted
from holdfast.policy.policy import Policy


@config
class Settings:
    gain: float = 1.0
    spread: float = 0.5
    hidden: int = 8


class State(PyTree):
    actor: Trained
    critic: Trained
    count: jax.Array


def init(cfg: Settings, ctx: Context, noise: Noise) -> State:
    shape = (ctx.spec.obs[0], ctx.spec.action)
    tx = optax.adam(1e-3)
    actor = {"weight": noise.normal("actor", shape), "bias": jnp.zeros(ctx.spec.action)}
    return State(Trained.new(actor, tx), Trained.new(noise.normal("critic", (cfg.hidden, 3)), tx), jnp.int32(0))


def scores(cfg: Settings, state: State, seen: Any) -> jax.Array:
    out = cfg.gain * (seen.obs @ state.actor.net["weight"] + state.actor.net["bias"][None])
    return out if seen.mask is None else jnp.where(seen.mask, out, -jnp.inf)


@jax.jit  # a nested program: liveness has to look inside
def squash(state: State, out: jax.Array) -> jax.Array:
    return jnp.tanh(out)


def act(cfg: Settings, state: State, seen: Any, memory: Any, noise: Noise, mode: str) -> tuple[jax.Array, Any]:
    out = scores(cfg, state, seen)
    if mode == "sample":
        out = out + cfg.spread * noise.normal("act", out.shape)
    return squash(state, out), memory


def pick(cfg: Settings, state: State, seen: Any, memory: Any, noise: Noise, mode: str) -> tuple[jax.Array, Any]:
    return scores(cfg, state, seen).argmax(-1), memory


def remember(cfg: Settings, state: State, seen: Any, memory: Any, noise: Noise, mode: str) -> tuple[jax.Array, Any]:
    """Acts by the steps since the episode's start and the rewards since then, each a tenth."""
    memory = {"steps": memory["steps"] + 1, "sum": memory["sum"] + seen.reward}
    out = jnp.stack([memory["steps"], memory["sum"]], 1) / 10
    return out + 0 * state.actor.net["bias"][None], memory


FAKE = Algorithm("fake", Settings, init, None, act, {}, actions=frozenset({"continuous"}))
PICK = FAKE._replace(name="pick", act=pick, actions=frozenset({"discrete"}))
MEMORY = FAKE._replace(
    name="memory", act=remember, memory=lambda cfg, spec, n: {"steps": jnp.zeros(n), "sum": jnp.zeros(n)}
)


def continuous(obs: int = 3, low: Any = (-2.0, 0.0), high: Any = (1.0, 10.0), normalized: bool = True) -> Fitted:
    low, high = np.array(low, np.float32), np.array(high, np.float32)
    mean, std = np.arange(obs) * 1.0, 1.0 + np.arange(obs)
    return Fitted(mean, std, 2.0, 1.0, low, high, normalized=normalized)


def discrete(obs: int, count: int, start: int) -> Fitted:
    return Fitted(np.zeros(obs), np.ones(obs), action_start=start, action_count=count)


def make(
    algorithm: Algorithm = FAKE, spec: Spec | None = None, fitted: Fitted | None = None, seed: int = 0, **info: Any
) -> Policy:
    spec = spec or Spec((3,), 2)
    fitted = fitted or (discrete(spec.obs[0], spec.action, 0) if spec.discrete else continuous(spec.obs[0]))
    cfg = Settings(gain=0.3)
    state = algorithm.init(as_arrays(cfg), Context(spec), Noise(jax.random.PRNGKey(seed)))
    return Policy(algorithm, cfg, state, spec, fitted, info)
