"""Discrete batch-constrained Q-learning (Fujimoto, Conti, Ghavamzadeh, Pineau 2019, arXiv:1910.01708).

Double Q-learning among the actions that the data would take: those whose probability under a cloned policy G is more
than `threshold` times that of the likeliest one. The policy is greedy in Q among them.

Paper -> here: tau threshold, G_omega imitation, theta critic. Order: both networks from the weights before the update,
then the target. At threshold 0 it is double DQN among actions of probability above 0, at 1 cloning.
As in the authors' code: the online networks give G at s' and choose a', whose value the target gives; Huber's loss with
delta 1; a penalty on the squared logits of G; two separate networks where observations are vectors.
Not as there: each network has its own Adam, which for separate networks is the same step; the target of G, which
nothing reads, is left out; the likeliest action passes at threshold 1 too, where the code's strict inequality leaves
none. Illegal actions are out of G, of a' and of acting.
"""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp

from ..core.config import Schedule, config, faults
from ..core.contract import Algorithm, Context, Preset, Treatment
from ..core.noise import Noise
from ..core.spec import Batch, Memory, Mode, Seen, Step
from ..core.trained import Metrics, Trained, merge
from ..core.tree import PyTree
from ..parts import losses, nets, optimisers, targets
from ..parts.action_values import ActionValues, action_values, best, epsilon_at, epsilon_greedy, greedy, pick, td
from ..parts.distributions import Categorical
from . import dqn


@config
class DiscreteBCQ:
    threshold: float = 0.3  # tau: least probability of an action, relative to the likeliest; ours 0.7 on control tasks
    logit_penalty: float = 0.01  # weight of the mean squared logit of G, authors' code
    discount: float = 0.99  # gamma
    polyak: float = 0.005  # rate at which the target follows; 1 with a long `target_every` copies it
    target_every: int = 1  # updates between moves of the target
    epsilon: float = 0.1  # share of random actions while exploring online
    epsilon_steps: int = 0  # updates over which epsilon falls from 1 to that; 0: from the start
    critic_lr: float = 3e-4  # Adam
    critic_decay_steps: Schedule = "constant"  # its rate: constant, or a cosine over the run or N updates
    imitation_lr: float = 3e-4  # Adam
    adam_eps: float = 1e-8  # Adam's constant outside the root; 1.5e-4 on Atari
    hidden: tuple[int, ...] = (256, 256)  # widths of the hidden layers of both networks
    batch_size: int = 64  # rows an update


class State(PyTree):
    critic: Trained
    imitation: Trained
    target_critic: ActionValues


def check(cfg: DiscreteBCQ) -> list[str]:
    return faults(cfg, threshold="in [0, 1]", logit_penalty="at least 0", **dqn.RULES)


def optimiser(cfg: DiscreteBCQ) -> Any:
    return optimisers.adam(cfg.imitation_lr, cfg.adam_eps)


def init(cfg: DiscreteBCQ, ctx: Context, noise: Noise) -> State:
    critic = action_values(noise.sub("critic"), ctx.spec, cfg.hidden)
    imitation = nets.policy(noise.sub("imitation"), ctx.spec, cfg.hidden, "deterministic")
    return State(Trained.new(critic, dqn.optimiser(cfg)), Trained.new(imitation, optimiser(cfg)), critic)


def allowed(law: Categorical, mask: jax.Array | None, threshold: Any) -> jax.Array:
    """The actions that the data would take: legal ones likelier than `threshold` times the likeliest, [..., A]."""
    log_prob = law.among(mask).log_probs()
    behind = log_prob - log_prob.max(-1, keepdims=True)
    return (behind > jnp.log(threshold)) | (behind == 0)


def critic_loss(critic: ActionValues, y: jax.Array, batch: Batch, among: jax.Array) -> tuple[jax.Array, Metrics]:
    values = critic(batch.obs)
    told = dqn.told(values.mean(-1), batch.action, among, y)
    return losses.huber(pick(values, batch.action) - y).mean(), told


def imitation_loss(imitation: nets.Policy, penalty: Any, batch: Batch) -> tuple[jax.Array, Metrics]:
    dist: Any = imitation(batch.obs)  # Categorical
    legal = dist.among(batch.mask)
    nll = -legal.log_prob(batch.action).mean()
    hit = (legal.mode() == batch.action).mean()
    logits = jnp.where(jnp.isfinite(legal.logits), dist.logits, 0)
    return nll + penalty * jnp.square(logits).mean(), {"nll": nll, "accuracy": hit}


def update(cfg: DiscreteBCQ, state: State, batch: Batch, noise: Noise, step: Step) -> tuple[State, Metrics]:
    next_among = allowed(state.imitation.net(batch.next_obs), batch.next_mask, cfg.threshold)
    next_action = best(state.critic.net.mean(batch.next_obs), next_among)
    y = td(batch, pick(state.target_critic(batch.next_obs), next_action), cfg.discount)  # [B, 1]
    among = allowed(state.imitation.net(batch.obs), batch.mask, cfg.threshold)
    critic, m1 = state.critic.step(dqn.optimiser(cfg), critic_loss, y, batch, among, name="critic")
    penalty = cfg.logit_penalty
    imitation, m2 = state.imitation.step(optimiser(cfg), imitation_loss, penalty, batch, name="imitation")
    target = targets.follow(critic.net, state.target_critic, cfg.polyak, cfg.target_every, step)
    return State(critic, imitation, target), merge(m1, m2, {"allowed": among.mean()})


def dist(cfg: DiscreteBCQ, state: State, seen: Seen, memory: Memory) -> Any:
    among = allowed(state.imitation.net(seen.obs), seen.mask, cfg.threshold)
    return greedy(state.critic.net.mean(seen.obs), among)


def act(cfg: DiscreteBCQ, state: State, seen: Seen, memory: Memory, noise: Noise, mode: Mode) -> tuple[jax.Array, Any]:
    epsilon = epsilon_at(seen.step, cfg.epsilon, cfg.epsilon_steps)
    return epsilon_greedy(dist(cfg, state, seen, memory), seen.mask, epsilon, noise, mode), memory


PRESETS = {
    "control": Preset(
        DiscreteBCQ(threshold=0.7),
        Treatment(normalize_obs=1e-3),
        "as authors, but threshold 0.7: tuned by return on zoo/cartpole-mixed-v0, where 0.3 allows nearly everything",
    ),
    "authors": Preset(DiscreteBCQ(), Treatment(), f"authors' code, {dqn.BCQ_CODE}, regular_parameters"),
    "atari": Preset(
        DiscreteBCQ(
            polyak=1.0,
            target_every=8000,
            epsilon=0.01,
            epsilon_steps=250_000,
            critic_lr=6.25e-5,
            imitation_lr=6.25e-5,
            adam_eps=1.5e-4,
            batch_size=32,
        ),
        Treatment(),
        f"authors' code, {dqn.BCQ_CODE}, atari_parameters (rewards clipped to their sign in the data)",
    ),
}

algorithm = Algorithm(
    "discrete_bcq",
    DiscreteBCQ,
    init,
    update,
    act,
    PRESETS,
    dist=dist,
    actions=frozenset({"discrete"}),
    check=check,
)
