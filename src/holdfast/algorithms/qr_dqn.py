"""Quantile regression DQN (Dabney, Rowland, Bellemare, Munos 2018, arXiv:1710.10044; equation numbers are theirs).

The network predicts N quantiles of the return of each action in place of its mean. The Huber quantile loss pulls the
i-th quantile towards the quantile (i + 1/2) / N of r + gamma Z(s', a'). The policy is greedy in the mean of the
quantiles.

Notation (paper = code): N = `quantiles`; tau-hat_i = `taus`; kappa = 1; theta^- = `target_critic`.
Order of an update: critic, target (soft or copied, see `q_learning`).
As in the paper the target network chooses a'; with `double` the online network does, as in d3rlpy's discrete CQL.
Not as in the paper: learning rate, number of quantiles and target of the default, which is for vectors of observations.
Ours: illegal actions are excluded from a' and from acting.
"""

from __future__ import annotations

import jax
import jax.numpy as jnp

from ..core.config import Schedule, config, faults
from ..core.contract import Context, Preset, Treatment
from ..core.noise import Noise
from ..core.spec import Batch, Step
from ..core.trained import Metrics
from ..parts import losses
from ..parts.action_values import ActionValues, next_values, pick, q_metrics, td
from .q_learning import CONTROL, RULES, State, dist, learn, record, start


@config
class QRDQN:
    quantiles: int = 51  # N; 200 in the paper, 32 in d3rlpy
    double: bool = False  # the online network chooses a'; False: the target network does, as in the paper
    discount: float = 0.99  # gamma
    polyak: float = 1.0  # rate at which the target follows; 1 with a long `target_every` copies it
    target_every: int = 50  # updates between moves of the target
    epsilon: float = 0.01  # online: share of random actions while exploring
    epsilon_steps: int = 0  # updates over which epsilon falls from 1 to its value; 0: constant
    critic_lr: float = 1e-4  # Adam
    critic_decay_steps: Schedule = "constant"  # learning rate: constant, or a cosine over the run or N updates
    adam_eps: float = 3.125e-4  # Adam's constant outside the root
    hidden: tuple[int, ...] = (512, 512)  # widths of the hidden layers
    batch_size: int = 128  # rows per update
    n_step: int = 1  # steps of the return before the bootstrap
    warmup: int = 500  # online: environment steps with random actions before the first update
    update_every: int = 2  # online: environment steps between updates; 4 on Atari


def check(cfg: QRDQN) -> list[str]:
    return faults(cfg, quantiles="positive", **RULES)


def init(cfg: QRDQN, ctx: Context, noise: Noise) -> State:
    return start(cfg, ctx, noise, cfg.quantiles)


def quantile_loss(z: jax.Array, y: jax.Array) -> jax.Array:
    """Eq. 10 for quantiles [B, N] and targets [B, N]: summed over quantiles, averaged over targets and the batch."""
    taus = (jnp.arange(z.shape[-1]) + 0.5) / z.shape[-1]
    return losses.quantile_huber(z, y, taus).mean()


def critic_loss(critic: ActionValues, y: jax.Array, batch: Batch) -> tuple[jax.Array, Metrics]:
    values = critic(batch.obs)
    z = pick(values, batch.action)
    metrics = q_metrics(values.mean(-1), batch.action, batch.mask, y)
    return quantile_loss(z, y), {**metrics, "spread": z.std(-1).mean()}


def update(cfg: QRDQN, state: State, batch: Batch, noise: Noise, step: Step) -> tuple[State, Metrics]:
    following = next_values(state.critic.net, state.target_critic, batch, cfg.double)
    y = td(batch, following, cfg.discount)  # [B, N]
    return learn(cfg, state, step, critic_loss, y, batch)


ATARI = QRDQN(
    quantiles=200,
    target_every=2000,
    epsilon_steps=62_500,
    critic_lr=5e-5,
    hidden=(512,),
    batch_size=32,
    warmup=20_000,
    update_every=4,
)
TUNED = QRDQN(quantiles=32, **CONTROL)
PRESETS = {
    "cartpole": Preset(
        QRDQN(),
        Treatment(),
        "Obando-Ceron and Castro 2021 (arXiv:2011.14826), github.com/JohanSamir/revisiting_rainbow, "
        "Configs/quantile_cartpole.gin",
    ),
    "atari": Preset(
        ATARI,
        Treatment(),
        "github.com/google-research/batch_rl, batch_rl/fixed_replay/configs/quantile.gin (the data has the rewards "
        "clipped to their sign)",
    ),
    "tuned_100k": Preset(TUNED, Treatment(), "ours, as the preset control of DQN, with 32 quantiles"),
}

algorithm = record("qr_dqn", QRDQN, init, update, PRESETS, dist, check)
