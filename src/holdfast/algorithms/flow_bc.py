"""Flow behaviour cloning: the behaviour flow policy of FQL alone (Park, Li, Levine 2025, arXiv:2502.02538, section 3).

A velocity field is fitted to the straight lines from noise to logged actions (eq. 4). Acting integrates it from noise.
The policy can have several peaks at one state, where a Gaussian averages them.

Notation (paper = code): v_theta = `flow`; M (steps of Euler's method) = `flow_steps`.
Shapes: B rows, A action dimensions.
As in the authors' code: the time is an input as it is; GELU in its tanh approximation; actions are clipped to [-1, 1]
at the end of the integration only.
Ours: in mode "best" the flow starts at `candidates` noises, the same ones in every state, and the action in the densest
place among their ends is taken, so that the policy is a function of the observation and keeps to one peak. The authors
draw noise whenever they act, as mode "sample" does here.
"""

from __future__ import annotations

import jax

from ..core.config import Schedule, config, faults
from ..core.contract import Algorithm, Context, Preset, Treatment
from ..core.noise import Noise
from ..core.spec import Batch, Memory, Mode, Seen, Step
from ..core.trained import Metrics, Trained
from ..core.tree import PyTree
from ..parts import candidates, flows, optimisers

WIDTH = 0.3  # of the kernel that finds the densest place, in units of actions in [-1, 1]


@config
class FlowBC:
    flow_steps: int = 10  # M: steps of Euler's method from noise to an action
    flow_lr: float = 3e-4  # Adam
    flow_decay_steps: Schedule = "constant"  # rate of the flow: constant, or a cosine over the run or N updates
    candidates: int = 32  # mode "best": actions of the flow from which the one in the densest place is taken
    hidden: tuple[int, ...] = (512, 512, 512, 512)  # widths of the hidden layers
    batch_size: int = 256  # rows per update


class State(PyTree):
    flow: Trained


def check(cfg: FlowBC) -> list[str]:
    return faults(cfg, flow_steps="positive", candidates="positive")


def init(cfg: FlowBC, ctx: Context, noise: Noise) -> State:
    flow = flows.flow(noise.sub("flow"), ctx.spec, cfg.hidden, ctx.spec.action)
    return State(Trained.new(flow, optimisers.scheduled(cfg.flow_lr, cfg.flow_decay_steps)))


def flow_loss(flow: flows.Flow, batch: Batch, x0: jax.Array, t: jax.Array) -> tuple[jax.Array, Metrics]:
    """Eq. 4: the mean over rows and action dimensions; x0 [B, A], t [B, 1]."""
    return flows.matching_error(flow, batch.obs, batch.action, x0, t).mean(), {}


def update(cfg: FlowBC, state: State, batch: Batch, noise: Noise, step: Step) -> tuple[State, Metrics]:
    tx = optimisers.scheduled(cfg.flow_lr, cfg.flow_decay_steps)
    x0 = noise.normal("flow_x0", batch.action.shape)
    t = noise.uniform("flow_t", (len(x0), 1))
    flow, metrics = state.flow.step(tx, flow_loss, batch, x0, t, name="flow")
    return State(flow), metrics


def act(cfg: FlowBC, state: State, seen: Seen, memory: Memory, noise: Noise, mode: Mode) -> tuple[jax.Array, Memory]:
    flow = state.flow.net
    n = cfg.candidates if mode == "best" else 1
    x0 = candidates.normals(noise, mode, n, seen.reward.shape[0], flow.size)
    return candidates.densest(flows.euler(flow, seen.obs, x0, cfg.flow_steps), WIDTH), memory


PRESETS = {
    "ogbench": Preset(FlowBC(), Treatment(), "authors' code, github.com/seohongpark/fql, agents/fql.py, its BC flow"),
    "tuned_100k": Preset(
        FlowBC(flow_decay_steps="run", hidden=(256, 256)),
        Treatment(normalize_obs=1e-3),
        "ours, smaller networks, normalised observations and a rate that falls, for short logs",
    ),
}

algorithm = Algorithm("flow_bc", FlowBC, init, update, act, PRESETS, check=check, images=True)
