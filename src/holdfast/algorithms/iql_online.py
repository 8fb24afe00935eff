"""IQL that collects its own data from scratch (Kostrikov, Nair, Levine 2021, arXiv:2110.06169, without the log).

The losses, their order and the networks are those of `iql`. Online, after `warmup` random steps the policy's own draws
are stored, with one update a step on batches of the whole replay, as in the authors' fine-tuning code: no cosine, the
policy not cooled. It is the third learner of the experiment that motivates OBAC (arXiv:2405.18520): beside SAC's replay
it shows what IQL is worth when nobody explores for it.

Paper -> here: tau expectile, beta inverse_temperature. Not from a paper: the 5 000 random steps, which are OBAC's.
`trunk` "normed" gives every network OBAC's layers instead of ReLU with orthogonal weights, for comparisons with it.
"""

from __future__ import annotations

from typing import Any

from ..core.config import Schedule, config, faults, static
from ..core.contract import Algorithm, Context, Preset, Treatment
from ..core.noise import Noise
from ..core.trained import Trained
from ..parts import nets
from . import iql
from .iql import State, act, dist, update
from .obac import TRUNK
from .sac import online


@config
class IQLOnline:
    expectile: float = 0.7  # tau; 0.9 on AntMaze
    inverse_temperature: float = 3.0  # beta; 10 on AntMaze
    discrete_inverse_temperature: float = 0.1  # beta where actions are discrete, as in iql.py
    max_weight: float = 100.0  # cap on exp(beta A), authors' code
    discount: float = 0.99  # gamma
    polyak: float = 0.005  # rate at which the target critics follow
    actor_lr: float = 3e-4  # Adam
    value_lr: float = 3e-4  # Adam
    critic_lr: float = 3e-4  # Adam
    actor_decay_steps: Schedule = "constant"  # actor's rate: constant, or a cosine over the run or N updates
    critic_decay_steps: Schedule = "constant"  # the same for the rates of IQL's value and critics
    actor_dropout: float = static(default=0.0)  # of the actor while training
    trunk: str = "relu"  # layers of every network: relu (IQL) or normed (OBAC)
    hidden: tuple[int, ...] = (256, 256)  # widths of the hidden layers of every network
    batch_size: int = 256  # rows an update
    warmup: int = 5_000  # online: environment steps with random actions before the first update
    update_ratio: int = 1  # online: updates an environment step


def check(cfg: Any) -> list[str]:
    rules = {"trunk": "relu|normed", "warmup": "at least 0", "update_ratio": "positive"}
    return list(dict.fromkeys([*iql.check(cfg), *faults(cfg, **rules)]))  # both look at rates and sizes


def init(cfg: IQLOnline, ctx: Context, noise: Noise) -> State:
    return iql.init(cfg, ctx, noise) if cfg.trunk == "relu" else normed(cfg, ctx, noise)  # type: ignore[arg-type]


def normed(cfg: Any, ctx: Context, noise: Noise) -> State:
    """IQL's state with OBAC's layers in every network; the policy keeps IQL's form."""
    shape = {"low": -5.0, "high": 2.0, "squash": "mean"}
    actor = nets.policy(noise.sub("actor"), ctx.spec, cfg.hidden, "gaussian", **shape, **TRUNK)
    value = nets.value(noise.sub("value"), ctx.spec, cfg.hidden, **TRUNK)
    critic = nets.critic(noise.sub("critic"), ctx.spec, cfg.hidden, **TRUNK)
    return State(
        Trained.new(actor, iql.optimiser(cfg)),
        Trained.new(value, iql.value_optimiser(cfg)),
        Trained.new(critic, iql.critic_optimiser(cfg)),
        critic,
    )


CODE = "authors' code, github.com/ikostrikov/implicit_q_learning, configs/mujoco_config.py and train_finetune.py"
LIKE_OBAC = IQLOnline(expectile=0.9, trunk="normed", hidden=(512, 512), batch_size=512)
PRESETS = {
    "mujoco": Preset(IQLOnline(), Treatment(), CODE + ", rewards as they are"),
    "antmaze": Preset(
        IQLOnline(expectile=0.9, inverse_temperature=10.0), Treatment(reward_shift=-1.0), CODE + ", antmaze_config.py"
    ),
    "obac": Preset(LIKE_OBAC, Treatment(), "OBAC's networks, batch and expectile, so that only the learner differs"),
}

algorithm = Algorithm(
    "iql_online",
    IQLOnline,
    init,
    update,
    act,
    PRESETS,
    dist=dist,
    online=online,
    actions=frozenset({"continuous", "discrete"}),
    check=check,
)
