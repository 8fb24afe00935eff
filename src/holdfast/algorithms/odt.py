"""Online Decision Transformer (Zheng, Zhang, Grover 2022, arXiv:2202.05607).

A Decision Transformer whose policy is stochastic, with an entropy above a bound, trained offline and then online.

Notation (paper = code): K = `context`; lambda = the temperature; beta = `target_entropy`.
Loss: minus the mean log-likelihood of the logged actions, minus lambda times the entropy (eq. 5); eq. 6 moves lambda.
Order of an update: the policy, then the temperature, with the entropy from before the step.
As in the authors' code: tokens carry no place; the policy is the tanh of a normal whose log deviation passes a tanh to
[-5, 2]; the entropy is estimated from one sample; LAMB with its own clipping behind the clipping to `clip_norm`; only
the last `acting_context` steps are read when it acts.
Online, in phase "online" of a fine-tuning run: whole episodes join a replay that begins with the best ones of the log,
rows are drawn uniformly, and returns-to-go are those that were reached. `exploration` times the target is asked for.
Ours: padding is left out of the mean entropy; updates follow environment steps, 3 for 10 of them, where the code makes
300 for each episode; the replay is bounded in rows; a target below 0 is raised by as much as a positive one would be;
tokens can carry the step of the episode (`timed`), and returns-to-go can be kept within the log's (`within_log`).
"""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax

from ..core.config import Schedule, config, faults, static
from ..core.contract import Algorithm, Collect, Context, Phase, Preset, Treatment, Windows
from ..core.noise import Noise
from ..core.spec import Batch, Memory, Mode, Scalar, Seen, Spec, Step
from ..core.trained import Metrics, Trained, merge
from ..core.tree import PyTree
from ..parts import optimisers, sequences
from ..parts.distributions import TanhNormal, bounded_tanh_normal, choose
from ..parts.initialisers import orthogonal
from ..parts.layers import Linear
from ..parts.sequences import Asked, Keep, Past, TrajectoryModel, Window

if TYPE_CHECKING:
    from ..data.dataset import Dataset

MIN_LOG_STD = -5.0


@config
class ODT:
    target_return: tuple[float, ...] = ()  # raw returns to ask for, the first is the policy's own; none: the log's best
    exploration: float = 2.0  # online: the return asked for, as a multiple of the target
    delayed: bool = False  # returns-to-go stay at the target while acting, for rewards that come with the last step
    within_log: bool = False  # returns-to-go after the first step of an episode stay between those of logged steps
    context: int = 20  # K: steps of a window in training
    acting_context: int = 5  # steps that the policy reads when it acts
    layers: int = 4  # blocks of the transformer
    heads: int = 4  # heads of the attention
    width: int = 512  # width of a token
    activation: str = "relu"  # of the MLPs: relu or gelu
    timed: bool = False  # tokens carry the step of the episode, as a number
    dropout: float = static(default=0.1)  # of embedded tokens, attention weights and outputs of the blocks
    actor_lr: float = 1e-4  # of LAMB, the optimiser
    warmup_updates: float = 10_000.0  # updates over which the rate rises along a line
    actor_decay_steps: Schedule = "constant"  # after it: constant, or a cosine to a tenth over the run or N updates
    weight_decay: float = 5e-4  # decoupled
    clip_norm: float = 0.25  # largest norm of the gradient
    max_log_std: float = 2.0  # upper bound of the log deviation of an action before the tanh
    initial_temperature: float = 0.1  # lambda before the first update
    temperature_lr: float = 1e-4  # Adam
    target_entropy: float = 0.0  # beta, in nats; 0: minus the number of action dimensions
    episodes: int = 1_000  # online: best episodes of the log that the replay begins with
    update_ratio: int = 3  # online: updates after each `online_steps` environment steps
    online_steps: int = 10  # online: environment steps between two rounds of updates
    batch_size: int = 256  # windows per update


class State(PyTree):
    actor: Trained
    temperature: Trained  # of log lambda
    asked: Asked


class Optimisers(NamedTuple):
    actor: optax.GradientTransformation
    temperature: optax.GradientTransformation


def check(cfg: ODT) -> list[str]:
    found = sequences.sizes_at_fault(cfg, cfg.target_return)
    if not 1 <= cfg.acting_context <= cfg.context:
        found.append(f"acting_context is {cfg.acting_context}, expected from 1 to context, {cfg.context}")
    positive = ("warmup_updates", "clip_norm", "initial_temperature", "exploration", "update_ratio", "online_steps")
    rules = {**dict.fromkeys((*positive, "episodes"), "positive"), "weight_decay": "at least 0"}
    if not cfg.max_log_std > MIN_LOG_STD:
        found.append(f"max_log_std is {cfg.max_log_std}, expected more than {MIN_LOG_STD:g}")
    return found + faults(cfg, dropout="in [0, 1)", activation="relu|gelu", **rules)


def optimisers_of(cfg: ODT) -> Optimisers:
    rate = optimisers.warmed(cfg.actor_lr, cfg.warmup_updates, cfg.actor_decay_steps)
    return Optimisers(optimisers.lamb(rate, cfg.weight_decay, cfg.clip_norm), optimisers.adam(cfg.temperature_lr))


def init(cfg: ODT, ctx: Context, noise: Noise) -> State:
    tx = optimisers_of(cfg)
    heads = [orthogonal(1.0)(noise.sub(name), cfg.width, ctx.spec.action) for name in ("mean", "log_std")]
    head: Linear = jax.tree.map(lambda *x: jnp.concatenate(x, -1), *heads)
    net = sequences.trajectory_model(noise.sub("actor"), ctx.spec, cfg, "time" if cfg.timed else "none", head)
    temperature = Trained.new(jnp.log(cfg.initial_temperature), tx.temperature)
    return State(Trained.new(net, tx.actor), temperature, Asked.of(ctx))


def actor_loss(
    net: TrajectoryModel, window: Window, temperature: Scalar, high: Scalar, eps: jax.Array, keep: Keep
) -> tuple[jax.Array, Metrics]:
    """Eq. 5: minus log-likelihood, minus `temperature` times the entropy, estimated with standard normals [B, K, A]."""
    policy = bounded_tanh_normal(net(window, keep), MIN_LOG_STD, high)
    likelihood = sequences.mean_over(policy.log_prob(window.action), window.valid)
    entropy = -sequences.mean_over(policy.sample_and_log_prob(eps)[1], window.valid)
    return -likelihood - temperature * entropy, {"log_likelihood": likelihood, "entropy": entropy}


def temperature_loss(log_temperature: jax.Array, entropy: jax.Array, goal: Scalar) -> tuple[jax.Array, Metrics]:
    """Eq. 6: lambda times what the entropy has above the goal."""
    return jnp.exp(log_temperature) * (entropy - goal), {"lambda": jnp.exp(log_temperature)}


def update(cfg: ODT, state: State, batch: Batch, noise: Noise, step: Step) -> tuple[State, Metrics]:
    tx = optimisers_of(cfg)
    window = sequences.window_of(batch)
    eps = noise.normal("entropy", batch.action.shape)
    keep = sequences.keep_of(state.actor.net, noise, cfg.dropout, batch.reward.shape)
    given = (window, jnp.exp(state.temperature.net), cfg.max_log_std, eps, keep)
    actor, m1 = state.actor.step(tx.actor, actor_loss, *given, name="actor")
    goal = jnp.where(cfg.target_entropy == 0, -float(batch.action.shape[-1]), cfg.target_entropy)
    dual, m2 = state.temperature.step(tx.temperature, temperature_loss, m1["actor/entropy"], goal, name="temperature")
    return dataclasses.replace(state, actor=actor, temperature=dual), merge(m1, m2)


def memory(cfg: ODT, spec: Spec, n: int) -> Past:
    return sequences.no_past(spec, n, cfg.acting_context)


def target(cfg: ODT, state: State) -> jax.Array:
    return state.asked.first(cfg.target_return)


def decide(cfg: ODT, state: State, seen: Seen, memory: Past, mode: Mode) -> tuple[TanhNormal, Past]:
    """The distribution of the next actions, and the memory with what is seen."""
    goal = target(cfg, state)
    if mode == "explore":  # the policy asks for more than the log may have
        goal = goal + (cfg.exploration - 1) * jnp.abs(goal)
    bounds = state.asked.bounds(cfg.within_log and mode != "explore")
    window, memory = sequences.observed(memory, seen, goal, cfg.delayed, bounds)
    return bounded_tanh_normal(state.actor.net(window, newest=True)[:, 0], MIN_LOG_STD, cfg.max_log_std), memory


def dist(cfg: ODT, state: State, seen: Seen, memory: Past) -> TanhNormal:
    return decide(cfg, state, seen, memory, "best")[0]


def act(cfg: ODT, state: State, seen: Seen, memory: Past, noise: Noise, mode: Mode) -> tuple[jax.Array, Memory]:
    policy, memory = decide(cfg, state, seen, memory, mode)
    action = choose(policy, noise, mode)
    return action, sequences.acted(memory, action)


def needs(cfg: ODT) -> Windows:
    return Windows(cfg.context, ("return_to_go", "timestep"), anchor="first")


def best_episodes(cfg: ODT, dataset: Dataset) -> np.ndarray:
    """Numbers of the transitions of the best episodes, the best one last: rows at the front make room first."""
    best = np.argsort(dataset.returns(), kind="stable")[-cfg.episodes :]
    spans = zip(dataset.offsets[best], dataset.offsets[best + 1], strict=True)
    return np.concatenate([np.arange(first, end) for first, end in spans])


def finetune(cfg: ODT) -> tuple[Phase, ...]:
    """Episodes that the policy samples join the replay when they have ended."""
    collect = Collect(steps=cfg.online_steps, every=cfg.update_ratio, warmup=0, whole=True)
    return (Phase("online", mix={"online": 1.0}, collect=collect, fill=best_episodes),)


SCALED = Treatment(normalize_obs=1e-6, reward_scale=1e-3)
CODE = "authors' code, github.com/facebookresearch/online-dt, "
PRESETS = {
    "gym": Preset(ODT(), SCALED, CODE + "main.py, evaluation.py, lamb.py"),
    "hopper": Preset(ODT(target_return=(3600.0,)), SCALED, CODE + "main.py, README.md"),
    "tuned_100k": Preset(
        ODT(
            within_log=True, context=10, layers=2, heads=2, width=64, timed=True, dropout=0.0, actor_lr=3e-3,
            warmup_updates=500.0, actor_decay_steps="run", max_log_std=-1.0, batch_size=64),
        Treatment(normalize_obs=1e-3, return_scale=5.0, clip_actions=0.02),
        "ours, a small model for short logs and machines: docs/algorithms/odt.md",
    ),
}  # fmt: skip

algorithm = Algorithm(
    "odt", ODT, init, update, act, PRESETS, dist=dist, memory=memory, target=target, needs=needs, finetune=finetune,
    check=check,
)  # fmt: skip
