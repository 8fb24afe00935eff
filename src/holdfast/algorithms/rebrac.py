"""ReBRAC (Tarasov, Kurenkov, Nikulin, Kolesnikov 2023, arXiv:2305.09836): TD3+BC with what made later methods work.

The distance to the data's action is a penalty with its own weight in the actor's loss and in the critics' target (there
to the next logged action). Critics have LayerNorm, networks are deeper, batches larger.

Notation (paper = code): beta_1 = `actor_penalty`; beta_2 = `critic_penalty`; tau = `polyak`. Distances are sums over
action dimensions.
Order: critics at every update; at updates 0, 2, 4 ... the actor with the new critics, then the targets.
As in the authors' code and not in the paper: the first update is a full one; lambda = 1 / mean |min Q(s, pi(s))| of the
batch is not differentiated; the target actor follows the actor from before the step (a lag of one update).
The last row of an episode has no next action and repeats its own, so that no row is lost (the authors drop the row).
Ours, off in the published presets: learning rates that fall over the run.
"""

from __future__ import annotations

import dataclasses

import jax
import jax.numpy as jnp

from ..core.config import Schedule, config, faults
from ..core.contract import SCALED, Algorithm, Context, Needs, Preset, Treatment
from ..core.noise import Noise
from ..core.spec import Batch, Memory, Mode, Scalar, Seen, Step
from ..core.trained import Metrics, merge, occasionally
from ..parts import initialisers, nets, optimisers, targets
from ..parts.critics import squared_error
from ..parts.optimisers import ActorCritic
from .td3 import Moving, State, follow, state_of, target_action


@config
class ReBRAC:
    actor_penalty: float = 0.05  # beta_1, weight of (pi(s) - a)^2 in the actor's loss; published per data set, below
    critic_penalty: float = 0.01  # beta_2, weight of (pi'(s') - a')^2 in the critics' target
    discount: float = 0.99  # gamma; 0.999 on AntMaze
    n_step: int = 1  # steps of the return before it bootstraps; 1 in the paper
    polyak: float = 0.005  # rate at which the targets follow
    policy_noise: float = 0.2  # standard deviation of the noise on target actions
    noise_clip: float = 0.5  # bound of that noise
    policy_every: int = 2  # critic updates per actor update
    actor_lr: float = 1e-3  # Adam; 3e-4 on AntMaze and Adroit
    actor_decay_steps: Schedule = "constant"  # rate of the actor: constant, or a cosine over the run or N updates
    critic_lr: float = 1e-3  # Adam; 5e-5 on AntMaze, 3e-4 on Adroit
    critic_decay_steps: Schedule = "constant"  # the same for the rate of the critics
    hidden: tuple[int, ...] = (256, 256, 256)  # widths of the hidden layers of every network
    batch_size: int = 1024  # rows per update; 256 on AntMaze and Adroit


def check(cfg: ReBRAC) -> list[str]:
    rules = dict.fromkeys(("actor_penalty", "critic_penalty", "policy_noise", "noise_clip"), "at least 0")
    return faults(cfg, n_step="positive", discount="in [0, 1]", polyak="in [0, 1]", policy_every="positive", **rules)


def optimisers_of(cfg: ReBRAC) -> ActorCritic:
    return optimisers.decaying(cfg, cfg.policy_every)


def init(cfg: ReBRAC, ctx: Context, noise: Noise) -> State:
    """Networks with EDAC's initial weights; LayerNorm after the activations of the critics."""
    hidden = initialisers.torch_weights(bias=0.1)
    last = initialisers.uniform_init(1e-3, 1e-3)
    actor = nets.deterministic_policy(noise.sub("actor"), ctx.spec, cfg.hidden, init=hidden, last=last)
    last = initialisers.uniform_init(3e-3, 3e-3)
    critic = nets.critic(noise.sub("critic"), ctx.spec, cfg.hidden, norm="post", init=hidden, last=last)
    return state_of(optimisers_of(cfg), actor, critic)


def distance(action: jax.Array, other: jax.Array) -> jax.Array:
    """Squared distance between the actions of each row: [B, A] and [B, A] to [B]."""
    return jnp.square(action - other).sum(-1)


def actor_loss(actor: nets.Policy, critic: nets.Critic, beta: Scalar, batch: Batch) -> tuple[jax.Array, Metrics]:
    """The normalised value of the smaller critic, and `beta` times the distance to the data's actions."""
    action = actor(batch.obs).mode()
    q = critic(batch.obs, action).min(0)
    cloning = distance(action, batch.action).mean()
    scale = 1 / jnp.abs(jax.lax.stop_gradient(q)).mean()
    return beta * cloning - scale * q.mean(), {"cloning": cloning, "q": q.mean(), "lambda": scale}


def update(cfg: ReBRAC, state: State, batch: Batch, noise: Noise, step: Step) -> tuple[State, Metrics]:
    tx = optimisers_of(cfg)
    next_action = target_action(cfg, state.target_actor, batch, noise)
    penalty = distance(next_action, batch.next_action)
    q = state.target_critic(batch.next_obs, next_action).min(0) - cfg.critic_penalty * penalty
    y = targets.td(batch, q, cfg.discount)
    critic, m1 = state.critic.step(tx.critic, squared_error, y, batch, name="critic")

    def delayed(moving: Moving) -> tuple[Moving, Metrics]:
        old = moving[0]
        actor, metrics = old.step(tx.actor, actor_loss, critic.net, cfg.actor_penalty, batch, name="actor")
        return (actor, *follow(old.net, critic.net, moving, cfg.polyak)), metrics

    moving = (state.actor, state.target_actor, state.target_critic)
    (actor, target_actor, target_critic), m2 = occasionally(step % cfg.policy_every == 0, delayed, moving)
    return State(actor, critic, target_actor, target_critic), merge(m1, m2, {"penalty": penalty.mean()})


def act(cfg: ReBRAC, state: State, seen: Seen, memory: Memory, noise: Noise, mode: Mode) -> tuple[jax.Array, Memory]:
    """The actor's action in every mode: the paper explores without noise when it fine-tunes."""
    return state.actor.net(seen.obs).mode(), memory


def needs(cfg: ReBRAC) -> Needs:
    return targets.n_step_rows(cfg, columns=("next_action",))


def presets(betas: dict[str, tuple[float, float]], usual: ReBRAC, treatment: Treatment) -> dict[str, Preset]:
    """One preset per data set: `usual` with the two penalties of that data set."""
    source = "authors' code, github.com/tinkoff-ai/ReBRAC, configs/rebrac/"
    made = {k: dataclasses.replace(usual, actor_penalty=a, critic_penalty=c) for k, (a, c) in betas.items()}
    return {name: Preset(cfg, treatment, source + name) for name, cfg in made.items()}


MUJOCO = {
    "halfcheetah-random": (0.001, 0.1), "halfcheetah-medium": (0.001, 0.01), "halfcheetah-expert": (0.01, 0.01),
    "halfcheetah-medium-expert": (0.01, 0.1), "halfcheetah-medium-replay": (0.01, 0.001),
    "halfcheetah-full-replay": (0.001, 0.1), "hopper-random": (0.001, 0.01), "hopper-medium": (0.01, 0.01),
    "hopper-expert": (0.1, 0.1), "hopper-medium-expert": (0.1, 0.01), "hopper-medium-replay": (0.05, 0.5),
    "hopper-full-replay": (0.01, 0.01), "walker2d-random": (0.01, 0.0), "walker2d-medium": (0.05, 0.1),
    "walker2d-expert": (0.01, 0.5), "walker2d-medium-expert": (0.01, 0.01), "walker2d-medium-replay": (0.05, 0.01),
    "walker2d-full-replay": (0.01, 0.01),
}  # fmt: skip
ANTMAZE = {
    "antmaze-umaze": (0.003, 0.002), "antmaze-umaze-diverse": (0.003, 0.001), "antmaze-medium-play": (0.001, 0.0005),
    "antmaze-medium-diverse": (0.001, 0.0), "antmaze-large-play": (0.002, 0.001),
    "antmaze-large-diverse": (0.002, 0.002),
}  # fmt: skip
ADROIT = {
    "pen-human": (0.1, 0.5), "pen-cloned": (0.05, 0.5), "pen-expert": (0.01, 0.01), "door-human": (0.1, 0.1),
    "door-cloned": (0.01, 0.1), "door-expert": (0.05, 0.01), "hammer-human": (0.01, 0.5), "hammer-cloned": (0.1, 0.5),
    "hammer-expert": (0.01, 0.01), "relocate-human": (0.1, 0.01), "relocate-cloned": (0.1, 0.01),
    "relocate-expert": (0.05, 0.01),
}  # fmt: skip
MAZE = ReBRAC(actor_lr=3e-4, critic_lr=5e-5, batch_size=256, discount=0.999)
HAND = ReBRAC(actor_lr=3e-4, critic_lr=3e-4, batch_size=256)
PRESETS = {
    "mujoco": Preset(
        ReBRAC(), Treatment(), "walker2d-medium-replay below: the penalties for mixed data of unknown quality"
    ),
    **presets(MUJOCO, ReBRAC(), Treatment()),
    **presets(ANTMAZE, MAZE, Treatment(reward_scale=100.0)),
    **presets(ADROIT, HAND, Treatment()),
    "tuned_100k": Preset(
        ReBRAC(actor_penalty=0.1, actor_decay_steps="run", critic_decay_steps="run"),
        SCALED,
        "ours, chosen on a mixed log of 100,000 steps: docs/algorithms/rebrac.md",
    ),
}

algorithm = Algorithm("rebrac", ReBRAC, init, update, act, PRESETS, needs=needs, check=check, images=True)
