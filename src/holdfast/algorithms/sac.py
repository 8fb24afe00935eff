"""Soft actor-critic (Haarnoja et al. 2018, arXiv:1812.05905; equation numbers are theirs), online or offline.

Offline it is the baseline that shows why offline RL exists: nothing keeps its policy near the data.

Notation (paper = code): alpha = temperature, `initial_temperature` before the first update; H = `target_entropy`, where
0 means minus the number of action dimensions; tau = `polyak`.
Order: critics with the old temperature, temperature, actor with the new temperature and critics, targets.
As in the authors' code (softlearning) and not in the paper: the loss of the temperature is on log alpha, unless
`temperature_loss` is "exp".
Ours, off by default: `n_step` returns, LayerNorm in the critics.
"""

from __future__ import annotations

from typing import NamedTuple

import jax
import jax.numpy as jnp
import optax

from ..core.config import config, faults
from ..core.contract import Algorithm, Collect, Context, Phase, Preset, Treatment
from ..core.noise import Noise
from ..core.spec import Batch, Scalar, Step
from ..core.trained import Metrics, Trained, merge
from ..core.tree import PyTree, ema
from ..parts import nets, optimisers, targets
from ..parts.acting import act, dist
from ..parts.critics import squared_error
from ..parts.settings import Collecting, Continuing, Entropic, SoftRates


@config
class SAC:
    discount: float = 0.99  # gamma
    polyak: float = 0.005  # rate at which the target critics follow
    initial_temperature: float = 1.0  # alpha before the first update
    target_entropy: float = 0.0  # H of eq. 18, in nats; 0 means minus the number of action dimensions
    temperature_loss: str = "log"  # log: alpha's gradient through log alpha (most codes); exp: through alpha (paper)
    actor_lr: float = 3e-4  # Adam
    critic_lr: float = 3e-4  # Adam
    temperature_lr: float = 3e-4  # Adam
    critic_layer_norm: bool = False  # LayerNorm before the activations of the critics, as in RLPD
    hidden: tuple[int, ...] = (256, 256)  # widths of the hidden layers of every network
    batch_size: int = 256  # rows per update
    n_step: int = 1  # steps of the return before it bootstraps; 1 in the paper
    warmup: int = 1_000  # online: environment steps with random actions before the first update
    update_ratio: int = 1  # online: updates per environment step


class State(PyTree):
    actor: Trained
    critic: Trained
    target_critic: nets.Critic
    temperature: Trained  # of log alpha


class Optimisers(NamedTuple):
    actor: optax.GradientTransformation
    critic: optax.GradientTransformation
    temperature: optax.GradientTransformation


def check(cfg: SAC) -> list[str]:
    rules = {"temperature_loss": "log|exp", "warmup": "at least 0", "update_ratio": "positive", "n_step": "positive"}
    return faults(cfg, discount="in [0, 1]", polyak="in [0, 1]", initial_temperature="positive", **rules)


def optimisers_of(cfg: SoftRates) -> Optimisers:
    return optimisers.by_name(Optimisers, cfg)


def init(cfg: SAC, ctx: Context, noise: Noise) -> State:
    actor = nets.gaussian_heads_policy(noise.sub("actor"), ctx.spec, cfg.hidden)
    norm = "pre" if cfg.critic_layer_norm else "none"
    critic = nets.critic(noise.sub("critic"), ctx.spec, cfg.hidden, norm=norm)
    return state_of(cfg, actor, critic)


def state_of(cfg: SAC, actor: nets.Policy, critic: nets.Critic) -> State:
    """The state before the first update, for networks of any kind."""
    tx = optimisers_of(cfg)
    temperature = Trained.new(jnp.log(cfg.initial_temperature), tx.temperature)
    return State(Trained.new(actor, tx.actor), Trained.new(critic, tx.critic), critic, temperature)


def actor_loss(
    actor: nets.Policy, critic: nets.Critic, alpha: Scalar, obs: jax.Array, eps: jax.Array
) -> tuple[jax.Array, Metrics]:
    """Eq. 7 with one action per row, drawn with the standard normals `eps` [B, A]."""
    action, log_prob = actor(obs).sample_and_log_prob(eps)
    q = critic(obs, action).min(0)
    return (alpha * log_prob - q).mean(), {"entropy": -log_prob.mean(), "q": q.mean()}


def temperature_loss(
    log_alpha: jax.Array, log_prob: jax.Array, target_entropy: Scalar, kind: str = "log"
) -> tuple[jax.Array, Metrics]:
    """Moves the policy's entropy towards the target (eq. 18); `log_prob` [B] of the policy's own actions."""
    alpha = jnp.exp(log_alpha)
    return -((log_alpha if kind == "log" else alpha) * (log_prob + target_entropy)).mean(), {"alpha": alpha}


def entropy_goal(cfg: Entropic, batch: Batch) -> jax.Array:
    """`target_entropy`, or minus the number of action dimensions if it is 0."""
    return jnp.where(cfg.target_entropy == 0, -float(batch.action.shape[-1]), cfg.target_entropy)


def update(cfg: SAC, state: State, batch: Batch, noise: Noise, step: Step) -> tuple[State, Metrics]:
    tx = optimisers_of(cfg)
    alpha = jnp.exp(state.temperature.net)
    eps = noise.normal("target_action", batch.action.shape)
    next_action, next_log_prob = state.actor.net(batch.next_obs).sample_and_log_prob(eps)
    soft = state.target_critic(batch.next_obs, next_action).min(0) - alpha * next_log_prob
    y = targets.td(batch, soft, cfg.discount)
    critic, m1 = state.critic.step(tx.critic, squared_error, y, batch, name="critic")  # eq. 5

    eps = noise.normal("actor_action", batch.action.shape)
    _, log_prob = state.actor.net(batch.obs).sample_and_log_prob(eps)
    goal = entropy_goal(cfg, batch)
    temperature, m2 = state.temperature.step(
        tx.temperature, temperature_loss, log_prob, goal, cfg.temperature_loss, name="temperature"
    )  # eq. 18
    alpha = jnp.exp(temperature.net)
    actor, m3 = state.actor.step(tx.actor, actor_loss, critic.net, alpha, batch.obs, eps, name="actor")  # eq. 7
    target = ema(critic.net, state.target_critic, cfg.polyak)
    return State(actor, critic, target, temperature), merge(m1, m2, m3)


def online(cfg: Collecting) -> tuple[Phase, ...]:
    """Learning in an environment: one step, then `update_ratio` updates from the replay buffer."""
    collect = Collect(warmup=cfg.warmup, every=cfg.update_ratio)
    return (Phase("online", mix={"online": 1.0}, collect=collect),)


def finetune(cfg: Continuing) -> tuple[Phase, ...]:
    """The same learner continues with the rows that it collects, and no others: the baseline of fine-tuning methods."""
    collect = Collect(warmup=0, delay=cfg.batch_size, every=cfg.update_ratio)
    return (Phase("online", mix={"online": 1.0}, collect=collect),)


PRESETS = {
    "mujoco": Preset(
        SAC(), Treatment(), "the paper's table 1; authors' code, github.com/rail-berkeley/softlearning, variants.py"
    ),
    "tuned_online": Preset(
        SAC(initial_temperature=0.2, warmup=5_000),
        Treatment(),
        "ours, starts with the temperature of the earlier paper (1801.01290, reward scale 5): docs/algorithms/sac.md",
    ),
}

algorithm = Algorithm(
    "sac",
    SAC,
    init,
    update,
    act,
    PRESETS,
    dist=dist,
    needs=targets.n_step_rows,
    online=online,
    finetune=finetune,
    check=check,
    images=True,
)
