"""IQL that collects its own data from scratch (Kostrikov, Nair, Levine 2021, arXiv:2110.06169, without a data set).

The losses, their order and the networks are those of `iql`. After `warmup` random steps the policy's own samples are
stored, and every environment step is followed by one update on a batch of the whole replay buffer, as in the authors'
fine-tuning code: no cosine, and the policy is sampled at temperature 1. It is the third learner of the experiment that
motivates OBAC (arXiv:2405.18520), next to SAC and to IQL on SAC's replay buffer: it shows how well IQL does if no other
learner explores for it.

Notation (paper = code): tau = `expectile`; beta = `inverse_temperature`.
Differences: the 5 000 random steps are OBAC's, because IQL's code never starts without data. `trunk` "normed" gives
every network OBAC's layers instead of ReLU with orthogonal weights; it exists because OBAC's experiment compares three
learners with the same networks.
"""

from __future__ import annotations

from ..core.config import Schedule, config, faults, narrowed, static
from ..core.contract import BOTH, Algorithm, Context, Preset, Treatment
from ..core.noise import Noise
from ..parts import nets, targets
from ..parts.acting import act, dist
from . import iql
from .iql import State, update
from .obac import TRUNK
from .sac import online


@config
class IQLOnline:
    expectile: float = 0.7  # tau; 0.9 on AntMaze
    inverse_temperature: float = 3.0  # beta; 10 on AntMaze
    discrete_inverse_temperature: float = 0.1  # beta for discrete actions, as in iql.py
    max_weight: float = 100.0  # cap on exp(beta A), authors' code
    discount: float = 0.99  # gamma
    n_step: int = 1  # steps of the return before it bootstraps; 1 in the paper
    polyak: float = 0.005  # rate at which the target critics follow
    actor_lr: float = 3e-4  # Adam
    value_lr: float = 3e-4  # Adam
    critic_lr: float = 3e-4  # Adam
    actor_decay_steps: Schedule = "constant"  # rate of the actor: constant, or a cosine over the run or N updates
    critic_decay_steps: Schedule = "constant"  # the same for the rates of IQL's value and critics
    actor_dropout: float = static(default=0.0)  # of the actor while training
    trunk: str = "relu"  # layers of every network: relu (IQL) or normed (OBAC)
    hidden: tuple[int, ...] = (256, 256)  # widths of the hidden layers of every network
    batch_size: int = 256  # rows per update
    warmup: int = 5_000  # online: environment steps with random actions before the first update
    update_ratio: int = 1  # online: updates per environment step


def check(cfg: IQLOnline) -> list[str]:
    rules = {"trunk": "relu|normed", "warmup": "at least 0", "update_ratio": "positive"}
    found = [*iql.check(narrowed(iql.IQL, cfg)), *faults(cfg, **rules)]
    return list(dict.fromkeys(found))  # both look at rates and sizes


def init(cfg: IQLOnline, ctx: Context, noise: Noise) -> State:
    make = iql.init if cfg.trunk == "relu" else normed
    return make(narrowed(iql.IQL, cfg), ctx, noise)


def normed(cfg: iql.IQL, ctx: Context, noise: Noise) -> State:
    """IQL's state with OBAC's layers in every network; the policy keeps IQL's form."""
    actor = nets.gaussian_policy(noise.sub("actor"), ctx.spec, cfg.hidden, **TRUNK)
    value = nets.value(noise.sub("value"), ctx.spec, cfg.hidden, **TRUNK)
    critic = nets.critic(noise.sub("critic"), ctx.spec, cfg.hidden, **TRUNK)
    return iql.state_of(cfg, actor, value, critic)


CODE = "authors' code, github.com/ikostrikov/implicit_q_learning, train_finetune.py and configs/"
LIKE_OBAC = IQLOnline(expectile=0.9, trunk="normed", hidden=(512, 512), batch_size=512)
PRESETS = {
    "mujoco": Preset(IQLOnline(), Treatment(), CODE + "mujoco_config.py, with rewards as they are"),
    "antmaze": Preset(
        IQLOnline(expectile=0.9, inverse_temperature=10.0),
        Treatment(reward_shift=-1.0),
        CODE + "antmaze_finetune_config.py",
    ),
    "obac": Preset(
        LIKE_OBAC,
        Treatment(),
        "OBAC's code, github.com/Roythuly/OBAC (networks, batch, expectile), with IQL's beta and cap",
    ),
}

algorithm = Algorithm(
    "iql_online",
    IQLOnline,
    init,
    update,
    act,
    PRESETS,
    needs=targets.n_step_rows,
    dist=dist,
    online=online,
    actions=BOTH,
    check=check,
    images=True,
)
