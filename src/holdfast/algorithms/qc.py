"""QC, Q-learning on chunks of actions (Li, Zhou, Levine 2025, arXiv:2507.07969; equation numbers are theirs).

The action is a chunk of h actions, as in `qc_fql`. The policy is the best of N chunks of a flow that clones the data,
by Q: for acting, and for the next chunk of a target. There is no actor besides the flow.

Notation (paper = code): h = `horizon`; N = `candidates`.
Shapes: B rows, A action dimensions, E critics; a chunk has h A numbers.
Order: critics and flow move from the weights before the step. The target critics then follow the critics from before
the step (a lag of one update).
As in the authors' code and not in the paper: the mean of the online critics chooses among the candidates; the treatment
of the ends of episodes, and fine-tuning, as in `qc_fql`.
Ours: `value` "lcb" and falling rates, as in `fql`. In mode "best" the candidates come from the same noise in every
state, so that the policy is a function of the observation and its memory.
"""

from __future__ import annotations

from typing import NamedTuple

import jax
import optax

from ..core.config import Schedule, config, faults
from ..core.contract import SCALED, Algorithm, Context, Preset, Treatment
from ..core.noise import Noise
from ..core.spec import Batch, Memory, Mode, Obs, Seen, Step
from ..core.trained import Metrics, Trained, merge
from ..core.tree import PyTree, ema
from ..parts import candidates, chunks, flows, losses, nets, optimisers, targets
from ..parts.critics import mean_squared_error
from .qc_fql import finetune, flow_loss, memory, needs


@config
class QC:
    horizon: int = 5  # h: actions of a chunk
    candidates: int = 32  # N: chunks of the flow from which the critics choose
    critics: int = 2  # size of the ensemble
    value: str = "mean"  # aggregate of the critics in targets: mean, min or lcb (mean minus deviations)
    deviations: float = 0.5  # lcb: standard deviations below the mean
    critic_layer_norm: bool = True  # LayerNorm after the activations of the critics
    flow_steps: int = 10  # steps of Euler's method from noise to a chunk
    discount: float = 0.99  # gamma, for each step
    polyak: float = 0.005  # rate at which the target critics follow
    flow_lr: float = 3e-4  # Adam
    critic_lr: float = 3e-4  # Adam
    decay_steps: Schedule = "constant"  # all rates: constant, or a cosine over the run or N updates
    hidden: tuple[int, ...] = (512, 512, 512, 512)  # widths of the hidden layers of every network
    batch_size: int = 256  # rows per update
    update_ratio: int = 1  # fine-tuning: updates per environment step


class State(PyTree):
    flow: Trained
    chunk_critic: Trained
    target_critic: nets.Critic


class Optimisers(NamedTuple):
    flow: optax.GradientTransformation
    critic: optax.GradientTransformation


def check(cfg: QC) -> list[str]:
    rules = dict.fromkeys(("horizon", "candidates", "critics", "flow_steps", "update_ratio"), "positive")
    shares = {"discount": "in [0, 1]", "polyak": "in [0, 1]", "deviations": "at least 0"}
    found = faults(cfg, value="mean|min|lcb", **rules, **shares)
    if cfg.value == "lcb" and cfg.critics == 1:
        found.append("critics is 1, expected at least 2: value lcb needs their standard deviation")
    return found


def optimisers_of(cfg: QC) -> Optimisers:
    return Optimisers(*(optimisers.scheduled(rate, cfg.decay_steps) for rate in (cfg.flow_lr, cfg.critic_lr)))


def init(cfg: QC, ctx: Context, noise: Noise) -> State:
    size = cfg.horizon * ctx.spec.action
    flow = flows.flow(noise.sub("flow"), ctx.spec, cfg.hidden, size)
    layers = flows.GELU_NORMED if cfg.critic_layer_norm else flows.GELU
    critic = nets.critic(noise.sub("critic"), ctx.spec._replace(action=size), cfg.hidden, cfg.critics, **layers)
    return state_of(optimisers_of(cfg), flow, critic)


def state_of(tx: Optimisers, flow: flows.Flow, critic: nets.Critic) -> State:
    """The state before the first update."""
    return State(Trained.new(flow, tx.flow), Trained.new(critic, tx.critic), critic)


def chosen(state: State, obs: Obs, x0: jax.Array, steps: int) -> jax.Array:
    """The best of the flow's chunks for noises `x0` [N, B, h A], by the mean of the online critics: [B, h A]."""
    chunk = flows.euler(state.flow.net, obs, x0, steps)
    return candidates.best(state.chunk_critic.net(obs, chunk).mean(0), chunk)


def update(cfg: QC, state: State, batch: Batch, noise: Noise, step: Step) -> tuple[State, Metrics]:
    tx = optimisers_of(cfg)
    whole, complete = chunks.joined(batch, cfg.discount)
    shape = whole.action.shape
    next_chunk = chosen(state, whole.next_obs, noise.normal("target_x0", (cfg.candidates, *shape)), cfg.flow_steps)
    q = losses.lower(state.target_critic(whole.next_obs, next_chunk), cfg.value, cfg.deviations)
    y = targets.td(whole, q, cfg.discount)
    critic, m1 = state.chunk_critic.step(tx.critic, mean_squared_error, y, whole, complete, name="critic")

    t = noise.uniform("flow_t", (shape[0], 1))
    given = (whole.obs, whole.action, chunks.kept(batch), noise.normal("flow_x0", shape), t)
    flow, m2 = state.flow.step(tx.flow, flow_loss, *given, name="flow")
    target = ema(state.chunk_critic.net, state.target_critic, cfg.polyak)
    return State(flow, critic, target), merge(m1, m2, {"complete": complete.mean()})


def act(cfg: QC, state: State, seen: Seen, memory: Memory, noise: Noise, mode: Mode) -> tuple[jax.Array, Memory]:
    """The next action of the chunk that is carried out; a new one, the best, if no action is left."""
    x0 = candidates.normals(noise, mode, cfg.candidates, seen.reward.shape[0], state.flow.net.size)
    return chunks.carried_out(memory, chosen(state, seen.obs, x0, cfg.flow_steps))


PRESETS = {
    "ogbench": Preset(QC(), Treatment(), "authors' code, github.com/ColinQiyangLi/qc, agents/acfql.py, README.md: QC"),
    "tuned_100k": Preset(
        QC(candidates=8, value="min", decay_steps="run", hidden=(256, 256)),
        SCALED,
        "ours, fewer candidates, smaller networks and rates that fall, for short logs: docs/algorithms/qc.md",
    ),
}

algorithm = Algorithm(
    "qc",
    QC,
    init,
    update,
    act,
    PRESETS,
    memory=memory,
    needs=needs,
    finetune=finetune,
    check=check,
    images=True,
)
