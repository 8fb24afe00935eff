"""Quantile regression DQN (Dabney, Rowland, Bellemare, Munos 2018, arXiv:1710.10044; equation numbers are theirs).

The network gives N quantiles of the return of each action instead of its mean; the Huber quantile loss pulls the i-th
one to the quantile (i + 1/2) / N of r + gamma Z(s', a'). The policy is greedy in their mean.

Paper -> here: N quantiles, tau-hat_i taus, kappa = 1. Order: critic, then the target (soft or hard, see `dqn`).
As in the paper a' is the target network's choice; `double` leaves it to the online network, as d3rlpy does under CQL.
"""

from __future__ import annotations

import jax
import jax.numpy as jnp

from ..core.config import config, faults
from ..core.contract import Context, Preset, Treatment
from ..core.noise import Noise
from ..core.spec import Batch, Step
from ..core.trained import Metrics
from ..parts import losses, targets
from ..parts.action_values import ActionValues, next_values, pick, td
from . import dqn
from .dqn import State


@config
class QRDQN(dqn.DQN):
    double: bool = False  # a' is chosen by the target network, as in the paper
    quantiles: int = 32  # N; d3rlpy 32, paper 200


def check(cfg: QRDQN) -> list[str]:
    return faults(cfg, quantiles="positive", **dqn.RULES)


def init(cfg: QRDQN, ctx: Context, noise: Noise) -> State:
    return dqn.start(cfg, ctx, noise, cfg.quantiles)


def quantile_loss(z: jax.Array, y: jax.Array) -> jax.Array:
    """Eq. 10 for quantiles and targets [B, N] each: summed over quantiles, mean over targets and the batch."""
    taus = (jnp.arange(z.shape[-1]) + 0.5) / z.shape[-1]
    return losses.quantile_huber(z, y, taus).mean()


def critic_loss(critic: ActionValues, y: jax.Array, batch: Batch) -> tuple[jax.Array, Metrics]:
    values = critic(batch.obs)
    z = pick(values, batch.action)
    return quantile_loss(z, y), {**dqn.told(values.mean(-1), batch.action, batch.mask, y), "spread": z.std(-1).mean()}


def update(cfg: QRDQN, state: State, batch: Batch, noise: Noise, step: Step) -> tuple[State, Metrics]:
    following = next_values(state.critic.net, state.target_critic, batch, cfg.double)
    y = td(batch, following, cfg.discount)  # [B, N]
    critic, metrics = state.critic.step(dqn.optimiser(cfg), critic_loss, y, batch, name="critic")
    target = targets.follow(critic.net, state.target_critic, cfg.polyak, cfg.target_every, step)
    return State(critic, target), metrics


PRESETS = {
    "control": Preset(QRDQN(), Treatment(), "d3rlpy's 32 quantiles, the rest as our DQN on control tasks"),
    "atari": Preset(
        QRDQN(
            quantiles=200,
            polyak=1.0,
            target_every=2000,
            epsilon=0.01,
            epsilon_steps=62_500,
            critic_lr=5e-5,
            adam_eps=0.01 / 32,
            batch_size=32,
        ),
        Treatment(),
        "github.com/google-research/batch_rl, configs of the quantile agent (a copy every 8000 agent steps, four an "
        "update; rewards clipped to their sign in the data)",
    ),
}

algorithm = dqn.algorithm._replace(name="qr_dqn", Config=QRDQN, init=init, update=update, presets=PRESETS, check=check)
