"""What the methods that learn one network of action values share.

These are `dqn`, `qr_dqn`, `ensemble_dqn`, `rem` and `discrete_cql`. They have a target network that moves
softly (small `polyak`, every update) or is copied (`polyak` 1, every `target_every` updates), epsilon-greedy
exploration, n-step returns, and a phase that learns in an environment. The file of each method has its values at s' and
its loss.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import jax
import optax

from ..core.contract import DISCRETE, Algorithm, Collect, Context, Phase, Preset
from ..core.noise import Noise
from ..core.spec import Cfg, Memory, Mode, Seen, Step
from ..core.trained import Data, Metrics, Trained
from ..core.tree import PyTree
from ..parts import optimisers, targets
from ..parts.action_values import ActionValues, action_values, epsilon_at, epsilon_greedy, greedy
from ..parts.distributions import Categorical
from ..parts.settings import EpsilonGreedy, QLearning


class State(PyTree):
    critic: Trained
    target_critic: ActionValues


# The rules of the settings that all these methods have.
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
# The settings of DQN's preset control, for presets of ours of the methods that publish Atari settings only.
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


def optimiser_of(cfg: QLearning) -> optax.GradientTransformation:
    return optimisers.adam(optimisers.cosine(cfg.critic_lr, cfg.critic_decay_steps), cfg.adam_eps)


def start(cfg: QLearning, ctx: Context, noise: Noise, count: int = 1) -> State:
    """The state before the first update: `count` estimates of each action value, and a target that equals them."""
    critic = action_values(noise.sub("critic"), ctx.spec, cfg.hidden, count)
    return State(Trained.new(critic, optimiser_of(cfg)), critic)


def learn(
    cfg: QLearning, state: State, step: Step, loss: Callable[..., tuple[jax.Array, Metrics]], *data: Data
) -> tuple[State, Metrics]:
    """One gradient step on `loss(critic, *data)`, then the target network follows."""
    critic, metrics = state.critic.step(optimiser_of(cfg), loss, *data, name="critic")
    target = targets.follow(critic.net, state.target_critic, cfg.polyak, cfg.target_every, step)
    return State(critic, target), metrics


def dist(cfg: QLearning, state: State, seen: Seen, memory: Memory) -> Categorical:
    """The greedy policy in the mean of the estimates."""
    return greedy(state.critic.net.mean(seen.obs), seen.mask)


def explore(cfg: EpsilonGreedy, dist: Categorical, seen: Seen, noise: Noise, mode: Mode) -> jax.Array:
    """Actions [n] of a greedy distribution; in mode "explore" random ones with the probability of the schedule."""
    epsilon = epsilon_at(seen.step, cfg.epsilon, cfg.epsilon_steps)
    return epsilon_greedy(dist, seen.mask, epsilon, noise, mode)


def online(cfg: QLearning) -> tuple[Phase, ...]:
    """Learning in an environment: `update_every` steps, then one update from the replay buffer."""
    return (Phase("online", mix={"online": 1.0}, collect=Collect(warmup=cfg.warmup, steps=cfg.update_every)),)


def record(
    name: str,
    config: type,
    init: Callable[[Cfg, Context, Noise], State],
    update: Callable[..., tuple[State, Metrics]],
    presets: Mapping[str, Preset],
    dist: Callable[[Cfg, State, Seen, Memory], Categorical],
    check: Callable[[Cfg], list[str]],
) -> Algorithm:
    """The method as an `Algorithm`, which acts greedily in `dist` and explores as the family does."""

    def act(cfg: Cfg, state: State, seen: Seen, memory: Memory, noise: Noise, mode: Mode) -> tuple[jax.Array, Memory]:
        return explore(cfg, dist(cfg, state, seen, memory), seen, noise, mode), memory

    return Algorithm(
        name,
        config,
        init,
        update,
        act,
        presets,
        dist=dist,
        needs=targets.n_step_rows,
        actions=DISCRETE,
        online=online,
        check=check,
        images=True,
    )
