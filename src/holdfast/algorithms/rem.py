"""Random ensemble mixture (Agarwal, Schuurmans, Norouzi 2020, arXiv:1907.04543): Q-learning on random mixtures.

Each update draws one convex combination alpha of the K heads and takes Q-learning's step for the mixed value
sum_k alpha_k Q_k, with the same alpha in the target and for every row. The policy is greedy in the plain mean.

Notation (paper = code): K = `heads`; alpha = `mixture`, uniforms in [0, 1) divided by their sum.
Order of an update: mixture, critic, target (soft or copied, see `q_learning`). The maximum over actions comes after
mixing.
As in the authors' code: the Huber loss with delta 1 and its mean over the batch; no double target; one mixture an
update.
Not as in the paper: heads on one trunk also online, where the paper has separate networks. Not as in the authors' code:
Adam in its standard form, see `ensemble_dqn`; the weights of the last layer are mixed in place of its outputs, which
gives the same numbers at 1/K of the cost.
Ours: `acting` "min" and "lcb", see `ensemble_dqn`; illegal actions are excluded from the maximum and from acting.
"""

from __future__ import annotations

import jax

from ..core.config import Schedule, config, faults
from ..core.contract import Context, Preset, Treatment
from ..core.noise import Noise
from ..core.spec import Batch, Step
from ..core.trained import Metrics
from ..parts import losses
from ..parts.action_values import ActionValues, best, pick, q_metrics, td
from .ensemble_dqn import dist
from .q_learning import CONTROL, RULES, State, learn, record, start


@config
class REM:
    heads: int = 200  # how many heads, K
    acting: str = "mean"  # the policy is greedy in the mean, min or lcb of the heads (lcb: mean minus deviations)
    acting_deviations: float = 1.0  # standard deviations that lcb subtracts
    discount: float = 0.99  # gamma
    polyak: float = 1.0  # rate at which the target follows; 1 with a long `target_every` copies it
    target_every: int = 2_000  # updates between moves of the target
    epsilon: float = 0.01  # online: share of random actions while exploring
    epsilon_steps: int = 62_500  # updates over which epsilon falls from 1 to its value; 0: constant
    critic_lr: float = 5e-5  # Adam
    critic_decay_steps: Schedule = "constant"  # learning rate: constant, or a cosine over the run or N updates
    adam_eps: float = 3.125e-4  # Adam's constant outside the root
    hidden: tuple[int, ...] = (512,)  # widths of the hidden layers of the trunk
    batch_size: int = 32  # rows per update
    n_step: int = 1  # steps of the return before the bootstrap
    warmup: int = 20_000  # online: environment steps with random actions before the first update
    update_every: int = 4  # online: environment steps between updates


def check(cfg: REM) -> list[str]:
    return faults(cfg, heads="positive", acting="mean|min|lcb", acting_deviations="at least 0", **RULES)


def init(cfg: REM, ctx: Context, noise: Noise) -> State:
    return start(cfg, ctx, noise, cfg.heads)


def critic_loss(critic: ActionValues, mixture: jax.Array, y: jax.Array, batch: Batch) -> tuple[jax.Array, Metrics]:
    values = critic.mix(mixture)(batch.obs)  # [B, A, 1]
    loss = losses.huber(pick(values, batch.action) - y).mean()
    return loss, q_metrics(values[..., 0], batch.action, batch.mask, y)


def update(cfg: REM, state: State, batch: Batch, noise: Noise, step: Step) -> tuple[State, Metrics]:
    uniform = noise.uniform("mixture_uniform", (cfg.heads,))
    mixture = uniform / uniform.sum()
    following = state.target_critic.mix(mixture)(batch.next_obs)
    following = pick(following, best(following[..., 0], batch.next_mask))
    y = td(batch, following, cfg.discount)  # [B, 1]
    return learn(cfg, state, step, critic_loss, mixture, y, batch)


TUNED = REM(**CONTROL)
PRESETS = {
    "atari": Preset(
        REM(),
        Treatment(),
        "authors' code, github.com/google-research/batch_rl, batch_rl/fixed_replay/configs/rem.gin (the data has the "
        "rewards clipped to their sign)",
    ),
    "tuned_100k": Preset(TUNED, Treatment(), "ours, as the preset control of DQN, with 200 heads"),
}

algorithm = record("rem", REM, init, update, PRESETS, dist, check)
