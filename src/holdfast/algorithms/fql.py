"""FQL, flow Q-learning (Park, Li, Levine 2025, arXiv:2502.02538; equation numbers are theirs).

A flow clones the data. A one-step policy is distilled from it and maximises Q at the same time: no gradient passes
through the steps of the flow, and acting takes one evaluation of one network.

Notation (paper = code): v_theta = `flow`; mu_omega = `actor`; alpha = `alpha`; M = `flow_steps`; rho = `deviations`.
Shapes: B rows, A action dimensions, E critics.
Order: critics, flow and actor all move from the weights before the step. The target critics then follow the critics
from before the step (a lag of one update), as in the authors' code and not in the paper.
As in the authors' code: one set of noise serves flow and actor in the distillation; targets average the critics
(`value` "mean"); the actor follows the mean of all critics; losses are means over rows, members and action dimensions;
nothing keeps the actor within the bounds, its actions are clipped where critics and environment read them. One Adam of
the authors holds all networks: without clipping of gradients this equals one Adam for each.
Ours: `value` "lcb", the mean minus rho standard deviations, as in the same group's QAM (arXiv:2601.14234); `n_step`
returns, 1 in the paper; learning rates that fall over the run. In mode "best" the noise is 0, so that the policy is a
function of the observation; the authors draw noise whenever they act, as mode "sample" does here.
"""

from __future__ import annotations

from typing import NamedTuple, Protocol

import jax
import jax.numpy as jnp
import optax

from ..core.config import Schedule, config, faults
from ..core.contract import PROPORTIONAL, SCALED, Algorithm, Collect, Context, Phase, Preset, Treatment
from ..core.noise import Noise
from ..core.spec import Batch, Memory, Mode, Obs, Scalar, Seen, Step
from ..core.trained import Metrics, Trained, merge
from ..core.tree import PyTree, ema
from ..parts import flows, losses, nets, optimisers, targets
from ..parts.critics import mean_squared_error
from .flow_bc import flow_loss


@config
class FQL:
    alpha: float = 10.0  # weight of the distillation from the flow, eq. 8; published per task, below
    normalize_q: bool = False  # divide the actor's Q term by mean |Q|, so that alpha does not depend on its scale
    critics: int = 2  # size of the ensemble
    value: str = "mean"  # aggregate of the critics in targets: mean, min or lcb (mean minus deviations)
    deviations: float = 0.5  # rho, lcb: standard deviations below the mean
    critic_layer_norm: bool = True  # LayerNorm after the activations of the critics
    flow_steps: int = 10  # M: steps of Euler's method from noise to an action
    discount: float = 0.99  # gamma; 0.995 on long tasks
    n_step: int = 1  # steps of the return before it bootstraps; 1 in the paper
    polyak: float = 0.005  # rate at which the target critics follow
    actor_lr: float = 3e-4  # Adam
    flow_lr: float = 3e-4  # Adam
    critic_lr: float = 3e-4  # Adam
    decay_steps: Schedule = "constant"  # all rates: constant, or a cosine over the run or N updates
    hidden: tuple[int, ...] = (512, 512, 512, 512)  # widths of the hidden layers of every network
    batch_size: int = 256  # rows per update
    update_ratio: int = 1  # fine-tuning: updates per environment step


class State(PyTree):
    actor: Trained
    flow: Trained
    critic: Trained
    target_critic: nets.Critic


class Rates(Protocol):
    """Learning rates of actor, flow and critics."""

    @property
    def actor_lr(self) -> float: ...
    @property
    def flow_lr(self) -> float: ...
    @property
    def critic_lr(self) -> float: ...
    @property
    def decay_steps(self) -> Schedule: ...


class Optimisers(NamedTuple):
    actor: optax.GradientTransformation
    flow: optax.GradientTransformation
    critic: optax.GradientTransformation


def check(cfg: FQL) -> list[str]:
    rules = dict.fromkeys(("alpha", "deviations"), "at least 0")
    rules |= dict.fromkeys(("critics", "flow_steps", "n_step", "update_ratio"), "positive")
    found = faults(cfg, value="mean|min|lcb", discount="in [0, 1]", polyak="in [0, 1]", **rules)
    if cfg.value == "lcb" and cfg.critics == 1:
        found.append("critics is 1, expected at least 2: value lcb needs their standard deviation")
    return found


def optimisers_of(cfg: Rates) -> Optimisers:
    rates = (cfg.actor_lr, cfg.flow_lr, cfg.critic_lr)
    return Optimisers(*(optimisers.scheduled(rate, cfg.decay_steps) for rate in rates))


def init(cfg: FQL, ctx: Context, noise: Noise) -> State:
    actor = flows.one_step(noise.sub("actor"), ctx.spec, cfg.hidden, ctx.spec.action)
    flow = flows.flow(noise.sub("flow"), ctx.spec, cfg.hidden, ctx.spec.action)
    layers = flows.GELU_NORMED if cfg.critic_layer_norm else flows.GELU
    critic = nets.critic(noise.sub("critic"), ctx.spec, cfg.hidden, cfg.critics, **layers)
    return state_of(optimisers_of(cfg), actor, flow, critic)


def state_of(tx: Optimisers, actor: flows.OneStep, flow: flows.Flow, critic: nets.Critic) -> State:
    """The state before the first update."""
    return State(Trained.new(actor, tx.actor), Trained.new(flow, tx.flow), Trained.new(critic, tx.critic), critic)


def actor_loss(
    actor: flows.OneStep,
    critic: nets.Critic,
    goal: jax.Array,
    obs: Obs,
    z: jax.Array,
    alpha: Scalar,
    normalize: bool,
) -> tuple[jax.Array, Metrics]:
    """Eq. 8: alpha times the squared distance to the flow's actions `goal` [B, A] of the same noise, minus Q."""
    action = actor(obs, z)
    distillation = jnp.square(action - goal).mean()
    q = critic(obs, jnp.clip(action, -1, 1)).mean(0)
    scale = 1 / jnp.abs(jax.lax.stop_gradient(q)).mean() if normalize else 1.0
    improvement = -scale * q.mean()
    return alpha * distillation + improvement, {"distillation": distillation, "improvement": improvement, "q": q.mean()}


def update(cfg: FQL, state: State, batch: Batch, noise: Noise, step: Step) -> tuple[State, Metrics]:
    tx = optimisers_of(cfg)
    shape = batch.action.shape
    next_action = jnp.clip(state.actor.net(batch.next_obs, noise.normal("target_z", shape)), -1, 1)
    q = losses.lower(state.target_critic(batch.next_obs, next_action), cfg.value, cfg.deviations)
    y = targets.td(batch, q, cfg.discount)
    critic, m1 = state.critic.step(tx.critic, mean_squared_error, y, batch, name="critic")

    t = noise.uniform("flow_t", (shape[0], 1))
    flow, m2 = state.flow.step(tx.flow, flow_loss, batch, noise.normal("flow_x0", shape), t, name="flow")  # eq. 4

    z = noise.normal("actor_z", shape)
    goal = flows.euler(state.flow.net, batch.obs, z, cfg.flow_steps)
    given = (state.critic.net, goal, batch.obs, z, cfg.alpha, cfg.normalize_q)
    actor, m3 = state.actor.step(tx.actor, actor_loss, *given, name="actor")  # eq. 8
    target = ema(state.critic.net, state.target_critic, cfg.polyak)
    return State(actor, flow, critic, target), merge(m1, m2, m3)


def act(cfg: FQL, state: State, seen: Seen, memory: Memory, noise: Noise, mode: Mode) -> tuple[jax.Array, Memory]:
    size = state.flow.net.size
    z = flows.start(noise, mode, (seen.reward.shape[0], size))
    return jnp.clip(state.actor.net(seen.obs, z), -1, 1), memory


def finetune(cfg: FQL) -> tuple[Phase, ...]:
    """The same losses online, on one buffer of the data and the new rows."""
    return (Phase("online", mix=PROPORTIONAL, collect=Collect(warmup=0, every=cfg.update_ratio)),)


CODE = "authors' code, github.com/seohongpark/fql, "
MAZE = Treatment(reward_shift=-1.0)
HAND = {
    "pen-human": 1e4, "pen-cloned": 1e4, "pen-expert": 3e3, "door-human": 3e4, "door-cloned": 3e4, "door-expert": 3e4,
    "hammer-human": 3e4, "hammer-cloned": 1e4, "hammer-expert": 3e4, "relocate-human": 1e4, "relocate-cloned": 3e4,
    "relocate-expert": 3e4,
}  # fmt: skip
PRESETS = {
    "ogbench": Preset(FQL(), Treatment(), CODE + "agents/fql.py: the class defaults"),
    "ogbench-play": Preset(FQL(alpha=300.0), Treatment(), CODE + "README.md: cube and scene"),
    "ogbench-puzzle": Preset(FQL(alpha=1000.0), Treatment(), CODE + "README.md: puzzle"),
    "ogbench-humanoidmaze": Preset(FQL(alpha=30.0, discount=0.995), Treatment(), CODE + "README.md: humanoidmaze"),
    "antmaze": Preset(FQL(), MAZE, CODE + "README.md, antmaze-umaze and antmaze-medium of D4RL"),
    **{
        f"antmaze-large-{kind}": Preset(FQL(alpha=3.0), MAZE, CODE + f"README.md, antmaze-large-{kind} of D4RL")
        for kind in ("play", "diverse")
    },
    **{name: Preset(FQL(alpha=a, value="min"), Treatment(), CODE + f"README.md, {name}") for name, a in HAND.items()},
    "tuned_100k": Preset(
        FQL(alpha=0.03, normalize_q=True, value="min", decay_steps="run", hidden=(256, 256)),
        SCALED,
        "ours, the authors' advice for new tasks with smaller networks, for short logs: docs/algorithms/fql.md",
    ),
    "tuned_mixed": Preset(
        FQL(alpha=1.0, normalize_q=True, value="min", decay_steps="run", flow_lr=1e-3, hidden=(256, 256, 256)),
        SCALED,
        "ours, for short logs of locomotion with policies of mixed quality: docs/algorithms/fql.md",
    ),
}

algorithm = Algorithm(
    "fql", FQL, init, update, act, PRESETS, needs=targets.n_step_rows, finetune=finetune, check=check, images=True
)
