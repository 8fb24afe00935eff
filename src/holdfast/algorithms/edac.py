"""EDAC (An, Moon, Kim, Song 2021, arXiv:2110.01548, section 4): SAC-N with critics that are kept different.

The critics' gradients in the action are pushed apart at the data's actions, so that moving away from the data lowers
the minimum sooner and a tenth of SAC-N's critics do.

Paper -> here: N critics, eta diversity; the rest, and the order of the update, as in sac_n.py.
As in CORL: every pair of critics counts. The authors' code compares a random min(N, |A|) of them at each update, which
is not in the paper and divides by zero for one-dimensional actions. With those all gradients are +1 or -1, and the term
only reports how many critics agree on the sign: EDAC is then SAC-N.
Here: sum over i != j of <g_i, g_j> is computed as |sum g_i|^2 - sum |g_i|^2, without the [E, E] matrix.
"""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp

from ..core.config import config, faults
from ..core.contract import Algorithm, Preset, Treatment
from ..core.noise import Noise
from ..core.spec import Batch, Step
from ..core.trained import Metrics, merge
from ..core.tree import ema
from ..parts import layers, nets, optimisers
from . import sac_n
from .sac_n import State, act, dist, improve, init


@config
class EDAC(sac_n.SACN):
    critics: int = 10  # N, at least 2; 10 on HalfCheetah and Walker2d, 50 on Hopper
    diversity: float = 1.0  # eta of eq. 5; 5 on medium-expert data of HalfCheetah and Walker2d, 10 to 1000 on Adroit


def check(cfg: EDAC) -> list[str]:
    few = [f"critics is {cfg.critics}, expected at least 2: diversity is between pairs"] if cfg.critics == 1 else []
    return faults(cfg, **sac_n.RULES, value="min|mean|lcb", diversity="at least 0") + few


def action_gradients(critic: nets.Critic, obs: jax.Array, action: jax.Array) -> tuple[jax.Array, jax.Array]:
    """Every critic's value [E, B] and its gradient in the action [E, B, A]."""

    def one(net: layers.MLP) -> tuple[jax.Array, jax.Array]:
        def total(action: jax.Array) -> tuple[jax.Array, jax.Array]:
            q = net(jnp.concatenate([obs, action], -1))[..., 0]
            return q.sum(), q

        gradient, q = jax.grad(total, has_aux=True)(action)
        return q, gradient

    return jax.vmap(one)(critic.nets)


def similarity(gradients: jax.Array) -> jax.Array:
    """Cosines of [E, B, A] summed over ordered pairs of different critics, over E - 1, mean over rows (eq. 5)."""
    squares = jnp.square(gradients).sum(-1)
    norm = jnp.where(squares > 0, jnp.sqrt(jnp.where(squares > 0, squares, 1)), 0)  # without an infinite slope at 0
    unit = gradients / (norm + 1e-10)[..., None]
    pairs = jnp.square(unit.sum(0)).sum(-1) - jnp.square(unit).sum((0, 2))
    return pairs.mean() / (len(gradients) - 1)


def critic_loss(critic: nets.Critic, y: jax.Array, batch: Batch, eta: Any) -> tuple[jax.Array, Metrics]:
    q, gradients = action_gradients(critic, batch.obs, batch.action)
    error, alike = jnp.square(q - y[None]).mean(1).sum(), similarity(gradients)
    return error + eta * alike, {"q": q.mean(), "target": y.mean(), "td": error, "similarity": alike}


def update(cfg: EDAC, state: State, batch: Batch, noise: Noise, step: Step) -> tuple[State, Metrics]:
    temperature, actor, y, m1 = improve(cfg, state, batch, noise)
    tx = optimisers.adam(cfg.critic_lr)
    critic, m2 = state.critic.step(tx, critic_loss, y, batch, cfg.diversity, name="critic")  # eq. 5
    target = ema(critic.net, state.target_critic, cfg.polyak)
    return State(actor, critic, target, temperature), merge(m1, m2)


def preset(critics: int, diversity: float, source: str) -> Preset:
    config = EDAC(critics=critics, diversity=diversity)
    return Preset(config, Treatment(), "CORL, configs/offline/edac/" + source)


STANDARDISED = "; the authors standardise rewards besides"
PRESETS = {
    "mujoco": preset(10, 1.0, "halfcheetah, walker2d"),
    "mujoco-medium-expert": preset(10, 5.0, "halfcheetah/medium_expert_v2.yaml, and so for walker2d"),
    "hopper": preset(50, 1.0, "hopper"),
    "adroit": preset(50, 200.0, "door, relocate" + STANDARDISED),
    "pen-human": preset(20, 1000.0, "pen/human_v1.yaml" + STANDARDISED),
    "pen-cloned": preset(20, 10.0, "pen/cloned_v1.yaml" + STANDARDISED),
}

algorithm = Algorithm("edac", EDAC, init, update, act, PRESETS, dist=dist, check=check)
