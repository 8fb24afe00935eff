"""Critic-regularised regression (Wang et al. 2020, arXiv:2006.15134; equation numbers are theirs).

The policy is cloned from the data with weights f(A) of the critic's advantage of the logged action over the policy's
own: exp(A / beta), or 1 where A > 0. The critic values the policy of the target network, one sample a state.

Paper -> here: beta temperature, m n_actions, f weight, the estimate of A advantage (mean or max over m actions of the
policy). Order: critic, actor with the new critic, targets of both.
As in d3rlpy's and Acme's codes and not in the paper: the critic is scalar, not distributional. As in d3rlpy, it is a
pair, the smaller in targets, their mean in advantages; targets follow slowly, or are copied every `target_every` steps
where polyak is 1 (paper, Acme: every 100).
Ours: the actor's rate falls along a cosine to 0 at the run's end, since last policies are compared; the policy's log
standard deviation stays above `min_log_std`, since logged actions at the bounds would make densities grow without end;
in the preset `small` the critics' rate falls too, and the actor has dropout.
`acting` "critic" is the paper's critic-weighted policy: of `acting_actions` draws one is taken with probability
proportional to exp Q; "best" takes the draw of the highest Q, from constant normals, so that it is a function of the
state. Densities (`dist`) of a continuous policy are then those before that choice.
Discrete actions: expectations and maxima over the policy's legal actions are exact, as is the critic-weighted policy.
"""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp

from ..core.config import Schedule, config, faults, static
from ..core.contract import SCALED, Algorithm, Context, Preset, Treatment
from ..core.noise import Noise
from ..core.spec import Batch, Memory, Mode, Seen, Step
from ..core.trained import Metrics, Trained, merge
from ..core.tree import PyTree
from ..parts import candidates, layers, losses, nets, targets
from ..parts.distributions import Categorical, choose, draw
from .iql import critic_loss, critic_optimiser, optimiser, policy_loss


@config
class CRR:
    weight: str = "exp"  # f: exp (eq. 4) or binary (eq. 3)
    advantage: str = "mean"  # of the policy's actions: mean or max
    temperature: float = 1.0  # beta of exp
    discrete_temperature: float = 15.0  # beta where actions are discrete; ours: there advantages are larger
    max_weight: float = 20.0  # cap on exp(A / beta)
    n_actions: int = 4  # m, actions of the policy behind the advantage
    min_log_std: float = static(default=-2.0)  # least log standard deviation of the policy; d3rlpy -20
    acting: str = "policy"  # policy, or critic for the critic-weighted policy
    acting_actions: int = 10  # draws that the critic-weighted policy chooses from
    discount: float = 0.99  # gamma
    polyak: float = 0.005  # rate at which the targets follow; 1 for copies
    target_every: int = 1  # updates between the targets' steps; 100 with polyak 1 in the paper and in Acme
    actor_lr: float = 3e-4  # Adam
    actor_decay_steps: Schedule = "run"  # actor's rate: constant, or a cosine over the run or N updates
    critic_lr: float = 3e-4  # Adam
    critic_decay_steps: Schedule = "constant"  # the same for the critics
    actor_dropout: float = static(default=0.0)  # share of the actor's hidden units that an update leaves out
    n_critics: int = 2  # the paper has 1
    hidden: tuple[int, ...] = (256, 256)  # widths of the hidden layers of every network
    batch_size: int = 256  # rows an update


class State(PyTree):
    actor: Trained
    critic: Trained
    target_actor: nets.Policy
    target_critic: nets.Critic


def check(cfg: CRR) -> list[str]:
    rules = dict.fromkeys(("n_actions", "acting_actions", "target_every", "n_critics"), "positive")
    rules |= {"weight": "exp|binary", "advantage": "mean|max", "acting": "policy|critic"}
    rules |= dict.fromkeys(("temperature", "discrete_temperature", "max_weight"), "positive")
    rules |= {"actor_dropout": "in [0, 1)"}
    return faults(cfg, discount="in [0, 1]", polyak="in [0, 1]", **rules)


def init(cfg: CRR, ctx: Context, noise: Noise) -> State:
    actor = nets.policy(noise.sub("actor"), ctx.spec, cfg.hidden, "heads", low=cfg.min_log_std, high=2.0, squash="mean")
    critic = nets.critic(noise.sub("critic"), ctx.spec, cfg.hidden, n=cfg.n_critics)
    return State(Trained.new(actor, optimiser(cfg)), Trained.new(critic, critic_optimiser(cfg)), actor, critic)


def next_value(law: Any, critic: nets.Critic, obs: jax.Array, noise: Noise) -> jax.Array:
    """The smaller critic at one action of the policy, or its expectation over discrete ones: [B]."""
    if isinstance(law, Categorical):
        return (jax.nn.softmax(law.logits) * critic.all(obs).min(0)).sum(-1)
    return critic(obs, draw(law, noise, "target_action")).min(0)


def policy_value(cfg: CRR, law: Any, critic: nets.Critic, obs: jax.Array, noise: Noise) -> jax.Array:
    """Mean or maximum of Q over actions of the policy: [B]."""
    if isinstance(law, Categorical):
        q, share = critic.all(obs).mean(0), jax.nn.softmax(law.logits)
        return (share * q).sum(-1) if cfg.advantage == "mean" else jnp.where(share > 0, q, -jnp.inf).max(-1)
    eps = noise.normal("actor_actions", (cfg.n_actions, *law.mean.shape))
    q = critic(obs, law.repeat(cfg.n_actions).sample(eps)).mean(0)
    return q.mean(0) if cfg.advantage == "mean" else q.max(0)


def update(cfg: CRR, state: State, batch: Batch, noise: Noise, step: Step) -> tuple[State, Metrics]:
    next_law = state.target_actor(batch.next_obs).among(batch.next_mask)
    y = targets.td(batch, next_value(next_law, state.target_critic, batch.next_obs, noise), cfg.discount)
    critic, m1 = state.critic.step(critic_optimiser(cfg), critic_loss, y, batch, name="critic")

    law = state.actor.net(batch.obs).among(batch.mask)
    value = policy_value(cfg, law, critic.net, batch.obs, noise)
    advantage = critic.net(batch.obs, batch.action).mean(0) - value
    if cfg.weight == "exp":
        temperature = cfg.discrete_temperature if state.critic.net.discrete else cfg.temperature
        weight = losses.exp_weight(advantage, 1 / temperature, cfg.max_weight)
    else:
        weight = (advantage > 0).astype(advantage.dtype)
    keep = layers.dropout(noise, "actor_dropout", cfg.actor_dropout, batch.reward.shape, cfg.hidden)
    actor, m2 = state.actor.step(optimiser(cfg), policy_loss, weight, batch, keep, name="actor")
    old, new = (state.target_actor, state.target_critic), (actor.net, critic.net)
    target_actor, target_critic = targets.follow(new, old, cfg.polyak, cfg.target_every, step)
    found = {"advantage": advantage.mean(), "policy_q": value.mean()}
    return State(actor, critic, target_actor, target_critic), merge(m1, m2, found)


def dist(cfg: CRR, state: State, seen: Seen, memory: Memory) -> Any:
    law = state.actor.net(seen.obs).among(seen.mask)
    if cfg.acting == "critic" and isinstance(law, Categorical):
        return Categorical(law.log_probs() + state.critic.net.all(seen.obs).mean(0))
    return law


def act(cfg: CRR, state: State, seen: Seen, memory: Memory, noise: Noise, mode: Mode) -> tuple[jax.Array, Any]:
    law = dist(cfg, state, seen, memory)
    if cfg.acting == "policy" or isinstance(law, Categorical):
        return choose(law, noise, mode), memory
    n, (rows, size) = cfg.acting_actions, law.mean.shape
    actions = law.repeat(n).sample(candidates.normals(noise, mode, n, rows, size))
    q = state.critic.net(seen.obs, actions).mean(0)  # [n, rows]
    if mode != "best":  # the Gumbel trick: the largest is a draw with probabilities proportional to exp Q
        q = q - jnp.log(-jnp.log(noise.uniform("choice", (n, rows)) + jnp.finfo(q.dtype).tiny))
    return candidates.best(q, actions), memory


D3RLPY, ACME = (
    "d3rlpy 2.8.1, ",
    "Acme, agents/jax/crr/config.py; the policy that is served is the online one, not the target",
)
PRESETS = {
    "small": Preset(
        CRR(temperature=1.5, min_log_std=-1.0, critic_decay_steps="run", actor_dropout=0.1),
        SCALED,
        "ours, chosen on mixed logs of 100,000 steps: docs/algorithms/crr.md",
    ),
    "mujoco": Preset(CRR(), Treatment(), D3RLPY + "algos/qlearning/crr.py, soft targets, exp weights"),
    "d3rlpy": Preset(
        CRR(weight="binary", min_log_std=-20.0, actor_decay_steps="constant", acting="critic"),
        Treatment(),
        D3RLPY + "reproductions/offline/crr.py",
    ),
    "acme": Preset(CRR(n_critics=1, polyak=1.0, target_every=100, actor_decay_steps="constant"), Treatment(), ACME),
    "binary_max": Preset(CRR(weight="binary", advantage="max"), Treatment(), "the paper, binary max"),
    "critic_weighted": Preset(CRR(acting="critic"), Treatment(), "the paper's critic-weighted policy"),
}

algorithm = Algorithm(
    "crr", CRR, init, update, act, PRESETS, dist=dist, actions=frozenset({"continuous", "discrete"}), check=check
)
