"""Random ensemble mixture (Agarwal, Schuurmans, Norouzi 2020, arXiv:1907.04543): Q-learning on random mixtures.

Each update draws one convex combination alpha of the K heads and makes Q-learning's step for the mixed value
sum_k alpha_k Q_k, with the same alpha in the target and for every row; the policy is greedy in the plain mean.

Paper -> here: K heads, alpha mixture: uniforms in [0, 1) divided by their sum. The max over actions comes after mixing.
Order: critic, then the target (soft or hard, see `dqn`). As in the authors' code: Huber's loss with delta 1, mean over
the batch, no double target; one mixture an update.
The last layer is mixed in place of its outputs: the same numbers at 1/K of their cost. An MLP stands in place of the
convolutional trunk, and heads on it in place of the separate networks of the paper's online experiment.
"""

from __future__ import annotations

import jax

from ..core.config import config
from ..core.noise import Noise
from ..core.spec import Batch, Step
from ..core.trained import Metrics
from ..parts import losses, targets
from ..parts.action_values import ActionValues, best, pick, td
from . import dqn, ensemble_dqn
from .dqn import State


@config
class REM(ensemble_dqn.EnsembleDQN):
    """The settings of Ensemble-DQN."""


def critic_loss(critic: ActionValues, mixture: jax.Array, y: jax.Array, batch: Batch) -> tuple[jax.Array, Metrics]:
    values = critic.mix(mixture)(batch.obs)  # [B, A, 1]
    return losses.huber(pick(values, batch.action) - y).mean(), dqn.told(values[..., 0], batch.action, batch.mask, y)


def update(cfg: REM, state: State, batch: Batch, noise: Noise, step: Step) -> tuple[State, Metrics]:
    uniform = noise.uniform("mixture_uniform", (cfg.heads,))
    mixture = uniform / uniform.sum()
    following = state.target_critic.mix(mixture)(batch.next_obs)
    following = pick(following, best(following[..., 0], batch.next_mask))
    y = td(batch, following, cfg.discount)  # [B, 1]
    critic, metrics = state.critic.step(dqn.optimiser(cfg), critic_loss, mixture, y, batch, name="critic")
    target = targets.follow(critic.net, state.target_critic, cfg.polyak, cfg.target_every, step)
    return State(critic, target), metrics


algorithm = ensemble_dqn.algorithm._replace(name="rem", Config=REM, update=update, presets=ensemble_dqn.presets(REM))
