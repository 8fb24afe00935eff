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

from typing import Any

import jax
import optax

from ..core.config import Schedule, config, faults
from ..core.contract import Algorithm, Collect, Context, Phase, Preset, Treatment
from ..core.noise import Noise
from ..core.spec import Batch, Memory, Mode, Seen, Step
from ..core.trained import Metrics, Trained
from ..core.tree import PyTree
from ..parts import losses, optimisers, targets
from ..parts.action_values import (
    ActionValues,
    action_values,
    epsilon_at,
    epsilon_greedy,
    greedy,
    next_values,
    pick,
    q_metrics,
    td,
)
from ..parts.distributions import Categorical
from ..parts.settings import EpsilonGreedy, QLearning


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


class State(PyTree):
    critic: Trained
    target_critic: ActionValues


# The rules of the settings that all methods of this family have.
RULES = {
    "discount": "in [0, 1]",
    "polyak": "in [0, 1]",
    "target_every": "positive",
    "epsilon": "in [0, 1]",
    "epsilon_steps": "at least 0",
    "adam_eps": "positive",
    "n_step": "positive",
    "warmup": "at least 0",
    "update_every": "positive",
}


def check(cfg: DQN) -> list[str]:
    return faults(cfg, **RULES)


def optimiser_of(cfg: QLearning) -> optax.GradientTransformation:
    return optimisers.adam(optimisers.cosine(cfg.critic_lr, cfg.critic_decay_steps), cfg.adam_eps)


def init(cfg: DQN, ctx: Context, noise: Noise) -> State:
    critic = action_values(noise.sub("critic"), ctx.spec, cfg.hidden)
    return State(Trained.new(critic, optimiser_of(cfg)), critic)


def critic_loss(critic: ActionValues, y: jax.Array, batch: Batch) -> tuple[jax.Array, Metrics]:
    values = critic(batch.obs)
    loss = losses.huber(pick(values, batch.action) - y).mean()
    return loss, q_metrics(values.mean(-1), batch.action, batch.mask, y)


def update(cfg: DQN, state: State, batch: Batch, noise: Noise, step: Step) -> tuple[State, Metrics]:
    following = next_values(state.critic.net, state.target_critic, batch, cfg.double)
    y = td(batch, following, cfg.discount)  # [B, 1]
    critic, metrics = state.critic.step(optimiser_of(cfg), critic_loss, y, batch, name="critic")
    target = targets.follow(critic.net, state.target_critic, cfg.polyak, cfg.target_every, step)
    return State(critic, target), metrics


def dist(cfg: DQN, state: State, seen: Seen, memory: Memory) -> Categorical:
    return greedy(state.critic.net.mean(seen.obs), seen.mask)


def explore(cfg: EpsilonGreedy, dist: Categorical, seen: Seen, noise: Noise, mode: Mode) -> jax.Array:
    """Actions [n] of a greedy distribution; in mode "explore" random ones with the probability of the schedule."""
    epsilon = epsilon_at(seen.step, cfg.epsilon, cfg.epsilon_steps)
    return epsilon_greedy(dist, seen.mask, epsilon, noise, mode)


def act(cfg: DQN, state: State, seen: Seen, memory: Memory, noise: Noise, mode: Mode) -> tuple[jax.Array, Memory]:
    return explore(cfg, dist(cfg, state, seen, memory), seen, noise, mode), memory


def online(cfg: QLearning) -> tuple[Phase, ...]:
    """Learning in an environment: `update_every` steps, then one update from the replay buffer."""
    return (Phase("online", mix={"online": 1.0}, collect=Collect(warmup=cfg.warmup, steps=cfg.update_every)),)


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
# The settings of the preset control, for presets of ours of the methods that publish Atari settings only.
CONTROL: dict[str, Any] = {
    "polyak": 0.005,
    "target_every": 1,
    "epsilon": 0.1,
    "epsilon_steps": 0,
    "critic_lr": 3e-4,
    "adam_eps": 1e-8,
    "hidden": (256, 256),
    "batch_size": 64,
    "warmup": 1_000,
    "update_every": 1,
}
PRESETS = {
    "control": Preset(DQN(), Treatment(), f"{CODE} regular_parameters, for vectors of observations"),
    "atari": Preset(ATARI, Treatment(), f"{CODE} atari_parameters (the data has the rewards clipped to their sign)"),
    "tuned_double": Preset(DQN(double=True), Treatment(), "ours, as control with van Hasselt's target"),
}

algorithm = Algorithm(
    "dqn",
    DQN,
    init,
    update,
    act,
    PRESETS,
    dist=dist,
    needs=targets.n_step_rows,
    actions=frozenset({"discrete"}),
    online=online,
    check=check,
    images=True,
)
