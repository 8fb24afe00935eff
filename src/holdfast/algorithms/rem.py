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

from ..core.config import config
from ..core.contract import Preset, Treatment
from ..core.noise import Noise
from ..core.spec import Batch, Step
from ..core.trained import Metrics
from ..parts import losses
from ..parts.action_values import ActionValues, best, pick, q_metrics, td
from .ensemble_dqn import Heads, check, dist, init
from .q_learning import CONTROL, State, learn, record


@config
class REM(Heads):
    pass


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
