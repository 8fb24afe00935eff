"""CRR, critic-regularised regression (Wang et al. 2020, arXiv:2006.15134; equation numbers are theirs).

The policy is cloned from the data with weights f(A), where A is the advantage of the logged action over the policy's
own actions: exp(A / beta), or 1 if A > 0. The critic evaluates the target policy at one sample per state.

Notation (paper = code): f = `weight`; beta = `temperature`; m = `n_actions`; the estimate of A = `advantage` (mean or
max over m actions of the policy).
Order of an update: critic, actor with the new critic, targets of both.
As in d3rlpy's and Acme's codes and not in the paper: the critic is scalar, not distributional. As in d3rlpy: with
several critics the smallest is used in targets and their mean in advantages; targets follow slowly, or are copied
every `target_every` updates if `polyak` is 1 (paper, Acme: every 100).
`acting` critic is the paper's critic-weighted policy (appendix): one of `acting_actions` draws, with probability
proportional to exp Q. It is a setting, because the paper reports the same method with and without it. Mode "best" takes
the draw with the highest Q, from constant normals, so that it is a function of the state. `dist` of a continuous policy
gives densities before that choice.
Ours: `min_log_std`, a dropout of the actor and rates that follow a cosine (preset `tuned_100k`), because logged actions
at the bounds let densities grow without end; discrete actions, for which expectations and maxima over the legal actions
of the policy, and the critic-weighted policy, are exact.
"""

from __future__ import annotations

import jax
import jax.numpy as jnp

from ..core.config import Schedule, config, faults, static
from ..core.contract import BOTH, SCALED, Algorithm, Context, Preset, Treatment
from ..core.noise import Noise
from ..core.spec import Batch, Memory, Mode, Seen, Step
from ..core.trained import Metrics, merge
from ..parts import candidates, losses, nets, optimisers, targets
from ..parts.cloning import weighted_cloning
from ..parts.critics import squared_error
from ..parts.distributions import Categorical, Distribution, Normal, choose, draw
from ..parts.optimisers import ActorCritic
from .td3 import State, state_of


@config
class CRR:
    weight: str = "binary"  # f: exp (eq. 4) or binary (eq. 3)
    advantage: str = "mean"  # over the policy's actions: mean or max
    temperature: float = 1.0  # beta of exp
    discrete_temperature: float = 15.0  # beta for discrete actions; ours, because advantages are larger there
    max_weight: float = 20.0  # cap on exp(A / beta)
    n_actions: int = 4  # m, actions of the policy behind the advantage
    min_log_std: float = static(default=-20.0)  # least log standard deviation of the policy
    acting: str = "critic"  # policy, or critic for the critic-weighted policy
    acting_actions: int = 4  # draws that the critic-weighted policy chooses from
    discount: float = 0.99  # gamma
    n_step: int = 1  # steps of the return before it bootstraps; 1 in the paper
    polyak: float = 0.005  # rate at which the targets follow; 1 for copies
    target_every: int = 1  # updates between the steps of the targets; 100 with polyak 1 in the paper and in Acme
    actor_lr: float = 3e-4  # Adam
    actor_decay_steps: Schedule = "constant"  # rate of the actor: constant, or a cosine over the run or N updates
    critic_lr: float = 3e-4  # Adam
    critic_decay_steps: Schedule = "constant"  # the same for the critics
    actor_dropout: float = static(default=0.0)  # share of the actor's hidden units that an update leaves out
    n_critics: int = 1  # critics; the smallest is used in targets
    hidden: tuple[int, ...] = (256, 256)  # widths of the hidden layers of every network
    batch_size: int = 256  # rows per update


def check(cfg: CRR) -> list[str]:
    rules = dict.fromkeys(("n_actions", "acting_actions", "target_every", "n_critics"), "positive")
    rules |= dict.fromkeys(("temperature", "discrete_temperature", "max_weight"), "positive")
    rules |= {"weight": "exp|binary", "advantage": "mean|max", "acting": "policy|critic"}
    rules |= {"discount": "in [0, 1]", "polyak": "in [0, 1]", "actor_dropout": "in [0, 1)"}
    return faults(cfg, n_step="positive", **rules)


def optimisers_of(cfg: CRR) -> ActorCritic:
    return optimisers.decaying(cfg)


def init(cfg: CRR, ctx: Context, noise: Noise) -> State:
    low = cfg.min_log_std
    actor = nets.gaussian_heads_policy(noise.sub("actor"), ctx.spec, cfg.hidden, low=low, squash="mean")
    critic = nets.critic(noise.sub("critic"), ctx.spec, cfg.hidden, n=cfg.n_critics)
    return state_of(optimisers_of(cfg), actor, critic)


def next_value(policy: Distribution, critic: nets.Critic, obs: jax.Array, noise: Noise) -> jax.Array:
    """The smallest critic at one action of the policy, or its expectation over discrete actions: [B]."""
    if isinstance(policy, Categorical):
        return (jax.nn.softmax(policy.logits) * critic.all(obs).min(0)).sum(-1)
    return critic(obs, draw(policy, noise, "target_action")).min(0)


def policy_value(cfg: CRR, policy: Distribution, critic: nets.Critic, obs: jax.Array, noise: Noise) -> jax.Array:
    """Mean or maximum of Q over actions of the policy: [B]."""
    if isinstance(policy, Categorical):
        q = critic.all(obs).mean(0)
        share = jax.nn.softmax(policy.logits)
        return (share * q).sum(-1) if cfg.advantage == "mean" else jnp.where(share > 0, q, -jnp.inf).max(-1)
    assert isinstance(policy, Normal)
    eps = noise.normal("actor_actions", (cfg.n_actions, *policy.mean.shape))
    q = critic(obs, policy.repeat(cfg.n_actions).sample(eps)).mean(0)
    return q.mean(0) if cfg.advantage == "mean" else q.max(0)


def update(cfg: CRR, state: State, batch: Batch, noise: Noise, step: Step) -> tuple[State, Metrics]:
    tx = optimisers_of(cfg)
    next_policy = state.target_actor(batch.next_obs).among(batch.next_mask)
    y = targets.td(batch, next_value(next_policy, state.target_critic, batch.next_obs, noise), cfg.discount)
    critic, m1 = state.critic.step(tx.critic, squared_error, y, batch, name="critic")

    policy = state.actor.net(batch.obs).among(batch.mask)
    value = policy_value(cfg, policy, critic.net, batch.obs, noise)
    advantage = critic.net(batch.obs, batch.action).mean(0) - value
    if cfg.weight == "exp":
        temperature = cfg.discrete_temperature if state.critic.net.discrete else cfg.temperature
        weight = losses.exp_weight(advantage, 1 / temperature, cfg.max_weight)
    else:
        weight = (advantage > 0).astype(advantage.dtype)
    keep = nets.dropout(noise, "actor_dropout", cfg.actor_dropout, batch.reward.shape, state.actor.net.net)
    actor, m2 = state.actor.step(tx.actor, weighted_cloning, weight, batch, keep, name="actor")

    old = (state.target_actor, state.target_critic)
    target_actor, target_critic = targets.follow((actor.net, critic.net), old, cfg.polyak, cfg.target_every, step)
    metrics = {"advantage": advantage.mean(), "policy_q": value.mean()}
    return State(actor, critic, target_actor, target_critic), merge(m1, m2, metrics)


def dist(cfg: CRR, state: State, seen: Seen, memory: Memory) -> Distribution:
    policy = state.actor.net(seen.obs).among(seen.mask)
    if cfg.acting == "critic" and isinstance(policy, Categorical):
        return Categorical(policy.log_probs() + state.critic.net.all(seen.obs).mean(0))
    return policy


def act(cfg: CRR, state: State, seen: Seen, memory: Memory, noise: Noise, mode: Mode) -> tuple[jax.Array, Memory]:
    policy = dist(cfg, state, seen, memory)
    if cfg.acting == "policy" or not isinstance(policy, Normal):
        return choose(policy, noise, mode), memory
    rows, size = policy.mean.shape
    n = cfg.acting_actions
    actions = policy.repeat(n).sample(candidates.normals(noise, mode, n, rows, size))
    q = state.critic.net(seen.obs, actions).mean(0)  # [n, rows]
    if mode != "best":  # the Gumbel trick: the largest is a draw with probabilities proportional to exp Q
        q = q - jnp.log(-jnp.log(noise.uniform("choice", (n, rows)) + jnp.finfo(q.dtype).tiny))
    return candidates.best(q, actions), memory


PRESETS = {
    "mujoco": Preset(CRR(), Treatment(), "d3rlpy 2.8.1, reproductions/offline/crr.py, d3rlpy/algos/qlearning/crr.py"),
    "acme": Preset(
        CRR(weight="exp", acting="policy", polyak=1.0, target_every=100),
        Treatment(),
        "Acme, agents/jax/crr: config.py, losses.py, networks.py",
    ),
    "tuned_100k": Preset(
        CRR(
            weight="exp",
            temperature=1.5,
            min_log_std=-1.0,
            acting="policy",
            acting_actions=10,
            actor_decay_steps="run",
            critic_decay_steps="run",
            actor_dropout=0.1,
            n_critics=2,
        ),
        SCALED,
        "ours, chosen on mixed logs of 100,000 steps: docs/algorithms/crr.md",
    ),
}

algorithm = Algorithm(
    "crr", CRR, init, update, act, PRESETS, needs=targets.n_step_rows, dist=dist, actions=BOTH, check=check, images=True
)
