"""Discrete batch-constrained Q-learning (Fujimoto, Conti, Ghavamzadeh, Pineau 2019, arXiv:1910.01708).

Double Q-learning among the actions that the data would take: those whose probability under a cloned policy G is more
than `threshold` times the probability of the most likely action. The policy is greedy in Q among them.

Notation (paper = code): tau = `threshold`; G_omega = `imitation`; theta = `critic`; theta' = `target_critic`.
Order of an update: critic and imitation, both from the networks before the update, then the target.
At threshold 0 the method is double DQN among actions of probability above 0, at threshold 1 it is cloning.
As in the authors' code: the online networks give G at s' and choose a', the target network gives its value; the Huber
loss with delta 1; a penalty on the squared logits of G; two separate networks for vectors of observations.
Not as in the authors' code: each network has its own Adam, which takes the same step because they share no weight; the
target of G, which nothing reads, is left out; the most likely action passes at threshold 1 too, where the strict
inequality of the code lets no action pass.
Ours: illegal actions are excluded from G, from a' and from acting.
"""

from __future__ import annotations

from typing import NamedTuple

import jax
import jax.numpy as jnp
import optax

from ..core.config import Schedule, config, faults
from ..core.contract import DISCRETE, Algorithm, Context, Preset, Treatment
from ..core.noise import Noise
from ..core.spec import Batch, Memory, Mode, Scalar, Seen, Step
from ..core.trained import Metrics, Trained, merge
from ..core.tree import PyTree
from ..parts import losses, nets, optimisers, targets
from ..parts.action_values import ActionValues, action_values, best, greedy, pick, q_metrics, td
from ..parts.distributions import Categorical
from .q_learning import explore


@config
class DiscreteBCQ:
    threshold: float = 0.3  # tau: least probability of an action, relative to the most likely one
    logit_penalty: float = 0.01  # weight of the mean squared logit of G, authors' code
    discount: float = 0.99  # gamma
    n_step: int = 1  # steps of the return before it bootstraps; 1 in the paper
    polyak: float = 0.005  # rate at which the target follows; 1 with a long `target_every` copies it
    target_every: int = 1  # updates between moves of the target
    epsilon: float = 0.1  # share of random actions in mode explore
    epsilon_steps: int = 0  # updates over which epsilon falls from 1 to its value; 0: constant
    critic_lr: float = 3e-4  # Adam
    critic_decay_steps: Schedule = "constant"  # learning rate: constant, or a cosine over the run or N updates
    imitation_lr: float = 3e-4  # Adam
    adam_eps: float = 1e-8  # Adam's constant outside the root; 1.5e-4 on Atari
    hidden: tuple[int, ...] = (256, 256)  # widths of the hidden layers of both networks
    batch_size: int = 64  # rows per update


class State(PyTree):
    critic: Trained
    imitation: Trained
    target_critic: ActionValues


class Optimisers(NamedTuple):
    critic: optax.GradientTransformation
    imitation: optax.GradientTransformation


def check(cfg: DiscreteBCQ) -> list[str]:
    rules = dict.fromkeys(("threshold", "discount", "polyak", "epsilon"), "in [0, 1]")
    rules |= dict.fromkeys(("logit_penalty", "epsilon_steps"), "at least 0")
    return faults(cfg, n_step="positive", target_every="positive", adam_eps="positive", **rules)


def optimisers_of(cfg: DiscreteBCQ) -> Optimisers:
    return Optimisers(
        critic=optimisers.adam(optimisers.cosine(cfg.critic_lr, cfg.critic_decay_steps), cfg.adam_eps),
        imitation=optimisers.adam(cfg.imitation_lr, cfg.adam_eps),
    )


def init(cfg: DiscreteBCQ, ctx: Context, noise: Noise) -> State:
    tx = optimisers_of(cfg)
    critic = action_values(noise.sub("critic"), ctx.spec, cfg.hidden)
    imitation = nets.categorical_policy(noise.sub("imitation"), ctx.spec, cfg.hidden)
    return State(Trained.new(critic, tx.critic), Trained.new(imitation, tx.imitation), critic)


def allowed(dist: Categorical, mask: jax.Array | None, threshold: Scalar) -> jax.Array:
    """The actions that the data would take: legal, and likelier than `threshold` times the most likely, [..., A]."""
    log_prob = dist.among(mask).log_probs()
    behind = log_prob - log_prob.max(-1, keepdims=True)
    return (behind > jnp.log(threshold)) | (behind == 0)


def critic_loss(critic: ActionValues, y: jax.Array, batch: Batch, among: jax.Array) -> tuple[jax.Array, Metrics]:
    values = critic(batch.obs)
    loss = losses.huber(pick(values, batch.action) - y).mean()
    return loss, q_metrics(values.mean(-1), batch.action, among, y)


def imitation_loss(imitation: nets.CategoricalPolicy, penalty: Scalar, batch: Batch) -> tuple[jax.Array, Metrics]:
    dist = imitation(batch.obs)
    legal = dist.among(batch.mask)
    nll = -legal.log_prob(batch.action).mean()
    hit = (legal.mode() == batch.action).mean()
    logits = jnp.where(jnp.isfinite(legal.logits), dist.logits, 0)
    return nll + penalty * jnp.square(logits).mean(), {"nll": nll, "accuracy": hit}


def update(cfg: DiscreteBCQ, state: State, batch: Batch, noise: Noise, step: Step) -> tuple[State, Metrics]:
    tx = optimisers_of(cfg)
    next_among = allowed(state.imitation.net(batch.next_obs), batch.next_mask, cfg.threshold)
    next_action = best(state.critic.net.mean(batch.next_obs), next_among)
    y = td(batch, pick(state.target_critic(batch.next_obs), next_action), cfg.discount)  # [B, 1]
    among = allowed(state.imitation.net(batch.obs), batch.mask, cfg.threshold)
    critic, m1 = state.critic.step(tx.critic, critic_loss, y, batch, among, name="critic")
    imitation, m2 = state.imitation.step(tx.imitation, imitation_loss, cfg.logit_penalty, batch, name="imitation")
    target = targets.follow(critic.net, state.target_critic, cfg.polyak, cfg.target_every, step)
    return State(critic, imitation, target), merge(m1, m2, {"allowed": among.mean()})


def dist(cfg: DiscreteBCQ, state: State, seen: Seen, memory: Memory) -> Categorical:
    among = allowed(state.imitation.net(seen.obs), seen.mask, cfg.threshold)
    return greedy(state.critic.net.mean(seen.obs), among)


def act(
    cfg: DiscreteBCQ, state: State, seen: Seen, memory: Memory, noise: Noise, mode: Mode
) -> tuple[jax.Array, Memory]:
    return explore(cfg, dist(cfg, state, seen, memory), seen, noise, mode), memory


CODE = "authors' code, github.com/sfujim/BCQ, discrete_BCQ/main.py:"
ATARI = DiscreteBCQ(
    polyak=1.0,
    target_every=8000,
    epsilon=0.01,
    epsilon_steps=250_000,
    critic_lr=6.25e-5,
    imitation_lr=6.25e-5,
    adam_eps=1.5e-4,
    hidden=(512,),
    batch_size=32,
)
PRESETS = {
    "control": Preset(DiscreteBCQ(), Treatment(), f"{CODE} regular_parameters, for vectors of observations"),
    "atari": Preset(ATARI, Treatment(), f"{CODE} atari_parameters (the data has the rewards clipped to their sign)"),
    "tuned_100k": Preset(
        DiscreteBCQ(threshold=0.7),
        Treatment(normalize_obs=1e-3),
        "ours, chosen by the return on zoo/cartpole-mixed-v0, where threshold 0.3 allows nearly every action",
    ),
}

algorithm = Algorithm(
    "discrete_bcq",
    DiscreteBCQ,
    init,
    update,
    act,
    PRESETS,
    needs=targets.n_step_rows,
    dist=dist,
    actions=DISCRETE,
    check=check,
    images=True,
)
