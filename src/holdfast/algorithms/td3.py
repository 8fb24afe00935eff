"""TD3 (Fujimoto, van Hoof, Meger 2018, arXiv:1802.09477; equation numbers are theirs), online or offline.

Two critics of which the smaller value is the target, noise on the target actions, and an actor that moves less often
than the critics. Offline it is a baseline: nothing keeps its actor near the data.

Notation (paper = code): tau = `polyak`; sigma~ = `policy_noise`; c = `noise_clip`; d = `policy_every`;
sigma = `exploration_noise`.
Order: critics at every update; at every `policy_every`-th update the actor with the new critics, then all targets.
The first preset has the networks, rates and batches of the authors' present code, the preset "paper" the paper's.
Online it collects with normal noise on its actions, after random ones.
Ours: `n_step` returns, off by default.
`td3_bc`, `ddpg`, `rebrac` and others import the state, the acting and the target actions from here.
"""

from __future__ import annotations

import jax
import jax.numpy as jnp

from ..core.config import config, faults
from ..core.contract import Algorithm, Collect, Context, Phase, Preset, Treatment
from ..core.noise import Noise
from ..core.spec import Batch, Memory, Mode, Scalar, Seen, Step
from ..core.trained import Metrics, Trained, merge, occasionally
from ..core.tree import PyTree, ema
from ..parts import nets, optimisers, targets
from ..parts.critics import squared_error
from ..parts.optimisers import ActorCritic
from ..parts.settings import Collecting, Exploring, Rates, Smoothing


@config
class TD3:
    discount: float = 0.99  # gamma
    polyak: float = 0.005  # rate at which the targets follow
    policy_noise: float = 0.2  # standard deviation of the noise on target actions
    noise_clip: float = 0.5  # bound of that noise
    policy_every: int = 2  # critic updates per actor update
    exploration_noise: float = 0.1  # standard deviation of the noise on actions taken online
    actor_lr: float = 3e-4  # Adam; 1e-3 in the paper
    critic_lr: float = 3e-4  # Adam; 1e-3 in the paper
    hidden: tuple[int, ...] = (256, 256)  # widths of the hidden layers of every network; 400, 300 in the paper
    batch_size: int = 256  # rows per update; 100 in the paper
    n_step: int = 1  # steps of the return before it bootstraps; 1 in the paper
    # 1 000 in the paper, 10 000 there on HalfCheetah and Ant
    warmup: int = 25_000  # online: environment steps with random actions before the first update
    update_ratio: int = 1  # online: updates per environment step


class State(PyTree):
    actor: Trained
    critic: Trained
    target_actor: nets.Policy
    target_critic: nets.Critic


def check(cfg: TD3) -> list[str]:
    rules = dict.fromkeys(("policy_noise", "noise_clip", "exploration_noise", "warmup"), "at least 0")
    rules |= dict.fromkeys(("policy_every", "n_step", "update_ratio"), "positive")
    return faults(cfg, discount="in [0, 1]", polyak="in [0, 1]", **rules)


def optimisers_of(cfg: Rates) -> ActorCritic:
    return optimisers.by_name(ActorCritic, cfg)


def init(cfg: TD3, ctx: Context, noise: Noise) -> State:
    actor = nets.deterministic_policy(noise.sub("actor"), ctx.spec, cfg.hidden)
    critic = nets.critic(noise.sub("critic"), ctx.spec, cfg.hidden)
    return state_of(optimisers_of(cfg), actor, critic)


def state_of(tx: ActorCritic, actor: nets.Policy, critic: nets.Critic) -> State:
    """The state before the first update: the targets equal the networks."""
    return State(Trained.new(actor, tx.actor), Trained.new(critic, tx.critic), actor, critic)


def actor_loss(actor: nets.Policy, critic: nets.Critic, obs: jax.Array) -> tuple[jax.Array, Metrics]:
    """The deterministic policy gradient: minus the mean value of the first critic, which alone is evaluated."""
    q = nets.first(critic)(obs, actor(obs).mode()).mean()
    return -q, {"q": q}


def target_action(cfg: Smoothing, actor: nets.Policy, batch: Batch, noise: Noise) -> jax.Array:
    """pi'(s') with clipped noise, [B, A]: target policy smoothing (eq. 14)."""
    eps = cfg.policy_noise * noise.normal("target_policy", batch.action.shape)
    return jnp.clip(actor(batch.next_obs).mode() + jnp.clip(eps, -cfg.noise_clip, cfg.noise_clip), -1, 1)


Moving = tuple[Trained, nets.Policy, nets.Critic]  # what a delayed update moves: the actor and both targets


def follow(actor: nets.Policy, critic: nets.Critic, moving: Moving, rate: Scalar) -> tuple[nets.Policy, nets.Critic]:
    """Both targets of `moving` after a Polyak step towards `actor` and `critic`."""
    return ema(actor, moving[1], rate), ema(critic, moving[2], rate)


def update(cfg: TD3, state: State, batch: Batch, noise: Noise, step: Step) -> tuple[State, Metrics]:
    tx = optimisers_of(cfg)
    next_action = target_action(cfg, state.target_actor, batch, noise)
    y = targets.td(batch, state.target_critic(batch.next_obs, next_action).min(0), cfg.discount)
    critic, m1 = state.critic.step(tx.critic, squared_error, y, batch, name="critic")

    def delayed(moving: Moving) -> tuple[Moving, Metrics]:
        actor, metrics = moving[0].step(tx.actor, actor_loss, critic.net, batch.obs, name="actor")
        return (actor, *follow(actor.net, critic.net, moving, cfg.polyak)), metrics

    moving = (state.actor, state.target_actor, state.target_critic)
    (actor, target_actor, target_critic), m2 = occasionally((step + 1) % cfg.policy_every == 0, delayed, moving)
    return State(actor, critic, target_actor, target_critic), merge(m1, m2)


def act(cfg: Exploring, state: State, seen: Seen, memory: Memory, noise: Noise, mode: Mode) -> tuple[jax.Array, Memory]:
    """The actor's action, with clipped normal noise to explore."""
    action = state.actor.net(seen.obs).mode()
    if mode == "explore":
        action = jnp.clip(action + cfg.exploration_noise * noise.normal("act", action.shape), -1, 1)
    return action, memory


def online(cfg: Collecting) -> tuple[Phase, ...]:
    """Learning in an environment: one step, then `update_ratio` updates from the replay buffer."""
    return (Phase("online", mix={"online": 1.0}, collect=Collect(warmup=cfg.warmup, every=cfg.update_ratio)),)


PAPER = TD3(actor_lr=1e-3, critic_lr=1e-3, hidden=(400, 300), batch_size=100, warmup=1_000)
PRESETS = {
    "mujoco": Preset(TD3(), Treatment(), "authors' code, github.com/sfujim/TD3, main.py and TD3.py"),
    "paper": Preset(PAPER, Treatment(), "the paper, section 6.1 and appendix C"),
}

algorithm = Algorithm(
    "td3", TD3, init, update, act, PRESETS, needs=targets.n_step_rows, online=online, check=check, images=True
)
