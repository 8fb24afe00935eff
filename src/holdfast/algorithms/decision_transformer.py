"""Decision Transformer (Chen et al. 2021, arXiv:2106.01345): supervised learning of actions from returns-to-go.

A causal transformer reads the last K steps as tokens (return-to-go, observation, action) and predicts each action from
the token of its observation. No value is learned. When it acts, it is asked for a return, and each reward lowers what
is left of it.

Notation (paper = code): K = `context`; R-hat = `return_to_go`, the undiscounted sum of rewards to the episode's end;
t = `timestep`.
Loss: mean squared error of tanh(head) over the steps that are not padding and over action dimensions, as in section 3;
cross-entropy for discrete actions.
The treatment of the rewards divides returns by 1000 (`reward_scale`), so `target_return` is in units of the
environment's rewards.
As in the authors' code for gym (preset `gym`): a row is drawn and the window begins with it, padded on the left; the
vector of the step in the episode is added to its three tokens; dropout also falls on the embedded tokens; AdamW on all
parameters; a linear warm-up; the gradient's norm is clipped. What padding holds has no effect, because nothing attends
to it. The code also has heads for observations and returns; no gradient reaches them, so they are left out.
As in the authors' code for Atari (preset `atari`): windows are full where the episode is long enough; places within the
window and the step of the window's first row are learned vectors; tanh after the embeddings; the rate falls along a
cosine.
Ours: observations are vectors in both; a window never reaches into the episode before, and what is padded is left out
of the loss (the Atari code pads nothing and cuts across episodes); discrete actions with the positions of gym; also
`position` "time" and `within_log`.
"""

from __future__ import annotations

import dataclasses

import jax
import jax.numpy as jnp
import optax

from ..core.config import Schedule, config, faults, static
from ..core.contract import BOTH, Algorithm, Context, Preset, Treatment, Windows
from ..core.noise import Noise
from ..core.spec import Batch, Memory, Mode, Seen, Spec, Step
from ..core.trained import Metrics, Trained
from ..core.tree import PyTree
from ..parts import optimisers, sequences
from ..parts.distributions import Categorical, Deterministic, choose
from ..parts.initialisers import torch_uniform
from ..parts.sequences import Asked, Keep, Past, TrajectoryModel, Window
from ..parts.transformer import Projection, normal


@config
class DecisionTransformer:
    target_return: tuple[float, ...] = ()  # raw returns to ask for, the first is the policy's own; none: the log's best
    delayed: bool = False  # returns-to-go stay at the target while acting, for rewards that come with the last step
    within_log: bool = False  # returns-to-go after the first step of an episode stay between those of logged steps
    context: int = 20  # K: steps of a window
    layers: int = 3  # blocks of the transformer
    heads: int = 1  # heads of the attention
    width: int = 128  # width of a token
    activation: str = "relu"  # of the MLPs: relu or gelu
    position: str = "step"  # place of tokens: step of the episode (gym), token of the window (Atari), or time (ours)
    max_timestep: int = 1_000  # steps of an episode that have vectors of their own
    dropout: float = static(default=0.1)  # of embedded tokens, attention weights and outputs of the blocks
    actor_lr: float = 1e-4  # AdamW
    warmup_updates: float = 10_000.0  # updates over which the rate rises along a line
    actor_decay_steps: Schedule = "constant"  # after it: constant, or a cosine to a tenth over the run or N updates
    weight_decay: float = 1e-4  # decoupled
    decay: str = "all"  # what the weight decay shrinks: all parameters, or weights of linear layers
    second_moment: float = 0.999  # Adam's second beta
    clip_norm: float = 0.25  # largest norm of the gradient
    batch_size: int = 64  # windows per update


class State(PyTree):
    actor: Trained
    asked: Asked


def check(cfg: DecisionTransformer) -> list[str]:
    found = sequences.sizes_at_fault(cfg, cfg.target_return)
    rules = {"position": "step|time|token", "decay": "all|linear", "activation": "relu|gelu", "dropout": "in [0, 1)"}
    rules |= dict.fromkeys(("clip_norm", "warmup_updates", "max_timestep"), "positive")
    return found + faults(cfg, weight_decay="at least 0", second_moment="in [0, 1)", **rules)


def optimiser(cfg: DecisionTransformer) -> optax.GradientTransformation:
    rate = optimisers.warmed(cfg.actor_lr, cfg.warmup_updates, cfg.actor_decay_steps)
    return optimisers.adamw(rate, cfg.weight_decay, cfg.clip_norm, cfg.second_moment, cfg.decay == "linear")


def init(cfg: DecisionTransformer, ctx: Context, noise: Noise) -> State:
    sizes = (cfg.width, ctx.spec.action)
    token = cfg.position == "token"
    head = Projection(normal(noise.sub("head"), *sizes).weight) if token else torch_uniform(noise.sub("head"), *sizes)
    net = sequences.trajectory_model(noise.sub("actor"), ctx.spec, cfg, cfg.position, head, cfg.max_timestep)
    return State(Trained.new(net, optimiser(cfg)), Asked.of(ctx))


def actor_loss(net: TrajectoryModel, window: Window, mask: jax.Array | None, keep: Keep) -> tuple[jax.Array, Metrics]:
    """The error of the predicted actions of a window, over its steps that are not padding."""
    out = net(window, keep)
    if jnp.issubdtype(window.action.dtype, jnp.integer):
        policy = Categorical(out).among(mask)
        hit = policy.mode() == window.action
        error = -policy.log_prob(window.action)
        found = {"accuracy": sequences.mean_over(hit.astype(out.dtype), window.valid)}
    else:
        error = jnp.square(jnp.tanh(out) - window.action).mean(-1)
        found = {}
    return sequences.mean_over(error, window.valid), found


def update(cfg: DecisionTransformer, state: State, batch: Batch, noise: Noise, step: Step) -> tuple[State, Metrics]:
    window = sequences.window_of(batch)
    keep = sequences.keep_of(state.actor.net, noise, cfg.dropout, batch.reward.shape)
    actor, metrics = state.actor.step(optimiser(cfg), actor_loss, window, batch.mask, keep, name="actor")
    return dataclasses.replace(state, actor=actor), metrics


def memory(cfg: DecisionTransformer, spec: Spec, n: int) -> Past:
    return sequences.no_past(spec, n, cfg.context)


def target(cfg: DecisionTransformer, state: State) -> jax.Array:
    return state.asked.first(cfg.target_return)


def decide(
    cfg: DecisionTransformer, state: State, seen: Seen, memory: Past
) -> tuple[Deterministic | Categorical, Past]:
    """The distribution of the next actions, and the memory with what is seen."""
    bounds = state.asked.bounds(cfg.within_log)
    window, memory = sequences.observed(memory, seen, target(cfg, state), cfg.delayed, bounds)
    out = state.actor.net(window, newest=True)[:, 0]
    if jnp.issubdtype(window.action.dtype, jnp.integer):
        return Categorical(out).among(seen.mask), memory
    return Deterministic(jnp.tanh(out)), memory


def dist(cfg: DecisionTransformer, state: State, seen: Seen, memory: Past) -> Deterministic | Categorical:
    return decide(cfg, state, seen, memory)[0]


def act(
    cfg: DecisionTransformer, state: State, seen: Seen, memory: Past, noise: Noise, mode: Mode
) -> tuple[jax.Array, Memory]:
    policy, memory = decide(cfg, state, seen, memory)
    action = choose(policy, noise, mode)
    return action, sequences.acted(memory, action)


def needs(cfg: DecisionTransformer) -> Windows:
    anchor = "full" if cfg.position == "token" else "first"
    return Windows(cfg.context, ("return_to_go", "timestep"), anchor=anchor)  # type: ignore[arg-type]


GYM = Treatment(normalize_obs=1e-6, reward_scale=1e-3)
CODE = "authors' code, github.com/kzl/decision-transformer, "
PRESETS = {
    "gym": Preset(DecisionTransformer(), GYM, CODE + "gym/experiment.py"),
    "hopper": Preset(DecisionTransformer(target_return=(3600.0, 1800.0)), GYM, CODE + "gym/experiment.py"),
    "halfcheetah": Preset(DecisionTransformer(target_return=(12000.0, 6000.0)), GYM, CODE + "gym/experiment.py"),
    "walker2d": Preset(DecisionTransformer(target_return=(5000.0, 2500.0)), GYM, CODE + "gym/experiment.py"),
    "atari": Preset(
        DecisionTransformer(
            context=30,
            layers=6,
            heads=8,
            activation="gelu",
            position="token",
            max_timestep=10_000,
            actor_lr=6e-4,
            warmup_updates=512 * 20 / (128 * 30),
            actor_decay_steps=23_437,
            weight_decay=0.1,
            decay="linear",
            second_moment=0.95,
            clip_norm=1.0,
            batch_size=128,
        ),
        Treatment(),
        CODE + "atari/run_dt_atari.py, mingpt/, with vectors in place of images",
    ),
    "tuned_100k": Preset(
        DecisionTransformer(
            context=10, layers=2, heads=2, width=64, actor_lr=1e-3, warmup_updates=500.0, actor_decay_steps="run"
        ),
        Treatment(normalize_obs=1e-3, return_scale=1.0),
        "ours, a model of an eighth of the cost for short logs and machines: docs/algorithms/decision_transformer.md",
    ),
}

algorithm = Algorithm(
    "decision_transformer", DecisionTransformer, init, update, act, PRESETS, dist=dist, memory=memory, target=target,
    needs=needs, actions=BOTH, check=check,
)  # fmt: skip
