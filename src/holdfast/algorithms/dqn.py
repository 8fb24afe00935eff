"""Deep Q-network (Mnih et al. 2015), with the double target of van Hasselt, Guez, Silver 2016 (arXiv:1509.06461).

Q regresses on r + gamma Qbar(s', a') where a' is the best action at s': of the online network (double) or of the target
network itself. Run offline it is the baseline that shows why offline RL exists: a' may be an action nobody ever took.

Paper -> here: theta critic, theta^- target_critic, epsilon epsilon. Order: critic, then the target.
The target is soft (`polyak` small, every update) or hard (`polyak` 1, every `target_every` updates).
As in the usual codes: Huber's loss with delta 1 in place of the clipped error, its mean over the batch, Adam in place
of RMSProp. Illegal actions are left out of a' and of acting. Evaluation is greedy; published codes take a random action
in a thousand (epsilon .001).
"""

from __future__ import annotations

from typing import Any

import jax

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
    best,
    epsilon_at,
    epsilon_greedy,
    greedy,
    next_values,
    pick,
    td,
)
from ..parts.distributions import take


@config
class DQN:
    double: bool = True  # a' is chosen by the online network; False: by the target network, as in 2015
    discount: float = 0.99  # gamma
    polyak: float = 0.005  # rate at which the target follows; 1 with a long `target_every` copies it
    target_every: int = 1  # updates between moves of the target
    epsilon: float = 0.1  # share of random actions while exploring online
    epsilon_steps: int = 0  # updates over which epsilon falls from 1 to that; 0: from the start
    critic_lr: float = 3e-4  # Adam
    critic_decay_steps: Schedule = "constant"  # its rate: constant, or a cosine over the run or N updates
    adam_eps: float = 1e-8  # Adam's constant outside the root; 1.5e-4 or .01 / 32 on Atari
    hidden: tuple[int, ...] = (256, 256)  # widths of the hidden layers
    batch_size: int = 64  # rows an update
    n_step: int = 1  # steps of the return before it bootstraps; 3 in Rainbow (arXiv:1710.02298)
    warmup: int = 1_000  # online: environment steps with random actions before the first update
    update_every: int = 1  # online: environment steps between updates; 4 on Atari


class State(PyTree):
    critic: Trained
    target_critic: ActionValues


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


def optimiser(cfg: Any) -> Any:
    return optimisers.adam(optimisers.cosine(cfg.critic_lr, cfg.critic_decay_steps), cfg.adam_eps)


def start(cfg: Any, ctx: Context, noise: Noise, count: int) -> State:
    """A network with `count` estimates of each action's value, and its target."""
    critic = action_values(noise.sub("critic"), ctx.spec, cfg.hidden, count)
    return State(Trained.new(critic, optimiser(cfg)), critic)


def init(cfg: DQN, ctx: Context, noise: Noise) -> State:
    return start(cfg, ctx, noise, 1)


def told(q: jax.Array, action: jax.Array, among: jax.Array | None, y: jax.Array) -> Metrics:
    """Mean Q of the logged actions beside that of the policy's own, the best `among` them, from q [B, A]; and of y."""
    return {"q": take(q, action).mean(), "policy_q": take(q, best(q, among)).mean(), "target": y.mean()}


def critic_loss(critic: ActionValues, y: jax.Array, batch: Batch) -> tuple[jax.Array, Metrics]:
    values = critic(batch.obs)
    return losses.huber(pick(values, batch.action) - y).mean(), told(values.mean(-1), batch.action, batch.mask, y)


def update(cfg: DQN, state: State, batch: Batch, noise: Noise, step: Step) -> tuple[State, Metrics]:
    following = next_values(state.critic.net, state.target_critic, batch, cfg.double)
    y = td(batch, following, cfg.discount)  # [B, 1]
    critic, metrics = state.critic.step(optimiser(cfg), critic_loss, y, batch, name="critic")
    target = targets.follow(critic.net, state.target_critic, cfg.polyak, cfg.target_every, step)
    return State(critic, target), metrics


def dist(cfg: Any, state: Any, seen: Seen, memory: Memory) -> Any:
    return greedy(state.critic.net.mean(seen.obs), seen.mask)


def act(
    cfg: Any, state: Any, seen: Seen, memory: Memory, noise: Noise, mode: Mode, *, dist: Any = dist
) -> tuple[jax.Array, Any]:
    epsilon = epsilon_at(seen.step, cfg.epsilon, cfg.epsilon_steps)
    return epsilon_greedy(dist(cfg, state, seen, memory), seen.mask, epsilon, noise, mode), memory


def online(cfg: DQN) -> tuple[Phase, ...]:
    """Learning in an environment: `update_every` steps, then one update from the replay."""
    return (Phase("online", mix={"online": 1.0}, collect=Collect(warmup=cfg.warmup, steps=cfg.update_every)),)


BCQ_CODE = "github.com/sfujim/BCQ, discrete_BCQ/main.py"
PRESETS = {
    "control": Preset(DQN(), Treatment(), f"{BCQ_CODE}, regular_parameters (its DQN is not double)"),
    "atari": Preset(
        DQN(
            double=False,
            polyak=1.0,
            target_every=8000,
            epsilon=0.01,
            epsilon_steps=250_000,
            critic_lr=6.25e-5,
            adam_eps=1.5e-4,
            batch_size=32,
            warmup=20_000,
            update_every=4,
        ),
        Treatment(),
        f"{BCQ_CODE}, atari_parameters (rewards clipped to their sign in the data)",
    ),
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
)
