"""CQL, conservative Q-learning (Kumar, Zhou, Tucker, Levine 2020, arXiv:2006.04779; equation numbers are theirs).

SAC whose critics pay for high values of actions that a distribution mu proposes, and gain from high values of the
logged actions. Values outside the data become low, and the value of the policy is bounded from below.

Notation (paper = code): alpha = `alpha`; tau = `gap`; R(mu) = `mu`; N = `n_actions`.
`mu` softmax is CQL(H), eq. 4, with importance weights. `mu` rho is CQL(rho) as in the authors' code, version 2: no
importance weights, and the logged action is one of the candidates. Both are in the paper.
Order of an update, as in the authors' code: temperature, actor, critics, dual variable, targets. Actor and critics use
the networks from before the update, the actor with the new temperature, the critics with the old dual variable.
As in the authors' code and not in the paper: the squared error has no factor 1/2, so `alpha` counts half of the
paper's; the candidates are N uniform actions, N of the policy at s and N of the policy at s', all valued at s; the
target has no entropy; alpha is inside the bracket of the dual form; the actor clones the data for `cloning_steps`.
Not as there: the density of a squashed normal is exact (theirs adds 1e-6 to 1 - a^2, which saturates at the bounds).
Online (phase "online" of a fine-tuning run): plain SAC from the actor and the critics, on new rows alone.
"""

from __future__ import annotations

from typing import ClassVar, NamedTuple

import jax
import jax.numpy as jnp
import optax

from ..core.config import config, faults, narrowed
from ..core.contract import SCALED, Algorithm, Collect, Context, Phase, Preset, Treatment
from ..core.noise import Noise
from ..core.spec import Batch, Scalar, Step
from ..core.trained import Metrics, Trained, merge
from ..core.tree import PyTree, ema
from ..parts import conservative, nets, optimisers, targets
from ..parts.acting import act, dist
from ..parts.settings import ConservativeRates
from . import sac


@config
class CQL:
    REMOVED: ClassVar = {"data_term": True}  # a setting of version 0.1.0
    alpha: float = 5.0  # weight of the penalty; 5 or 10 in the authors' readme, 10 in CORL
    mu: str = "softmax"  # softmax for CQL(H), rho for CQL(rho)
    penalty_temperature: float = 1.0  # T of T logsumexp(Q / T)
    n_actions: int = 10  # N, candidates of each kind per row
    lagrange: bool = False  # learn the weight so that the difference of values stays at `gap`
    gap: float = 5.0  # tau, the target of the penalty if lagrange is on; 5 on AntMaze
    dual_lr: float = 3e-4  # Adam, of log alpha' if lagrange is on
    backup_actions: int = 1  # policy actions at s'; the target takes the best of them, for each critic
    entropy_backup: bool = False  # entropy in the target; the opposite of deterministic_backup in the code
    cloning_steps: int = 40_000  # updates in which the actor clones the data
    discount: float = 0.99  # gamma
    n_step: int = 1  # steps of the return before it bootstraps; 1 in the paper
    polyak: float = 0.005  # rate at which the target critics follow
    initial_temperature: float = 1.0  # of the entropy term, before the first update
    target_entropy: float = 0.0  # in nats; 0 means minus the number of action dimensions
    actor_lr: float = 1e-4  # Adam; CORL 3e-5
    critic_lr: float = 3e-4  # Adam
    temperature_lr: float = 1e-4  # Adam; policy_lr in the code
    hidden: tuple[int, ...] = (256, 256, 256)  # widths of the hidden layers of every network
    batch_size: int = 256  # rows per update
    update_ratio: int = 1  # online: updates per environment step


class State(PyTree):
    actor: Trained
    critic: Trained
    target_critic: nets.Critic
    temperature: Trained  # of log alpha, the weight of the entropy
    dual: Trained  # of log alpha', the weight of the penalty; moved if lagrange is on


class Optimisers(NamedTuple):
    actor: optax.GradientTransformation
    critic: optax.GradientTransformation
    temperature: optax.GradientTransformation
    dual: optax.GradientTransformation


def check(cfg: CQL) -> list[str]:
    positive = ("penalty_temperature", "n_actions", "backup_actions", "initial_temperature", "update_ratio")
    rules = dict.fromkeys(positive, "positive") | dict.fromkeys(("alpha", "gap", "cloning_steps"), "at least 0")
    found = faults(cfg, n_step="positive", mu="softmax|rho", discount="in [0, 1]", polyak="in [0, 1]", **rules)
    if cfg.entropy_backup and cfg.backup_actions > 1:
        found.append(f"backup_actions is {cfg.backup_actions!r}, expected 1 with entropy_backup")
    return found


def optimisers_of(cfg: ConservativeRates) -> Optimisers:
    return optimisers.by_name(Optimisers, cfg)


def init(cfg: CQL, ctx: Context, noise: Noise) -> State:
    tx = optimisers_of(cfg)
    actor = nets.gaussian_heads_policy(noise.sub("actor"), ctx.spec, cfg.hidden, low=-5.0, high=2.0, squash="tanh")
    critic = nets.critic(noise.sub("critic"), ctx.spec, cfg.hidden)
    temperature = Trained.new(jnp.log(cfg.initial_temperature), tx.temperature)
    trained = (Trained.new(actor, tx.actor), Trained.new(critic, tx.critic))
    return State(*trained, critic, temperature, Trained.new(jnp.zeros(()), tx.dual))


def actor_loss(
    actor: nets.Policy, critic: nets.Critic, alpha: Scalar, batch: Batch, eps: jax.Array, cloning: jax.Array | bool
) -> tuple[jax.Array, Metrics]:
    """The loss of SAC; while `cloning`, the log-density of the logged action replaces Q. `eps` [B, A]."""
    policy = actor(batch.obs)
    action, log_prob = policy.sample_and_log_prob(eps)
    q = critic(batch.obs, action).min(0)
    likelihood = policy.log_prob(batch.action)
    loss = (alpha * log_prob - jnp.where(cloning, likelihood, q)).mean()
    return loss, {"entropy": -log_prob.mean(), "q": q.mean(), "log_prob": likelihood.mean()}


def value_of_mu(cfg: CQL, q: jax.Array, q_data: jax.Array, log_density: jax.Array) -> jax.Array:
    """E_mu Q + R(mu) for each critic: q [E, K, B] at the candidates, q_data [E, B] at the logged actions; [E]."""
    q = jnp.concatenate([q_data[:, None], q], 1) if cfg.mu == "rho" else q - log_density[None]
    return conservative.soft_maximum(q, cfg.penalty_temperature).mean(1)


def critic_loss(
    critic: nets.Critic, y: jax.Array, batch: Batch, action: jax.Array, log_density: jax.Array, cfg: CQL, dual: Scalar
) -> tuple[jax.Array, Metrics]:
    """Eq. 4 for targets `y` [B], candidates `action` [K, B, A] and their `log_density` [K, B]."""
    q_data, q = conservative.values(critic, batch, action)
    difference = value_of_mu(cfg, q, q_data, log_density) - q_data.mean(1)
    td = jnp.square(q_data - y[None]).mean(1)
    penalty = conservative.penalty(difference, cfg.alpha, cfg.gap, dual, cfg.lagrange)
    metrics = {"td": td.mean(), "penalty": penalty.mean(), "difference": difference.mean(), "target": y.mean()}
    return (td + penalty).sum(), metrics | {"q": q_data.mean(), "q_mu": q.mean()}


def update(cfg: CQL, state: State, batch: Batch, noise: Noise, step: Step) -> tuple[State, Metrics]:
    tx = optimisers_of(cfg)
    policy = state.actor.net(batch.obs)
    next_policy = state.actor.net(batch.next_obs)
    eps = noise.normal("policy_action", batch.action.shape)
    _, log_prob = policy.sample_and_log_prob(eps)
    goal = sac.entropy_goal(cfg, batch)
    temperature, m1 = state.temperature.step(tx.temperature, sac.temperature_loss, log_prob, goal, name="temperature")
    alpha = jnp.exp(temperature.net)
    given = (state.critic.net, alpha, batch, eps, step < cfg.cloning_steps)
    actor, m2 = state.actor.step(tx.actor, actor_loss, *given, name="actor")

    n = cfg.backup_actions
    next_eps = noise.normal("target_action", (n, *batch.action.shape))
    next_action, next_log_prob = next_policy.repeat(n).sample_and_log_prob(next_eps)
    next_obs = jnp.broadcast_to(batch.next_obs, (n, *batch.next_obs.shape))
    next_q = state.target_critic(next_obs, next_action).max(1).min(0)
    y = targets.td(batch, next_q - alpha * next_log_prob[0] if cfg.entropy_backup else next_q, cfg.discount)
    action, log_density = conservative.candidates(cfg.n_actions, policy, next_policy, batch, noise)
    weight = conservative.dual_weight(state.dual.net)
    critic, m3 = state.critic.step(tx.critic, critic_loss, y, batch, action, log_density, cfg, weight, name="critic")

    dual, m4 = conservative.dual_step(state.dual, tx.dual, m3["critic/difference"], cfg.alpha, cfg.gap, cfg.lagrange)
    target = ema(critic.net, state.target_critic, cfg.polyak)
    return State(actor, critic, target, temperature, dual), merge(m1, m2, m3, m4)


def enter(cfg: CQL, state: State, ctx: Context, noise: Noise) -> sac.State:
    """The state of SAC; the dual variable of the penalty is dropped."""
    return sac.State(state.actor, state.critic, state.target_critic, state.temperature)


def online_update(cfg: CQL, state: sac.State, batch: Batch, noise: Noise, step: Step) -> tuple[sac.State, Metrics]:
    """Plain SAC: critics with the old temperature, temperature, actor with the new temperature and critics, targets."""
    return sac.update(narrowed(sac.SAC, cfg), state, batch, noise, step)


def finetune(cfg: CQL) -> tuple[Phase, ...]:
    collect = Collect(warmup=0, delay=cfg.batch_size, every=cfg.update_ratio)
    return (Phase("online", update=online_update, mix={"online": 1.0}, enter=enter, collect=collect),)


CODE = "authors' code, github.com/aviralkumar2907/CQL, README.md, d4rl/examples/cql_"
PRESETS = {
    "mujoco": Preset(CQL(), Treatment(), CODE + "mujoco_new.py"),
    "antmaze": Preset(CQL(lagrange=True), Treatment(reward_shift=-0.5, reward_scale=4.0), CODE + "antmaze_new.py"),
    "corl": Preset(
        CQL(alpha=10.0, actor_lr=3e-5, temperature_lr=3e-5, cloning_steps=0),
        Treatment(normalize_obs=1e-3),
        "CORL, configs/offline/cql/halfcheetah/medium_v2.yaml (its orthogonal initial weights are left out)",
    ),
    "tuned_100k": Preset(
        CQL(alpha=1.0, mu="rho", penalty_temperature=0.05, initial_temperature=0.05, cloning_steps=3_000),
        SCALED,
        "ours, chosen on logs of 100,000 steps: docs/algorithms/cql.md",
    ),
}

algorithm = Algorithm(
    "cql", CQL, init, update, act, PRESETS, needs=targets.n_step_rows, dist=dist, finetune=finetune, check=check
)
