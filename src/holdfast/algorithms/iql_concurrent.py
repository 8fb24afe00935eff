"""IQL on the growing replay buffer of SAC: the experiment that motivates OBAC (Luo et al. 2024, arXiv:2405.18520).

SAC (arXiv:1812.05905) collects and learns. IQL (arXiv:2110.06169) makes as many updates on the same rows, those of the
random warm-up included, and never acts while it trains. The two share the replay buffer and nothing else: each draws
its own batch, and their updates are those of `sac` and `iql`.

Acting: the mode "explore", which collects, is SAC's. The modes "best" and "sample", of evaluations and of the saved
policy, are those of the learner that `play` names. Training does not depend on `play`: runs that differ only in `play`
learn the same numbers, so a second run gives SAC's own curve, at the same steps and in the same episodes.
`collect/return` is the return of SAC's samples in either run.
Constants: none are published for the experiment. Networks, rates, batch and expectile are OBAC's, beta and its cap are
IQL's, rewards are not scaled. The metrics `gate/...` are what OBAC's gate would compare, each side on the batch of its
learner, SAC's after the step of the critics.
"""

from __future__ import annotations

import jax

from ..core.config import Schedule, config, faults, narrowed, static
from ..core.contract import Algorithm, Context, Needs, Preset, Treatment
from ..core.noise import Noise
from ..core.spec import Batch, Memory, Mode, Seen, Step
from ..core.trained import Metrics, merge
from ..core.tree import PyTree
from ..parts import targets
from ..parts.distributions import Distribution
from . import iql, iql_online, sac
from .obac import actor_and_critic, compared


@config
class IQLConcurrent:
    play: str = "iql"  # whose policy is evaluated and shipped: iql or sac; SAC collects in either case
    expectile: float = 0.9  # tau, IQL
    inverse_temperature: float = 3.0  # beta, IQL
    max_weight: float = 100.0  # cap on exp(beta A), IQL
    initial_temperature: float = 1.0  # SAC's alpha before the first update
    target_entropy: float = 0.0  # SAC, in nats; 0 means minus the number of action dimensions
    temperature_loss: str = "log"  # SAC: log (through log alpha) or exp (through alpha)
    discount: float = 0.99  # gamma
    n_step: int = 1  # steps of the return before it bootstraps; 1 in the paper
    polyak: float = 0.005  # rate at which the target critics follow
    actor_lr: float = 3e-4  # Adam, both policies
    critic_lr: float = 3e-4  # Adam, both pairs of critics
    value_lr: float = 3e-4  # Adam, IQL
    temperature_lr: float = 3e-4  # Adam, SAC
    actor_decay_steps: Schedule = "constant"  # IQL's policy: constant, or a cosine over the run or N updates
    critic_decay_steps: Schedule = "constant"  # the same for the rates of IQL's value and critics
    actor_dropout: float = static(default=0.0)  # of IQL's policy while training
    hidden: tuple[int, ...] = (512, 512)  # widths of the hidden layers of every network
    batch_size: int = 512  # rows per update of each learner
    warmup: int = 5_000  # online: environment steps with random actions before the first update
    update_ratio: int = 1  # online: updates of each learner per environment step


class State(PyTree):
    sac: sac.State
    iql: iql.State


def check(cfg: IQLConcurrent) -> list[str]:
    found = [*faults(cfg, play="iql|sac"), *iql.check(narrowed(iql.IQL, cfg)), *sac.check(narrowed(sac.SAC, cfg))]
    return list(dict.fromkeys(found))


def init(cfg: IQLConcurrent, ctx: Context, noise: Noise) -> State:
    actor, critic = actor_and_critic(noise.sub("sac"), ctx.spec, cfg.hidden)
    online = sac.state_of(narrowed(sac.SAC, cfg), actor, critic)
    return State(online, iql_online.normed(narrowed(iql.IQL, cfg), ctx, noise.sub("iql")))


def needs(cfg: IQLConcurrent) -> Needs:
    return targets.n_step_rows(cfg, batches=2)


def update(cfg: IQLConcurrent, state: State, batch: Batch, noise: Noise, step: Step) -> tuple[State, Metrics]:
    first, second = (jax.tree.map(lambda x, i=i: x[i], batch) for i in range(2))
    online, m1 = sac.update(narrowed(sac.SAC, cfg), state.sac, first, noise.sub("sac"), step)
    offline, m2 = iql.update(narrowed(iql.IQL, cfg), state.iql, second, noise.sub("iql"), step)
    behaviour_value = state.iql.critic.net(second.obs, second.action).min(0).mean()
    metrics = [{f"{name}/{key}": v for key, v in m.items()} for name, m in (("sac", m1), ("iql", m2))]
    return State(online, offline), merge(*metrics, compared(m1["actor/q"], behaviour_value))


def dist(cfg: IQLConcurrent, state: State, seen: Seen, memory: Memory) -> Distribution:
    """The distribution of the learner that `play` names."""
    if cfg.play == "sac":
        return sac.dist(narrowed(sac.SAC, cfg), state.sac, seen, memory)
    return iql.dist(narrowed(iql.IQL, cfg), state.iql, seen, memory)


def act(
    cfg: IQLConcurrent, state: State, seen: Seen, memory: Memory, noise: Noise, mode: Mode
) -> tuple[jax.Array, Memory]:
    if mode == "explore" or cfg.play == "sac":
        return sac.act(narrowed(sac.SAC, cfg), state.sac, seen, memory, noise, mode)
    return iql.act(narrowed(iql.IQL, cfg), state.iql, seen, memory, noise, mode)


def value(cfg: IQLConcurrent, state: State, obs: jax.Array, action: jax.Array) -> jax.Array:
    """The smaller critic of the learner that `play` names, [n]."""
    learner = state.sac if cfg.play == "sac" else state.iql
    return learner.critic.net(obs, action).min(0)


PRESETS = {
    "mujoco": Preset(
        IQLConcurrent(),
        Treatment(),
        "OBAC's code, github.com/Roythuly/OBAC (SAC, networks, rates, expectile), with IQL's beta and cap",
    ),
}

algorithm = Algorithm(
    "iql_concurrent",
    IQLConcurrent,
    init,
    update,
    act,
    PRESETS,
    dist=dist,
    value=value,
    needs=needs,
    online=sac.online,
    check=check,
    images=True,
)
