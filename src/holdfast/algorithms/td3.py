"""TD3 (Fujimoto, van Hoof, Meger 2018, arXiv:1802.09477), online or offline.

Two critics and their minimum, smoothed target actions, and an actor that moves less often than the critics. Run offline
it is a baseline: nothing keeps its actor near the data.

Paper -> here: tau polyak, sigma~ policy_noise, c noise_clip, d policy_every, sigma exploration_noise.
Order: critics every update; on every `policy_every`-th update the actor with the new critics, then all targets.
The networks and rates of the first preset are those of the authors' present code; the preset "paper" has the paper's.
Online it collects with normal noise on its actions, after random ones.
"""

from __future__ import annotations

from typing import Any

import jax

from ..core.config import config, faults
from ..core.contract import Algorithm, Collect, Context, Phase, Preset, Treatment
from ..core.noise import Noise
from ..core.spec import Batch, Step
from ..core.trained import Metrics, Trained, merge, occasionally
from ..core.tree import ema
from ..parts import nets, optimisers, targets
from .td3_bc import State, act, critic_loss, target_action


@config
class TD3:
    discount: float = 0.99  # gamma
    polyak: float = 0.005  # rate at which the targets follow
    policy_noise: float = 0.2  # standard deviation of the noise on target actions
    noise_clip: float = 0.5  # bound of that noise
    policy_every: int = 2  # critic updates an actor update
    exploration_noise: float = 0.1  # standard deviation of the noise on actions taken online
    actor_lr: float = 3e-4  # Adam; 1e-3 in the paper
    critic_lr: float = 3e-4  # Adam; 1e-3 in the paper
    hidden: tuple[int, ...] = (256, 256)  # widths of the hidden layers of every network; 400, 300 in the paper
    batch_size: int = 256  # rows an update; 100 in the paper
    n_step: int = 1  # steps of the return before it bootstraps; 1 in the paper
    # 10 000 on HalfCheetah and Ant in the paper, 25 000 everywhere in the authors' present code
    warmup: int = 1_000  # online: environment steps with random actions before the first update, the paper on Hopper
    update_ratio: int = 1  # online: updates an environment step


def check(cfg: TD3) -> list[str]:
    rules = dict.fromkeys(("policy_noise", "noise_clip", "exploration_noise", "warmup"), "at least 0")
    rules |= {"n_step": "positive", "update_ratio": "positive"}
    return faults(cfg, discount="in [0, 1]", polyak="in [0, 1]", policy_every="positive", **rules)


def init(cfg: TD3, ctx: Context, noise: Noise) -> State:
    actor = nets.policy(noise.sub("actor"), ctx.spec, cfg.hidden, "deterministic")
    critic = nets.critic(noise.sub("critic"), ctx.spec, cfg.hidden)
    return State(
        Trained.new(actor, optimisers.adam(cfg.actor_lr)),
        Trained.new(critic, optimisers.adam(cfg.critic_lr)),
        actor,
        critic,
    )


def actor_loss(actor: nets.Policy, critic: nets.Critic, obs: jax.Array) -> tuple[jax.Array, Metrics]:
    """The deterministic policy gradient of the first critic, which alone is evaluated."""
    first = jax.tree.map(lambda x: x[:1], critic)
    q = first(obs, actor(obs).mode()).mean()
    return -q, {"q": q}


def update(cfg: TD3, state: State, batch: Batch, noise: Noise, step: Step) -> tuple[State, Metrics]:
    next_action = target_action(cfg, state.target_actor, batch, noise)
    y = targets.td(batch, state.target_critic(batch.next_obs, next_action).min(0), cfg.discount)
    critic, m1 = state.critic.step(optimisers.adam(cfg.critic_lr), critic_loss, y, batch, name="critic")

    def delayed(moving: Any) -> tuple[Any, Metrics]:
        actor, target_actor, target_critic = moving
        actor, m = actor.step(optimisers.adam(cfg.actor_lr), actor_loss, critic.net, batch.obs, name="actor")
        return (actor, ema(actor.net, target_actor, cfg.polyak), ema(critic.net, target_critic, cfg.polyak)), m

    moving = (state.actor, state.target_actor, state.target_critic)
    (actor, target_actor, target_critic), m2 = occasionally((step + 1) % cfg.policy_every == 0, delayed, moving)
    return State(actor, critic, target_actor, target_critic), merge(m1, m2)


def online(cfg: TD3) -> tuple[Phase, ...]:
    """Learning in an environment: one step, then `update_ratio` updates from the replay."""
    return (Phase("online", mix={"online": 1.0}, collect=Collect(warmup=cfg.warmup, every=cfg.update_ratio)),)


PAPER = TD3(actor_lr=1e-3, critic_lr=1e-3, hidden=(400, 300), batch_size=100)
PRESETS = {
    "mujoco": Preset(
        TD3(), Treatment(), "authors' code, github.com/sfujim/TD3, main.py and TD3.py, with 1 000 random steps"
    ),
    "paper": Preset(PAPER, Treatment(), "the paper, section 6.1 and appendix C"),
}

algorithm = Algorithm("td3", TD3, init, update, act, PRESETS, needs=targets.n_step_rows, online=online, check=check)
