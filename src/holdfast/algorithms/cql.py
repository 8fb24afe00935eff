"""Conservative Q-learning (Kumar, Zhou, Tucker, Levine 2020, arXiv:2006.04779; equation numbers are theirs).

SAC whose critics also pay for every action that mu would take and are paid for the logged one, so that values off the
data are low and a lower bound on the policy's value holds. mu decides the variant: see `mu` below.

Paper -> here: alpha alpha (inside the bracket of the dual form, as in the code), tau gap, R(mu) mu, N n_actions.
Order, as in the authors' code: temperature, actor, critics, dual variable, targets. The losses of actor and critics are
built from the networks as they were before the update, the actor's with the new temperature, the critics' with the old
dual variable.
As in the authors' code and not in the paper: the squared error has no 1/2 (so alpha counts half of the paper's); the
candidates are N uniform actions, N of the policy at s and N of the policy at s', all valued at s; no entropy in the
target; the first `cloning_steps` updates clone the data instead of following Q.
Not as in the authors' code: the density of a squashed normal is exact (theirs adds 1e-6 to 1 - a^2), and
`cloning_steps` is 2 000 by default, for runs of some ten thousand updates; preset "published" has their 40 000.
Ours: preset "small" is CQL(rho), which holds where logged actions stand at their bounds (docs/algorithms/cql.md).
Online, phase "online" of a fine-tuning run: plain SAC from the actor and the critics as they are, on new rows alone.
mu: softmax is CQL(H), eq. 4, with importance weights; rho is CQL(rho) with rho the policy, as the code's version 2 (no
weights, the logged action among the candidates); max is R = 0, the best candidate; policy and uniform hold mu fixed.
"""

from __future__ import annotations

import math
from typing import Any

import jax
import jax.numpy as jnp

from ..core.config import config, faults
from ..core.contract import SCALED, Algorithm, Collect, Context, Phase, Preset, Treatment
from ..core.noise import Noise
from ..core.spec import Batch, Step
from ..core.trained import Metrics, Trained, merge
from ..core.tree import PyTree, ema
from ..parts import nets, optimisers, targets
from . import sac
from .sac import act, dist, entropy_goal, temperature_loss


@config
class CQL:
    alpha: float = 5.0  # weight of the penalty; the code's 5 on MuJoCo and AntMaze, 10 in CORL
    mu: str = "softmax"  # which actions are pushed down: softmax, rho, max, policy, uniform; see the top
    data_term: bool = True  # less Q of the logged actions (eq. 2); False: eq. 1, which bounds every Q(s, a) from below
    penalty_temperature: float = 1.0  # T of T logsumexp(Q / T); softmax and rho only
    n_actions: int = 10  # N, candidates of each kind a row
    lagrange: bool = False  # learn the weight so that the difference of values stays at `gap`
    gap: float = 5.0  # tau; the penalty's target where lagrange is on; 5 on AntMaze, CORL 0.8
    dual_lr: float = 3e-4  # Adam, of log alpha' where lagrange is on
    backup_actions: int = 1  # policy actions at s', the best of which makes the target (per critic); 10: max_q_backup
    entropy_backup: bool = False  # soft targets; the code's deterministic_backup is its opposite
    cloning_steps: int = 2_000  # updates in which the actor clones the data; the code's 40 000
    discount: float = 0.99  # gamma
    polyak: float = 0.005  # rate at which the target critics follow
    initial_temperature: float = 1.0  # of the entropy term, before the first update
    target_entropy: float = 0.0  # in nats; 0 stands for minus the number of action dimensions
    actor_lr: float = 1e-4  # Adam; CORL 3e-5
    critic_lr: float = 3e-4  # Adam
    temperature_lr: float = 1e-4  # Adam; the code's policy_lr
    hidden: tuple[int, ...] = (256, 256, 256)  # widths of the hidden layers of every network
    batch_size: int = 256  # rows an update
    update_ratio: int = 1  # online: updates an environment step


class State(PyTree):
    actor: Trained
    critic: Trained
    target_critic: nets.Critic
    temperature: Trained  # of log alpha, the entropy's
    dual: Trained  # of log alpha', the penalty's; moved where lagrange is on


def check(cfg: CQL) -> list[str]:
    rules = {"alpha": "at least 0", "gap": "at least 0", "penalty_temperature": "positive", "n_actions": "positive"}
    rules |= {"mu": "softmax|rho|max|policy|uniform", "backup_actions": "positive", "cloning_steps": "at least 0"}
    rules |= {"update_ratio": "positive"}
    found = faults(cfg, discount="in [0, 1]", polyak="in [0, 1]", initial_temperature="positive", **rules)
    if cfg.entropy_backup and cfg.backup_actions > 1:
        found.append("entropy_backup is on, expected one of backup_actions then: the best of several has no entropy")
    return found


def init(cfg: CQL, ctx: Context, noise: Noise) -> State:
    actor = nets.policy(noise.sub("actor"), ctx.spec, cfg.hidden, "heads", low=-5.0, high=2.0, squash="tanh")
    critic = nets.critic(noise.sub("critic"), ctx.spec, cfg.hidden)
    return State(
        Trained.new(actor, optimisers.adam(cfg.actor_lr)),
        Trained.new(critic, optimisers.adam(cfg.critic_lr)),
        critic,
        Trained.new(jnp.log(cfg.initial_temperature), optimisers.adam(cfg.temperature_lr)),
        Trained.new(jnp.zeros(()), optimisers.adam(cfg.dual_lr)),
    )


def actor_loss(actor: nets.Policy, critic: nets.Critic, alpha: Any, batch: Batch, eps: jax.Array, cloning: Any) -> Any:
    law = actor(batch.obs)
    action, log_prob = law.sample_and_log_prob(eps)
    q, likelihood = critic(batch.obs, action).min(0), law.log_prob(batch.action)
    loss = (alpha * log_prob - jnp.where(cloning, likelihood, q)).mean()
    return loss, {"entropy": -log_prob.mean(), "q": q.mean(), "log_prob": likelihood.mean()}


def candidates(cfg: CQL, law: Any, next_law: Any, batch: Batch, noise: Noise) -> tuple[jax.Array, jax.Array]:
    """The actions that stand for mu and their log-densities: [K, B, A] and [K, B]."""
    shape = (cfg.n_actions, *batch.action.shape)
    drawn = []
    if cfg.mu != "policy":
        uniform = 2 * noise.uniform("random_action", shape) - 1
        drawn.append((uniform, jnp.full(shape[:2], -shape[2] * math.log(2))))
    if cfg.mu not in ("policy", "uniform"):
        drawn.append(next_law.repeat(cfg.n_actions).sample_and_log_prob(noise.normal("cql_next_action", shape)))
    if cfg.mu != "uniform":
        drawn.append(law.repeat(cfg.n_actions).sample_and_log_prob(noise.normal("cql_current_action", shape)))
    action, log_density = zip(*drawn, strict=True)
    return jnp.concatenate(action), jnp.concatenate(log_density)


def value_of_mu(cfg: CQL, q: jax.Array, q_data: jax.Array, log_density: jax.Array) -> jax.Array:
    """E_mu Q, plus R(mu) where it is an entropy, for each critic: q [E, K, B] at the candidates, q_data [E, B]; [E]."""
    if cfg.mu in ("policy", "uniform"):
        return q.mean((1, 2))
    if cfg.mu == "max":
        return q.max(1).mean(1)
    t = cfg.penalty_temperature
    q = jnp.concatenate([q_data[:, None], q], 1) if cfg.mu == "rho" else q - log_density[None]
    return t * jax.nn.logsumexp(q / t, 1).mean(1)


def values(critic: nets.Critic, batch: Batch, action: jax.Array) -> tuple[jax.Array, jax.Array]:
    """Q at the logged actions [E, B] and at candidates [K, B, A], all at s, [E, K, B]: one call on [(1 + K) B] rows."""
    action = jnp.concatenate([batch.action[None], action])
    obs = jnp.broadcast_to(batch.obs, (len(action), *batch.obs.shape))
    q = critic(obs.reshape(-1, obs.shape[-1]), action.reshape(-1, action.shape[-1]))
    q = q.reshape(len(q), *action.shape[:2])
    return q[:, 0], q[:, 1:]


def penalty_of(cfg: Any, difference: jax.Array, dual: Any) -> jax.Array:
    """What each critic pays for its difference of values [E]: weighted by `alpha`, or by the dual variable too."""
    return dual * (cfg.alpha * difference - cfg.gap) if cfg.lagrange else cfg.alpha * difference


def critic_loss(
    critic: nets.Critic, y: jax.Array, batch: Batch, action: jax.Array, log_density: jax.Array, cfg: CQL, dual: Any
) -> tuple[jax.Array, Metrics]:
    """Eq. 4."""
    q_data, q = values(critic, batch, action)
    difference = value_of_mu(cfg, q, q_data, log_density) - (q_data.mean(1) if cfg.data_term else 0)
    td, penalty = jnp.square(q_data - y[None]).mean(1), penalty_of(cfg, difference, dual)
    found = {"td": td.mean(), "penalty": penalty.mean(), "difference": difference.mean()}
    return (td + penalty).sum(), found | {"q": q_data.mean(), "q_mu": q.mean(), "target": y.mean()}


def dual_loss(log_dual: jax.Array, difference: jax.Array, cfg: Any) -> tuple[jax.Array, Metrics]:
    """Ascent on the dual variable, `difference` averaged over critics."""
    dual = weight_of(log_dual)
    return -dual * (cfg.alpha * difference - cfg.gap), {"value": dual}


def weight_of(log_dual: jax.Array) -> jax.Array:
    return jnp.clip(jnp.exp(log_dual), 0, 1e6)


def update(cfg: CQL, state: State, batch: Batch, noise: Noise, step: Step) -> tuple[State, Metrics]:
    shape = batch.action.shape
    law, next_law = state.actor.net(batch.obs), state.actor.net(batch.next_obs)
    eps = noise.normal("policy_action", shape)
    _, log_prob = law.sample_and_log_prob(eps)
    tx, goal = optimisers.adam(cfg.temperature_lr), entropy_goal(cfg, batch)
    temperature, m1 = state.temperature.step(tx, temperature_loss, log_prob, goal, name="temperature")
    alpha, tx = jnp.exp(temperature.net), optimisers.adam(cfg.actor_lr)
    cloning = step < cfg.cloning_steps
    actor, m2 = state.actor.step(tx, actor_loss, state.critic.net, alpha, batch, eps, cloning, name="actor")

    n = cfg.backup_actions
    next_action, next_log_prob = next_law.repeat(n).sample_and_log_prob(noise.normal("target_action", (n, *shape)))
    next_obs = jnp.broadcast_to(batch.next_obs, (n, *batch.next_obs.shape))
    next_q = state.target_critic(next_obs, next_action).max(1).min(0)
    y = targets.td(batch, next_q - alpha * next_log_prob[0] if cfg.entropy_backup else next_q, cfg.discount)
    given = (y, batch, *candidates(cfg, law, next_law, batch, noise), cfg, weight_of(state.dual.net))
    critic, m3 = state.critic.step(optimisers.adam(cfg.critic_lr), critic_loss, *given, name="critic")
    dual, m4 = state.dual, Metrics()
    if cfg.lagrange:
        dual, m4 = dual.step(optimisers.adam(cfg.dual_lr), dual_loss, m3["critic/difference"], cfg, name="dual")
    target = ema(critic.net, state.target_critic, cfg.polyak)
    return State(actor, critic, target, temperature, dual), merge(m1, m2, m3, m4)


def enter(cfg: CQL, state: State, ctx: Context, noise: Noise) -> sac.State:
    """What SAC keeps; the penalty's dual variable is left behind."""
    return sac.State(state.actor, state.critic, state.target_critic, state.temperature)


def online_update(cfg: CQL, state: sac.State, batch: Batch, noise: Noise, step: Step) -> tuple[sac.State, Metrics]:
    same = ("discount", "polyak", "target_entropy", "actor_lr", "critic_lr", "temperature_lr")
    return sac.update(sac.SAC(**{name: getattr(cfg, name) for name in same}), state, batch, noise, step)


def finetune(cfg: CQL) -> tuple[Phase, ...]:
    collect = Collect(warmup=0, delay=cfg.batch_size, every=cfg.update_ratio)
    return (Phase("online", update=online_update, mix={"online": 1.0}, enter=enter, collect=collect),)


CODE = "authors' code, github.com/aviralkumar2907/CQL, d4rl/"
ANTMAZE = CQL(lagrange=True, backup_actions=10, cloning_steps=40_000)
SMALL = CQL(alpha=1.0, mu="rho", penalty_temperature=0.05, initial_temperature=0.05, cloning_steps=3_000)
PRESETS = {
    "small": Preset(
        SMALL,
        SCALED,
        "ours, chosen on logs of 100,000 steps: docs/algorithms/cql.md",
    ),
    "mujoco": Preset(CQL(), Treatment(), CODE + "examples/cql_mujoco_new.py, a shorter cloning start"),
    "published": Preset(CQL(cloning_steps=40_000), Treatment(), CODE + "examples/cql_mujoco_new.py"),
    "antmaze": Preset(ANTMAZE, Treatment(reward_shift=-0.5, reward_scale=4.0), CODE + "examples/cql_antmaze_new.py"),
    "corl": Preset(
        CQL(alpha=10.0, actor_lr=3e-5, temperature_lr=3e-5, cloning_steps=0),
        Treatment(normalize_obs=1e-3),
        "CORL, configs/offline/cql (MuJoCo), without its orthogonal initial weights",
    ),
}

algorithm = Algorithm("cql", CQL, init, update, act, PRESETS, dist=dist, finetune=finetune, check=check)
