"""IFQL, implicit flow Q-learning: IDQL with a flow (Park, Li, Levine 2025, arXiv:2502.02538, section 5 and its code).

V and Q are those of IQL, so that no action outside the data is evaluated. A flow clones the data. Acting takes the best
of N actions of the flow by Q.

Notation (paper = code): kappa (expectile) = `expectile`; N = `candidates`; M = `flow_steps`.
Shapes: B rows, A action dimensions, E = `critics`.
Order: value, critics and flow all move from the weights before the step: V regresses on the target critics, the critics
on the V from before the step. The target critics then follow the critics from before the step (a lag of one update).
As in the authors' code: LayerNorm after the activations of V and Q; the online critics judge, by their minimum.
Ours: `n_step` returns, 1 in the paper; learning rates that fall over the run. In mode "best" the candidates come from
the same N noises in every state, so that the policy is a function of the observation.
"""

from __future__ import annotations

from typing import NamedTuple

import jax
import optax

from ..core.config import Schedule, config, faults
from ..core.contract import PROPORTIONAL, SCALED, Algorithm, Collect, Context, Phase, Preset, Treatment
from ..core.noise import Noise
from ..core.spec import Batch, Memory, Mode, Seen, Step
from ..core.trained import Metrics, Trained, merge
from ..core.tree import PyTree, ema
from ..parts import candidates, flows, nets, optimisers, targets
from ..parts.critics import squared_error
from .flow_bc import flow_loss
from .iql import value_loss


@config
class IFQL:
    expectile: float = 0.9  # kappa: expectile of V over the actions in the data
    candidates: int = 32  # N: actions of the flow from which the critics choose when acting
    critics: int = 2  # size of the ensemble
    critic_layer_norm: bool = True  # LayerNorm after the activations of value and critics
    flow_steps: int = 10  # M: steps of Euler's method from noise to an action
    discount: float = 0.99  # gamma; 0.995 on long tasks
    n_step: int = 1  # steps of the return before it bootstraps; 1 in the paper
    polyak: float = 0.005  # rate at which the target critics follow
    flow_lr: float = 3e-4  # Adam
    value_lr: float = 3e-4  # Adam
    critic_lr: float = 3e-4  # Adam
    decay_steps: Schedule = "constant"  # all rates: constant, or a cosine over the run or N updates
    hidden: tuple[int, ...] = (512, 512, 512, 512)  # widths of the hidden layers of every network
    batch_size: int = 256  # rows per update
    update_ratio: int = 1  # fine-tuning: updates per environment step


class State(PyTree):
    flow: Trained
    value: Trained
    critic: Trained
    target_critic: nets.Critic


class Optimisers(NamedTuple):
    flow: optax.GradientTransformation
    value: optax.GradientTransformation
    critic: optax.GradientTransformation


def check(cfg: IFQL) -> list[str]:
    rules = dict.fromkeys(("candidates", "critics", "flow_steps", "n_step", "update_ratio"), "positive")
    return faults(cfg, expectile="in (0, 1)", discount="in [0, 1]", polyak="in [0, 1]", **rules)


def optimisers_of(cfg: IFQL) -> Optimisers:
    rates = (cfg.flow_lr, cfg.value_lr, cfg.critic_lr)
    return Optimisers(*(optimisers.scheduled(rate, cfg.decay_steps) for rate in rates))


def init(cfg: IFQL, ctx: Context, noise: Noise) -> State:
    tx = optimisers_of(cfg)
    layers = flows.GELU_NORMED if cfg.critic_layer_norm else flows.GELU
    flow = flows.flow(noise.sub("flow"), ctx.spec, cfg.hidden, ctx.spec.action)
    value = nets.value(noise.sub("value"), ctx.spec, cfg.hidden, **layers)
    critic = nets.critic(noise.sub("critic"), ctx.spec, cfg.hidden, cfg.critics, **layers)
    return State(Trained.new(flow, tx.flow), Trained.new(value, tx.value), Trained.new(critic, tx.critic), critic)


def update(cfg: IFQL, state: State, batch: Batch, noise: Noise, step: Step) -> tuple[State, Metrics]:
    tx = optimisers_of(cfg)
    q = state.target_critic(batch.obs, batch.action).min(0)
    value, m1 = state.value.step(tx.value, value_loss, q, batch.obs, cfg.expectile, name="value")
    y = targets.td(batch, state.value.net(batch.next_obs), cfg.discount)
    critic, m2 = state.critic.step(tx.critic, squared_error, y, batch, name="critic")
    x0 = noise.normal("flow_x0", batch.action.shape)
    t = noise.uniform("flow_t", (len(x0), 1))
    flow, m3 = state.flow.step(tx.flow, flow_loss, batch, x0, t, name="flow")
    target = ema(state.critic.net, state.target_critic, cfg.polyak)
    return State(flow, value, critic, target), merge(m1, m2, m3)


def act(cfg: IFQL, state: State, seen: Seen, memory: Memory, noise: Noise, mode: Mode) -> tuple[jax.Array, Memory]:
    flow = state.flow.net
    x0 = candidates.normals(noise, mode, cfg.candidates, seen.reward.shape[0], flow.size)
    action = flows.euler(flow, seen.obs, x0, cfg.flow_steps)
    return candidates.best(state.critic.net(seen.obs, action).min(0), action), memory


def finetune(cfg: IFQL) -> tuple[Phase, ...]:
    """The same losses online, on one buffer of the data and the new rows."""
    return (Phase("online", mix=PROPORTIONAL, collect=Collect(warmup=0, every=cfg.update_ratio)),)


CODE = "authors' code, github.com/seohongpark/fql, "
PRESETS = {
    "ogbench": Preset(IFQL(), Treatment(), CODE + "agents/ifql.py: the class defaults"),
    "ogbench-humanoidmaze": Preset(IFQL(discount=0.995), Treatment(), CODE + "README.md: humanoidmaze"),
    "antmaze": Preset(IFQL(), Treatment(reward_shift=-1.0), CODE + "agents/ifql.py, envs/d4rl_utils.py"),
    "tuned_100k": Preset(
        IFQL(expectile=0.7, flow_lr=1e-3, decay_steps="run", hidden=(256, 256, 256), batch_size=512),
        SCALED,
        "ours, smaller networks, a faster flow and a lower expectile, for short logs: docs/algorithms/ifql.md",
    ),
}

algorithm = Algorithm(
    "ifql",
    IFQL,
    init,
    update,
    act,
    PRESETS,
    needs=targets.n_step_rows,
    finetune=finetune,
    check=check,
    images=True,
)
