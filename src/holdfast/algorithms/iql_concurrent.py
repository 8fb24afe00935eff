"""IQL on the growing replay of a SAC beside it: the experiment that motivates OBAC (Luo et al. 2024, arXiv:2405.18520).

SAC (arXiv:1812.05905) collects and learns. IQL (arXiv:2110.06169) makes as many updates on the same rows, the random
ones of the warm-up included, and never acts while it trains. The two share the replay and nothing else: each draws its
own batch, and their updates are those of `sac` and `iql`.

Acting: "explore", which collects, is SAC's. "best" and "sample", of evaluations and of the shipped policy, are those of
the learner that `play` names. Training does not depend on `play`: runs that differ in it alone learn the same numbers,
so a second one gives SAC's own curve, at the same steps and in the same episodes. `collect/return` is what SAC's draws
come to in either.
Constants: none are published. Networks, rates, batch and expectile are OBAC's, beta and its cap IQL's, rewards as they
are. `gate/...` is what OBAC's gate would compare, each side on its learner's batch, SAC's after the critics' step.
"""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp

from ..core.config import Schedule, config, faults, static
from ..core.contract import Algorithm, Context, Needs, Preset, Transitions, Treatment
from ..core.noise import Noise
from ..core.spec import Batch, Memory, Mode, Seen, Step
from ..core.trained import Metrics, Trained, merge
from ..core.tree import PyTree
from ..parts import optimisers
from . import iql, iql_online, sac
from .obac import actor_and_critic, compared


@config
class IQLConcurrent:
    play: str = "iql"  # whose policy is evaluated and shipped: iql or sac; SAC collects in either case
    expectile: float = 0.9  # tau, IQL
    inverse_temperature: float = 3.0  # beta, IQL
    max_weight: float = 100.0  # cap on exp(beta A), IQL
    initial_temperature: float = 1.0  # SAC's alpha before the first update
    target_entropy: float = 0.0  # SAC, in nats; 0 stands for minus the number of action dimensions
    temperature_loss: str = "log"  # SAC: log (through log alpha) or exp (through alpha)
    discount: float = 0.99  # gamma
    polyak: float = 0.005  # rate at which the target critics follow
    actor_lr: float = 3e-4  # Adam, both policies
    critic_lr: float = 3e-4  # Adam, both pairs of critics
    value_lr: float = 3e-4  # Adam, IQL
    temperature_lr: float = 3e-4  # Adam, SAC
    actor_decay_steps: Schedule = "constant"  # IQL's policy: constant, or a cosine over the run or N updates
    critic_decay_steps: Schedule = "constant"  # the same for the rates of IQL's value and critics
    actor_dropout: float = static(default=0.0)  # of IQL's policy while training
    hidden: tuple[int, ...] = (512, 512)  # widths of the hidden layers of every network
    batch_size: int = 512  # rows an update of each learner
    warmup: int = 5_000  # online: environment steps with random actions before the first update
    update_ratio: int = 1  # online: updates of each learner an environment step


class State(PyTree):
    sac: sac.State
    iql: iql.State


def check(cfg: Any) -> list[str]:
    return list(dict.fromkeys([*faults(cfg, play="iql|sac"), *iql.check(cfg), *sac.check(cfg)]))


def init(cfg: IQLConcurrent, ctx: Context, noise: Noise) -> State:
    actor, critic = actor_and_critic(noise.sub("sac"), ctx.spec, cfg.hidden)
    online = sac.State(
        Trained.new(actor, optimisers.adam(cfg.actor_lr)),
        Trained.new(critic, optimisers.adam(cfg.critic_lr)),
        critic,
        Trained.new(jnp.log(cfg.initial_temperature), optimisers.adam(cfg.temperature_lr)),
    )
    return State(online, iql_online.normed(cfg, ctx, noise.sub("iql")))


def needs(cfg: Any) -> Needs:
    return Transitions(batches=2)


def update(cfg: Any, state: State, batch: Batch, noise: Noise, step: Step) -> tuple[State, Metrics]:
    first, second = (jax.tree.map(lambda x, i=i: x[i], batch) for i in range(2))
    online, m1 = sac.update(cfg, state.sac, first, noise.sub("sac"), step)
    offline, m2 = iql.update(cfg, state.iql, second, noise.sub("iql"), step)
    behaviour_value = state.iql.critic.net(second.obs, second.action).min(0).mean()
    told = [{f"{name}/{key}": v for key, v in m.items()} for name, m in (("sac", m1), ("iql", m2))]
    return State(online, offline), merge(*told, compared(m1["actor/q"], behaviour_value))


def dist(cfg: IQLConcurrent, state: State, seen: Seen, memory: Memory) -> Any:
    """The law of the learner that `play` names."""
    return (sac if cfg.play == "sac" else iql).dist(cfg, getattr(state, cfg.play), seen, memory)


def act(cfg: Any, state: State, seen: Seen, memory: Memory, noise: Noise, mode: Mode) -> tuple[jax.Array, Any]:
    if mode == "explore" or cfg.play == "sac":
        return sac.act(cfg, state.sac, seen, memory, noise, mode)
    return iql.act(cfg, state.iql, seen, memory, noise, mode)


def value(cfg: IQLConcurrent, state: State, obs: jax.Array, action: jax.Array) -> jax.Array:
    """What the learner that `play` names believes of actions: the smaller critic, [n]."""
    return getattr(state, cfg.play).critic.net(obs, action).min(0)


PRESETS = {
    "mujoco": Preset(
        IQLConcurrent(), Treatment(), "not published; OBAC's networks and rates, the IQL authors' beta and cap"
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
)
