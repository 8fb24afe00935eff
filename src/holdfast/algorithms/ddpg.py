"""DDPG (Lillicrap et al. 2015, arXiv:1509.02971), online or offline; the agent that collected BCQ's data.

One critic for the policy at hand and a deterministic actor that climbs it. Run offline it is the baseline of BCQ's
paper: nothing keeps its actor near the data.

Paper -> here: tau polyak. Order: critic, actor with the new critic, both targets, all at every update.
As in sfujim's BCQ (DDPG.py) and not in the paper: plain normal noise for exploration instead of Ornstein-Uhlenbeck's,
one learning rate of 1e-3 for both networks, no weight decay, a batch of 100, the action enters at the first layer,
PyTorch's initial weights. Online it collects with that noise, after random actions.
"""

from __future__ import annotations

from ..core.config import config, faults
from ..core.contract import Algorithm, Collect, Context, Phase, Preset, Treatment
from ..core.noise import Noise
from ..core.spec import Batch, Step
from ..core.trained import Metrics, Trained, merge
from ..core.tree import ema
from ..parts import nets, optimisers, targets
from .td3 import actor_loss
from .td3_bc import State, act, critic_loss


@config
class DDPG:
    discount: float = 0.99  # gamma
    polyak: float = 0.005  # rate at which the targets follow; 0.001 in the paper
    exploration_noise: float = 0.1  # standard deviation of the noise on actions taken online; 0.3 for BCQ's data
    actor_lr: float = 1e-3  # Adam; 1e-4 in the paper
    critic_lr: float = 1e-3  # Adam
    hidden: tuple[int, ...] = (400, 300)  # widths of the hidden layers of both networks
    batch_size: int = 100  # rows an update; 64 in the paper
    n_step: int = 1  # steps of the return before it bootstraps; 1 in the paper
    warmup: int = 1_000  # online: steps with random actions before the first update; 25 000 in BCQ's code
    update_ratio: int = 1  # online: updates an environment step


def check(cfg: DDPG) -> list[str]:
    rules = {
        "exploration_noise": "at least 0",
        "warmup": "at least 0",
        "update_ratio": "positive",
        "n_step": "positive",
    }
    return faults(cfg, discount="in [0, 1]", polyak="in [0, 1]", **rules)


def init(cfg: DDPG, ctx: Context, noise: Noise) -> State:
    actor = nets.policy(noise.sub("actor"), ctx.spec, cfg.hidden, "deterministic")
    critic = nets.critic(noise.sub("critic"), ctx.spec, cfg.hidden, 1)
    return State(
        Trained.new(actor, optimisers.adam(cfg.actor_lr)),
        Trained.new(critic, optimisers.adam(cfg.critic_lr)),
        actor,
        critic,
    )


def update(cfg: DDPG, state: State, batch: Batch, noise: Noise, step: Step) -> tuple[State, Metrics]:
    next_action = state.target_actor(batch.next_obs).mode()
    y = targets.td(batch, state.target_critic(batch.next_obs, next_action)[0], cfg.discount)
    critic, m1 = state.critic.step(optimisers.adam(cfg.critic_lr), critic_loss, y, batch, name="critic")
    actor, m2 = state.actor.step(optimisers.adam(cfg.actor_lr), actor_loss, critic.net, batch.obs, name="actor")
    target_actor = ema(actor.net, state.target_actor, cfg.polyak)
    return State(actor, critic, target_actor, ema(critic.net, state.target_critic, cfg.polyak)), merge(m1, m2)


def online(cfg: DDPG) -> tuple[Phase, ...]:
    """Learning in an environment: one step, then `update_ratio` updates from the replay."""
    collect = Collect(warmup=cfg.warmup, every=cfg.update_ratio)
    return (Phase("online", mix={"online": 1.0}, collect=collect),)


PRESETS = {
    "mujoco": Preset(DDPG(), Treatment(), "github.com/sfujim/BCQ, continuous_BCQ/DDPG.py; noise as its help advises"),
    "bcq": Preset(
        DDPG(exploration_noise=0.3, warmup=25_000), Treatment(), "github.com/sfujim/BCQ, continuous_BCQ/main.py"
    ),
}

algorithm = Algorithm("ddpg", DDPG, init, update, act, PRESETS, needs=targets.n_step_rows, online=online, check=check)
