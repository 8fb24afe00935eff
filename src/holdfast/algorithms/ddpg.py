"""DDPG (Lillicrap et al. 2015, arXiv:1509.02971), online or offline; the agent that collected BCQ's data.

One critic of the current policy and a deterministic actor that climbs it. Offline it is the baseline of BCQ's paper:
nothing keeps its actor near the data.

Notation (paper = code): tau = `polyak`. Order: critic, actor with the new critic, both targets, all at every update.
As in sfujim's BCQ (DDPG.py) and not in the paper: plain normal noise for exploration instead of an Ornstein-Uhlenbeck
process, one learning rate of 1e-3 for both networks, no weight decay, a batch of 100, the action enters at the first
layer, PyTorch's initial weights. Online it collects with that noise, after random actions.
Ours: `n_step` returns, off by default.
"""

from __future__ import annotations

from ..core.config import config, faults
from ..core.contract import Algorithm, Context, Preset, Treatment
from ..core.noise import Noise
from ..core.spec import Batch, Step
from ..core.trained import Metrics, merge
from ..core.tree import ema
from ..parts import nets, targets
from ..parts.critics import squared_error
from .td3 import State, act, actor_loss, online, optimisers_of, state_of


@config
class DDPG:
    discount: float = 0.99  # gamma
    polyak: float = 0.005  # rate at which the targets follow; 0.001 in the paper
    exploration_noise: float = 0.3  # standard deviation of the noise on actions taken online
    actor_lr: float = 1e-3  # Adam; 1e-4 in the paper
    critic_lr: float = 1e-3  # Adam
    hidden: tuple[int, ...] = (400, 300)  # widths of the hidden layers of both networks
    batch_size: int = 100  # rows per update; 64 in the paper
    n_step: int = 1  # steps of the return before it bootstraps; 1 in the paper
    warmup: int = 25_000  # online: environment steps with random actions before the first update
    update_ratio: int = 1  # online: updates per environment step


def check(cfg: DDPG) -> list[str]:
    rules = dict.fromkeys(("exploration_noise", "warmup"), "at least 0")
    rules |= dict.fromkeys(("n_step", "update_ratio"), "positive")
    return faults(cfg, discount="in [0, 1]", polyak="in [0, 1]", **rules)


def init(cfg: DDPG, ctx: Context, noise: Noise) -> State:
    actor = nets.deterministic_policy(noise.sub("actor"), ctx.spec, cfg.hidden)
    critic = nets.critic(noise.sub("critic"), ctx.spec, cfg.hidden, 1)
    return state_of(optimisers_of(cfg), actor, critic)


def update(cfg: DDPG, state: State, batch: Batch, noise: Noise, step: Step) -> tuple[State, Metrics]:
    tx = optimisers_of(cfg)
    next_action = state.target_actor(batch.next_obs).mode()
    y = targets.td(batch, state.target_critic(batch.next_obs, next_action)[0], cfg.discount)
    critic, m1 = state.critic.step(tx.critic, squared_error, y, batch, name="critic")
    actor, m2 = state.actor.step(tx.actor, actor_loss, critic.net, batch.obs, name="actor")
    target_actor = ema(actor.net, state.target_actor, cfg.polyak)
    target_critic = ema(critic.net, state.target_critic, cfg.polyak)
    return State(actor, critic, target_actor, target_critic), merge(m1, m2)


PRESETS = {
    "bcq": Preset(DDPG(), Treatment(), "github.com/sfujim/BCQ, continuous_BCQ/DDPG.py and main.py"),
    "tuned_online": Preset(
        DDPG(exploration_noise=0.1, warmup=1_000),
        Treatment(),
        "ours, the preset bcq with less noise, as its code advises if DDPG trains poorly, and fewer random actions",
    ),
}

algorithm = Algorithm(
    "ddpg", DDPG, init, update, act, PRESETS, needs=targets.n_step_rows, online=online, check=check, images=True
)
