"""QC-FQL, flow Q-learning on chunks of actions (Li, Zhou, Levine 2025, arXiv:2507.07969; equation numbers are theirs).

The action is a chunk of h actions, which the policy carries out before it looks again. The value of a chunk is learned
from its h logged rewards, so that values travel h steps in one update, without the bias of n-step returns: the logged
actions are the ones that are evaluated. The policy of FQL keeps chunks close to those in the data.

Notation (paper = code): h = `horizon`; alpha = `alpha`.
Shapes: B rows, A action dimensions, E critics; a chunk has h A numbers.
Order: as in `fql`: critics, flow and actor all move from the weights before the step, and the targets lag by one
update.
As in the authors' code and not in the paper: rows from which an episode has less than h steps left do not train the
critics, but count in the mean of their loss; the cloning loss leaves out the steps beyond an episode's end. The end of
an episode within a chunk therefore drops the row; a terminal reward is seen by chunks that end with it.
Online, one buffer has the data and the new steps, chunks are cut from it when they are drawn, and the updates start
after 5,000 steps.
Ours: `normalize_q`, `value` "lcb" and falling rates, as in `fql`. In mode "best" the noise is 0.
"""

from __future__ import annotations

import jax
import jax.numpy as jnp

from ..core.config import Schedule, config, faults
from ..core.contract import PROPORTIONAL, SCALED, Algorithm, Chunks, Collect, Context, Needs, Phase, Preset, Treatment
from ..core.noise import Noise
from ..core.spec import Batch, Memory, Mode, Obs, Seen, Spec, Step
from ..core.trained import Metrics, Trained, merge
from ..core.tree import PyTree, ema
from ..parts import chunks, flows, losses, nets, targets
from ..parts.critics import mean_squared_error
from .fql import Optimisers, actor_loss, optimisers_of


@config
class QCFQL:
    horizon: int = 5  # h: actions of a chunk
    alpha: float = 100.0  # weight of the distillation from the flow
    normalize_q: bool = False  # divide the actor's Q term by mean |Q|, so that alpha does not depend on its scale
    critics: int = 2  # size of the ensemble
    value: str = "mean"  # aggregate of the critics in targets: mean, min or lcb (mean minus deviations)
    deviations: float = 0.5  # lcb: standard deviations below the mean
    critic_layer_norm: bool = True  # LayerNorm after the activations of the critics
    flow_steps: int = 10  # steps of Euler's method from noise to a chunk
    discount: float = 0.99  # gamma, for each step
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
    chunk_critic: Trained
    target_critic: nets.Critic


def check(cfg: QCFQL) -> list[str]:
    rules = dict.fromkeys(("alpha", "deviations"), "at least 0")
    rules |= dict.fromkeys(("horizon", "critics", "flow_steps", "update_ratio"), "positive")
    found = faults(cfg, value="mean|min|lcb", discount="in [0, 1]", polyak="in [0, 1]", **rules)
    if cfg.value == "lcb" and cfg.critics == 1:
        found.append("critics is 1, expected at least 2: value lcb needs their standard deviation")
    return found


def init(cfg: QCFQL, ctx: Context, noise: Noise) -> State:
    size = cfg.horizon * ctx.spec.action
    actor = flows.one_step(noise.sub("actor"), ctx.spec, cfg.hidden, size)
    flow = flows.flow(noise.sub("flow"), ctx.spec, cfg.hidden, size)
    layers = flows.GELU_NORMED if cfg.critic_layer_norm else flows.GELU
    critic = nets.critic(noise.sub("critic"), ctx.spec._replace(action=size), cfg.hidden, cfg.critics, **layers)
    return state_of(optimisers_of(cfg), actor, flow, critic)


def state_of(tx: Optimisers, actor: flows.OneStep, flow: flows.Flow, critic: nets.Critic) -> State:
    """The state before the first update."""
    return State(Trained.new(actor, tx.actor), Trained.new(flow, tx.flow), Trained.new(critic, tx.critic), critic)


def flow_loss(
    flow: flows.Flow, obs: Obs, chunk: jax.Array, keep: jax.Array, x0: jax.Array, t: jax.Array
) -> tuple[jax.Array, Metrics]:
    """The loss of flow matching for chunks [B, h A], times `keep` [B, h A], as a mean over all numbers."""
    return (flows.matching_error(flow, obs, chunk, x0, t) * keep).mean(), {}


def update(cfg: QCFQL, state: State, batch: Batch, noise: Noise, step: Step) -> tuple[State, Metrics]:
    tx = optimisers_of(cfg)
    whole, complete = chunks.joined(batch, cfg.discount)
    shape = whole.action.shape
    next_chunk = jnp.clip(state.actor.net(whole.next_obs, noise.normal("target_z", shape)), -1, 1)
    q = losses.lower(state.target_critic(whole.next_obs, next_chunk), cfg.value, cfg.deviations)
    y = targets.td(whole, q, cfg.discount)
    critic, m1 = state.chunk_critic.step(tx.critic, mean_squared_error, y, whole, complete, name="critic")

    t = noise.uniform("flow_t", (shape[0], 1))
    given = (whole.obs, whole.action, chunks.kept(batch), noise.normal("flow_x0", shape), t)
    flow, m2 = state.flow.step(tx.flow, flow_loss, *given, name="flow")

    z = noise.normal("actor_z", shape)
    goal = flows.euler(state.flow.net, whole.obs, z, cfg.flow_steps)
    aims = (state.chunk_critic.net, goal, whole.obs, z, cfg.alpha, cfg.normalize_q)
    actor, m3 = state.actor.step(tx.actor, actor_loss, *aims, name="actor")
    target = ema(state.chunk_critic.net, state.target_critic, cfg.polyak)
    return State(actor, flow, critic, target), merge(m1, m2, m3, {"complete": complete.mean()})


def act(cfg: QCFQL, state: State, seen: Seen, memory: Memory, noise: Noise, mode: Mode) -> tuple[jax.Array, Memory]:
    """The next action of the chunk that is carried out; a new chunk if no action is left."""
    z = flows.start(noise, mode, (seen.reward.shape[0], state.flow.net.size))
    return chunks.carried_out(memory, jnp.clip(state.actor.net(seen.obs, z), -1, 1))


def memory(cfg: QCFQL, spec: Spec, n: int) -> Memory:
    return chunks.memory(spec, n, cfg.horizon)


def needs(cfg: QCFQL) -> Needs:
    return Chunks(cfg.horizon)


def finetune(cfg: QCFQL) -> tuple[Phase, ...]:
    """The same losses online, on one buffer of the data and the new steps."""
    return (Phase("online", mix=PROPORTIONAL, collect=Collect(warmup=0, delay=5_000, every=cfg.update_ratio)),)


PRESETS = {
    "ogbench": Preset(
        QCFQL(), Treatment(), "authors' code, github.com/ColinQiyangLi/qc, agents/acfql.py, README.md: QC-FQL"
    ),
    "tuned_100k": Preset(
        QCFQL(horizon=2, alpha=10.0, normalize_q=True, value="min", decay_steps="run", hidden=(256, 256)),
        SCALED,
        "ours, networks and rates as tuned_100k of fql, chunks of 2 for locomotion: docs/algorithms/qc_fql.md",
    ),
}

algorithm = Algorithm(
    "qc_fql",
    QCFQL,
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
