"""EDAC (An, Moon, Kim, Song 2021, arXiv:2110.01548, section 4): SAC-N with critics that are kept different.

The critics' gradients in the action are pushed apart at the data's actions. Moving away from the data then lowers the
minimum sooner, and a tenth of SAC-N's critics is enough.

Notation (paper = code): N = `critics`; eta = `diversity`; the rest, and the order of the update, as in sac_n.py.
As in CORL: every pair of critics counts. The authors' code compares a random min(N, |A|) of them at each update, which
is not in the paper and divides by zero for one-dimensional actions. There all gradients are +1 or -1, and the term only
reports how many critics agree on the sign: EDAC is then SAC-N.
Here the sum over i != j of <g_i, g_j> is computed as |sum g_i|^2 - sum |g_i|^2, without the [E, E] matrix.
Ours: `value` aggregates the critics by "mean" or "lcb" instead of the paper's "min", as in sac_n.py.
"""

from __future__ import annotations

import jax
import jax.numpy as jnp

from ..core.config import config, faults, narrowed
from ..core.contract import Algorithm, Context, Preset, Treatment
from ..core.noise import Noise
from ..core.spec import Batch, Scalar, Step
from ..core.trained import Metrics, merge
from ..core.tree import ema
from ..parts import nets, targets
from ..parts.acting import act, dist
from . import sac_n
from .sac import State, optimisers_of


@config
class EDAC:
    critics: int = 10  # N, at least 2; 10 on HalfCheetah and Walker2d, 50 on Hopper
    diversity: float = 1.0  # eta of eq. 5; 5 on medium-expert data of HalfCheetah and Walker2d, 10 to 1000 on Adroit
    value: str = "min"  # aggregate of the N critics: min, mean or lcb (mean minus deviations)
    value_deviations: float = 1.0  # lcb: standard deviations below the mean
    discount: float = 0.99  # gamma
    n_step: int = 1  # steps of the return before it bootstraps; 1 in the paper
    polyak: float = 0.005  # rate at which the target critics follow
    initial_temperature: float = 1.0  # alpha before the first update
    target_entropy: float = 0.0  # H, in nats; 0 means minus the number of action dimensions
    actor_lr: float = 3e-4  # Adam
    critic_lr: float = 3e-4  # Adam
    temperature_lr: float = 3e-4  # Adam
    hidden: tuple[int, ...] = (256, 256, 256)  # widths of the hidden layers of every network
    batch_size: int = 256  # rows per update


def check(cfg: EDAC) -> list[str]:
    rules = {"value": "min|mean|lcb", "critics": "positive", "value_deviations": "at least 0"}
    rules |= {"discount": "in [0, 1]", "polyak": "in [0, 1]", "initial_temperature": "positive"}
    found = faults(cfg, n_step="positive", diversity="at least 0", **rules)
    if cfg.critics == 1:
        found.append("critics is 1, expected at least 2: diversity is between pairs")
    return found


def init(cfg: EDAC, ctx: Context, noise: Noise) -> State:
    return sac_n.init(narrowed(sac_n.SACN, cfg), ctx, noise)


def action_gradients(critic: nets.Critic, obs: jax.Array, action: jax.Array) -> tuple[jax.Array, jax.Array]:
    """The value of every critic, [E, B], and its gradient in the action, [E, B, A]."""

    def one(net: nets.Network) -> tuple[jax.Array, jax.Array]:
        def total(action: jax.Array) -> tuple[jax.Array, jax.Array]:
            q = nets.joint_of(net, obs, action)[..., 0]
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


def critic_loss(critic: nets.Critic, y: jax.Array, batch: Batch, eta: Scalar) -> tuple[jax.Array, Metrics]:
    """SAC-N's squared error plus `eta` times the similarity of the critics' gradients (eq. 5)."""
    q, gradients = action_gradients(critic, batch.obs, batch.action)
    error = jnp.square(q - y[None]).mean(1).sum()
    alike = similarity(gradients)
    return error + eta * alike, {"q": q.mean(), "target": y.mean(), "td": error, "similarity": alike}


def update(cfg: EDAC, state: State, batch: Batch, noise: Noise, step: Step) -> tuple[State, Metrics]:
    tx = optimisers_of(cfg)
    temperature, actor, y, m1 = sac_n.improve(narrowed(sac_n.SACN, cfg), tx, state, batch, noise)
    critic, m2 = state.critic.step(tx.critic, critic_loss, y, batch, cfg.diversity, name="critic")  # eq. 5
    target = ema(critic.net, state.target_critic, cfg.polyak)
    return State(actor, critic, target, temperature), merge(m1, m2)


def preset(critics: int, diversity: float, source: str) -> Preset:
    config = EDAC(critics=critics, diversity=diversity)
    return Preset(config, Treatment(), "CORL, configs/offline/edac/" + source)


STANDARDISED = "; the authors also standardise rewards"
PRESETS = {
    "mujoco": preset(10, 1.0, "halfcheetah, walker2d"),
    "mujoco-medium-expert": preset(10, 5.0, "halfcheetah/medium_expert_v2.yaml, and so for walker2d"),
    "hopper": preset(50, 1.0, "hopper"),
    "adroit": preset(50, 200.0, "door, hammer, relocate" + STANDARDISED),
    "pen-human": preset(20, 1000.0, "pen/human_v1.yaml" + STANDARDISED),
    "pen-cloned": preset(20, 10.0, "pen/cloned_v1.yaml" + STANDARDISED),
}

algorithm = Algorithm("edac", EDAC, init, update, act, PRESETS, needs=targets.n_step_rows, dist=dist, check=check)
