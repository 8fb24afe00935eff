"""IDQL, implicit diffusion Q-learning (Hansen-Estruch, Kostrikov, Janner, Kuba, Levine 2023, arXiv:2304.10573).

V and Q are those of IQL, so that no action outside the data is evaluated. A diffusion model clones the data. Acting
takes the best of N of its actions by Q. Actor and critics do not influence each other while they learn.

Notation (paper = code): tau = `expectile`; T = `diffusion_steps`; N = `candidates`; alpha (target average) = `polyak`.
Shapes: B rows, A action dimensions, E = `critics`.
Order, as in the authors' code: actor, its average, V, critics with the new V, target critics.
As in the authors' code: residual blocks with dropout and LayerNorm; AdamW with weight decay for the actor, whose rate
falls along a cosine; the average of the actor acts; x_t is clipped at every step; the target critics judge, by their
minimum. Fine-tuning trains the critics only, on batches of 256 rows, half of them data.
Ours: all rows are trained on (the authors hold 5 % of them back); Glorot's initial weights in the residual blocks too
(the authors: LeCun's); `n_step` returns, 1 in the paper. In mode "best" the candidates come from the same noise in
every state, so that the policy is a function of the observation; mode "sample" acts as the authors evaluate.
"""

from __future__ import annotations

import dataclasses
from typing import NamedTuple

import jax
import optax

from ..core.config import Schedule, config, faults, static
from ..core.contract import SCALED, Algorithm, Collect, Context, Phase, Preset, Treatment
from ..core.noise import Noise
from ..core.spec import Batch, Memory, Mode, Seen, Step
from ..core.trained import Metrics, Trained, merge
from ..core.tree import PyTree, ema
from ..parts import candidates, diffusion, initialisers, layers, nets, optimisers, targets
from ..parts.critics import mean_squared_error
from ..parts.diffusion import ResidualNet
from .iql import value_loss


@config
class IDQL:
    expectile: float = 0.7  # tau: expectile of V over the actions in the data; 0.9 on AntMaze
    candidates: int = 64  # N: actions of the actor from which the critics choose when acting
    critics: int = 2  # size of the ensemble
    diffusion_steps: int = 5  # T: steps from noise to an action
    discount: float = 0.99  # gamma
    n_step: int = 1  # steps of the return before it bootstraps; 1 in the paper
    polyak: float = 0.005  # rate at which the target critics follow
    actor_polyak: float = 0.001  # rate at which the average of the actor follows
    actor_dropout: float = static(default=0.1)  # share of the inputs of each residual block left out in training
    actor_weight_decay: float = 1e-4  # AdamW
    actor_lr: float = 3e-4  # AdamW
    actor_decay_steps: Schedule = "run"  # rate of the actor: constant, or a cosine over the run or N updates
    value_lr: float = 3e-4  # Adam
    critic_lr: float = 3e-4  # Adam
    critic_decay_steps: Schedule = "constant"  # the same for the rates of value and critics
    block_hidden: tuple[int, ...] = (256, 256, 256)  # width of each residual block, all alike; four times that inside
    hidden: tuple[int, ...] = (256, 256)  # widths of the hidden layers of value and critics
    batch_size: int = 512  # rows per update
    online_batch_size: int = 256  # fine-tuning: rows per update
    update_ratio: int = 1  # fine-tuning: updates per environment step


class State(PyTree):
    actor: Trained
    value: Trained
    critic: Trained
    average_actor: ResidualNet
    target_critic: nets.Critic


class Optimisers(NamedTuple):
    actor: optax.GradientTransformation
    value: optax.GradientTransformation
    critic: optax.GradientTransformation


def check(cfg: IDQL) -> list[str]:
    counts = ("candidates", "critics", "diffusion_steps", "n_step", "block_hidden")
    rules = dict.fromkeys((*counts, "online_batch_size", "update_ratio"), "positive")
    rules |= dict.fromkeys(("discount", "polyak", "actor_polyak"), "in [0, 1]")
    found = faults(cfg, expectile="in (0, 1)", actor_dropout="in [0, 1)", actor_weight_decay="at least 0", **rules)
    if len(set(cfg.block_hidden)) != 1:
        found.append(f"block_hidden is {cfg.block_hidden}, expected at least one width, and equal ones")
    return found


def optimisers_of(cfg: IDQL) -> Optimisers:
    actor = optimisers.cosine(cfg.actor_lr, cfg.actor_decay_steps)
    return Optimisers(
        actor=optimisers.adamw(actor, cfg.actor_weight_decay),
        value=optimisers.scheduled(cfg.value_lr, cfg.critic_decay_steps),
        critic=optimisers.scheduled(cfg.critic_lr, cfg.critic_decay_steps),
    )


def init(cfg: IDQL, ctx: Context, noise: Noise) -> State:
    weights = initialisers.xavier()
    actor = diffusion.residual_net(noise.sub("actor"), ctx.spec, cfg.block_hidden)
    value = nets.value(noise.sub("value"), ctx.spec, cfg.hidden, init=weights)
    critic = nets.critic(noise.sub("critic"), ctx.spec, cfg.hidden, cfg.critics, init=weights)
    return state_of(cfg, actor, value, critic)


def state_of(cfg: IDQL, actor: ResidualNet, value: nets.Value, critic: nets.Critic) -> State:
    """The state before the first update."""
    tx = optimisers_of(cfg)
    trained = (Trained.new(actor, tx.actor), Trained.new(value, tx.value), Trained.new(critic, tx.critic))
    return State(*trained, actor, critic)


def actor_loss(
    actor: ResidualNet, batch: Batch, t: jax.Array, eps: jax.Array, keep: tuple[jax.Array, ...], steps: int
) -> tuple[jax.Array, Metrics]:
    """Squared error of the predicted noise, summed over action dimensions; t [B], eps [B, A], keep as in dropout."""

    def net(obs: jax.Array, x: jax.Array, t: jax.Array) -> jax.Array:
        return actor(obs, x, t, keep)

    return diffusion.error(net, batch.obs, batch.action, eps, t, steps).sum(-1).mean(), {}


def learn_values(cfg: IDQL, state: State, batch: Batch, noise: Noise, step: Step) -> tuple[State, Metrics]:
    """The update of value and critics, all that fine-tuning does."""
    tx = optimisers_of(cfg)
    q = state.target_critic(batch.obs, batch.action).min(0)
    value, m1 = state.value.step(tx.value, value_loss, q, batch.obs, cfg.expectile, name="value")
    y = targets.td(batch, value.net(batch.next_obs), cfg.discount)
    critic, m2 = state.critic.step(tx.critic, mean_squared_error, y, batch, name="critic")
    target = ema(critic.net, state.target_critic, cfg.polyak)
    return dataclasses.replace(state, value=value, critic=critic, target_critic=target), merge(m1, m2)


def update(cfg: IDQL, state: State, batch: Batch, noise: Noise, step: Step) -> tuple[State, Metrics]:
    shape = batch.action.shape
    t = noise.integers("actor_t", shape[:1], cfg.diffusion_steps)
    keep = layers.dropout(noise, "actor_dropout", cfg.actor_dropout, shape[:1], cfg.block_hidden)
    given = (batch, t, noise.normal("actor_eps", shape), keep, cfg.diffusion_steps)
    actor, m1 = state.actor.step(optimisers_of(cfg).actor, actor_loss, *given, name="actor")
    average = ema(actor.net, state.average_actor, cfg.actor_polyak)
    state, m2 = learn_values(cfg, dataclasses.replace(state, actor=actor, average_actor=average), batch, noise, step)
    return state, merge(m1, m2)


def act(cfg: IDQL, state: State, seen: Seen, memory: Memory, noise: Noise, mode: Mode) -> tuple[jax.Array, Memory]:
    actor = state.average_actor
    size = actor.last.bias.shape[-1]
    eps = diffusion.acting_noise(noise, mode, cfg.diffusion_steps, cfg.candidates, seen.reward.shape[0], size)
    action = diffusion.by_steps(actor, seen.obs, eps)
    return candidates.best(state.target_critic(seen.obs, action).min(0), action), memory


def finetune(cfg: IDQL) -> tuple[Phase, ...]:
    """The critics alone learn, from step 5,000 on; half of each batch is data."""
    collect = Collect(warmup=0, delay=5_000, every=cfg.update_ratio)
    mix = {"data": 0.5, "online": 0.5}
    return (Phase("online", update=learn_values, batch_size=cfg.online_batch_size, mix=mix, collect=collect),)


CODE = "authors' code, github.com/philippe-eecs/IDQL, launcher/examples/train_ddpm_iql_offline.py"
CLIPPED = Treatment(clip_actions=1e-5)
PRESETS = {
    "mujoco": Preset(IDQL(), CLIPPED._replace(return_scale=1000.0), CODE),
    "antmaze": Preset(IDQL(expectile=0.9), CLIPPED._replace(reward_shift=-1.0), CODE),
    "tuned_100k": Preset(
        IDQL(
            polyak=0.01,
            actor_polyak=0.005,
            actor_dropout=0.0,
            actor_lr=1e-3,
            value_lr=1e-3,
            critic_lr=1e-3,
            critic_decay_steps="run",
            block_hidden=(128, 128, 128),
            hidden=(256, 256, 256),
        ),
        SCALED._replace(clip_actions=1e-5),
        "ours, a smaller actor and faster rates, for short logs: docs/algorithms/idql.md",
    ),
}

algorithm = Algorithm(
    "idql", IDQL, init, update, act, PRESETS, needs=targets.n_step_rows, finetune=finetune, check=check
)
