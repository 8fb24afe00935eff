"""Deep Q-network (Mnih et al. 2015, doi:10.1038/nature14236), with the double target as an option (arXiv:1509.06461).

Q regresses on r + gamma Qbar(s', a'). a' is the best action at s' according to the target network, or according to the
online network if `double` (van Hasselt, Guez, Silver 2016). DQN is made for learning online. Run offline it is the
baseline that shows why offline RL exists: a' can be an action that the data never shows.

Notation (paper = code): theta = `critic`; theta^- = `target_critic`; epsilon = `epsilon`.
Order of an update: critic, target. The target moves softly (small `polyak`, every update) or is copied (`polyak` 1,
every `target_every` updates).
As in most codes and not in the paper: the Huber loss with delta 1 and a mean over the batch in place of a clipped
error; Adam in place of RMSProp.
Not as in the paper: evaluation is greedy (published codes take a random action in a thousand).
Ours: illegal actions are excluded from a' and from acting.
"""

from __future__ import annotations

import jax

from ..core.config import Schedule, config, faults
from ..core.contract import Context, Preset, Treatment
from ..core.noise import Noise
from ..core.spec import Batch, Step
from ..core.trained import Metrics
from ..parts import losses
from ..parts.action_values import ActionValues, next_values, pick, q_metrics, td
from .q_learning import RULES, State, dist, learn, record, start


@config
class DQN:
    double: bool = False  # the online network chooses a'; False: the target network does, as in 2015
    discount: float = 0.99  # gamma
    polyak: float = 0.005  # rate at which the target follows; 1 with a long `target_every` copies it
    target_every: int = 1  # updates between moves of the target
    epsilon: float = 0.1  # online: share of random actions while exploring
    epsilon_steps: int = 0  # updates over which epsilon falls from 1 to its value; 0: constant
    critic_lr: float = 3e-4  # Adam
    critic_decay_steps: Schedule = "constant"  # learning rate: constant, or a cosine over the run or N updates
    adam_eps: float = 1e-8  # Adam's constant outside the root; 1.5e-4 on Atari
    hidden: tuple[int, ...] = (256, 256)  # widths of the hidden layers
    batch_size: int = 64  # rows per update
    n_step: int = 1  # steps of the return before the bootstrap; 3 in Rainbow (arXiv:1710.02298)
    warmup: int = 1_000  # online: environment steps with random actions before the first update
    update_every: int = 1  # online: environment steps between updates; 4 on Atari


def check(cfg: DQN) -> list[str]:
    return faults(cfg, **RULES)


def init(cfg: DQN, ctx: Context, noise: Noise) -> State:
    return start(cfg, ctx, noise)


def critic_loss(critic: ActionValues, y: jax.Array, batch: Batch) -> tuple[jax.Array, Metrics]:
    values = critic(batch.obs)
    loss = losses.huber(pick(values, batch.action) - y).mean()
    return loss, q_metrics(values.mean(-1), batch.action, batch.mask, y)


def update(cfg: DQN, state: State, batch: Batch, noise: Noise, step: Step) -> tuple[State, Metrics]:
    following = next_values(state.critic.net, state.target_critic, batch, cfg.double)
    y = td(batch, following, cfg.discount)  # [B, 1]
    return learn(cfg, state, step, critic_loss, y, batch)


CODE = "github.com/sfujim/BCQ, discrete_BCQ/main.py, the DQN that logs its data:"
ATARI = DQN(
    polyak=1.0,
    target_every=8000,
    epsilon=0.01,
    epsilon_steps=250_000,
    critic_lr=6.25e-5,
    adam_eps=1.5e-4,
    hidden=(512,),
    batch_size=32,
    warmup=20_000,
    update_every=4,
)
PRESETS = {
    "control": Preset(DQN(), Treatment(), f"{CODE} regular_parameters, for vectors of observations"),
    "atari": Preset(ATARI, Treatment(), f"{CODE} atari_parameters (the data has the rewards clipped to their sign)"),
    "tuned_double": Preset(DQN(double=True), Treatment(), "ours, as control with van Hasselt's target"),
}

algorithm = record("dqn", DQN, init, update, PRESETS, dist, check)
