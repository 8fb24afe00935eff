"""BRAC, behaviour-regularised actor-critic (Wu, Tucker, Nachum 2019, arXiv:1911.11361): what BRAC-v and BRAC-p share.

The policy pays alpha D(pi, b) for its divergence from the policy b behind the data. BRAC-p (policy penalty, `brac_p`)
pays in the actor's loss alone. BRAC-v (value penalty, `brac_v`) pays in the targets too.
`divergence` chooses D. The paper compares these four for both variants, so it is one setting: kl and mmd are primal,
with b cloned beforehand in phase "behaviour"; kl_dual and wasserstein are dual, estimated by a discriminator with a
gradient penalty that tells actions of the policy from logged ones, without b.

Notation (paper = code): alpha = `alpha`; epsilon = `target_divergence`; lambda of the ensemble = `mix`; weight of the
policy's entropy = `entropy_weight`. Policies are tanh-squashed normals with log standard deviation in [-5, 0].
Order of an update, as in the authors' code: targets with the critics from before the update, critics, actor,
discriminator, alpha, entropy weight. Each divergence has its own draws.
Not as in the authors' code: learned weights are projected on their range after a step (theirs bend the gradient at the
bounds); all steps of the discriminator come before that of alpha; at a time limit the logged next action of the dual
forms is the last action, because there is no next one; the discriminator has no weight decay.
Ours: `clone_start`, and rates that follow a cosine, for short logs (preset `tuned_100k`).
"""

from __future__ import annotations

import dataclasses
from typing import NamedTuple

import jax
import jax.numpy as jnp
import optax

from ..core.config import Schedule, config, faults
from ..core.contract import SCALED, Context, Needs, Phase, Preset
from ..core.noise import Noise
from ..core.spec import Batch, Memory, Mode, Seen, Step
from ..core.trained import Metrics, Trained, merge
from ..core.tree import PyTree
from ..parts import candidates, nets, optimisers, targets
from ..parts.distributions import choose
from ..parts.divergence_estimates import bounded_policy, cloning_loss, learn_weight
from .sac import entropy_goal


@config
class BRAC:
    divergence: str = "kl"  # kl, mmd (primal, with a cloned behaviour policy), kl_dual, wasserstein (discriminator)
    alpha: float = 0.1  # weight of the divergence; before the first update if it is learned
    train_alpha: bool = False  # learn alpha so that the divergence stays at target_divergence
    target_divergence: float = 0.0  # epsilon of the learned alpha
    divergence_samples: int = 4  # policy actions per state in the primal estimates
    sigma: float = 20.0  # width of the Laplacian kernel of mmd
    entropy_weight: float = 0.0  # of the policy's entropy; before the first update if it is learned
    train_entropy: bool = False  # learn entropy_weight so that the entropy stays at target_entropy
    target_entropy: float = 0.0  # in nats; 0 means minus the number of action dimensions
    mix: float = 1.0  # lambda: lambda min + (1 - lambda) max over the critics
    behaviour_steps: int = 300_000  # updates of cloning beforehand (primal)
    behaviour_lr: float = 5e-4  # Adam, of the cloned policy and the weight of its entropy
    clone_start: bool = False  # the policy starts as the cloned one (primal); in the code from its initial weights
    warm_start: int = 20_000  # first updates, in which the actor follows the divergence alone
    discriminator_updates: int = 3  # per update, each on rows of its own (dual)
    gradient_penalty: float = 5.0  # on slopes of the discriminator above 1 (dual)
    critic_weight_decay: float = 0.0  # times the sum of squared weights (not biases) in the critics' loss
    actor_weight_decay: float = 0.0  # the same in the actor's loss
    acting: str = "mode"  # mode, or max_q: the best draw by the first critic; the two test policies of the code
    acting_actions: int = 10  # draws of max_q
    discount: float = 0.99  # gamma
    n_step: int = 1  # steps of the return before it bootstraps; 1 in the paper
    polyak: float = 0.005  # rate at which the target critics follow
    actor_lr: float = 3e-4  # Adam
    actor_decay_steps: Schedule = "constant"  # rate of the actor: constant, or a cosine over the run or N updates
    critic_lr: float = 1e-3  # Adam, of the discriminator too
    critic_decay_steps: Schedule = "constant"  # the same for the critics
    alpha_lr: float = 1e-3  # Adam, of alpha and entropy_weight if they are learned
    hidden: tuple[int, ...] = (200, 200)  # widths of the hidden layers of the policies
    critic_hidden: tuple[int, ...] = (300, 300)  # widths of the hidden layers of critics and discriminator
    batch_size: int = 256  # rows per update


class State(PyTree):
    actor: Trained
    critic: Trained
    target_critic: nets.Critic
    reference: Trained  # what the divergence is measured with: the cloned policy, or the discriminator
    reference_entropy: Trained  # weight of the cloned policy's entropy while it is cloned
    alpha: Trained
    entropy_weight: Trained


class Optimisers(NamedTuple):
    actor: optax.GradientTransformation
    critic: optax.GradientTransformation
    behaviour: optax.GradientTransformation  # of the cloned policy
    discriminator: optax.GradientTransformation
    weight: optax.GradientTransformation  # of alpha and of entropy_weight


def check(cfg: BRAC) -> list[str]:
    least = ("alpha", "target_divergence", "entropy_weight", "gradient_penalty", "warm_start")
    rules = dict.fromkeys((*least, "critic_weight_decay", "actor_weight_decay"), "at least 0")
    rules |= dict.fromkeys(("discount", "polyak", "mix"), "in [0, 1]")
    positive = ("acting_actions", "divergence_samples", "sigma", "discriminator_updates", "behaviour_steps")
    rules |= dict.fromkeys((*positive, "critic_hidden"), "positive")
    return faults(cfg, n_step="positive", divergence="kl|mmd|kl_dual|wasserstein", acting="mode|max_q", **rules)


def primal(cfg: BRAC) -> bool:
    """Whether the divergence is measured with a cloned behaviour policy, not with a discriminator."""
    return cfg.divergence in ("kl", "mmd")


def optimisers_of(cfg: BRAC) -> Optimisers:
    rates = (
        optimisers.cosine(cfg.actor_lr, cfg.actor_decay_steps),
        optimisers.cosine(cfg.critic_lr, cfg.critic_decay_steps),
        cfg.behaviour_lr,
        cfg.critic_lr,
        cfg.alpha_lr,
    )
    return Optimisers(*(optimisers.adam(rate, eps=1e-7) for rate in rates))


def init(cfg: BRAC, ctx: Context, noise: Noise) -> State:
    tx = optimisers_of(cfg)
    actor = bounded_policy(noise.sub("actor"), ctx.spec, cfg.hidden)
    critic = nets.critic(noise.sub("critic"), ctx.spec, cfg.critic_hidden)
    if primal(cfg):
        reference = Trained.new(bounded_policy(noise.sub("behaviour"), ctx.spec, cfg.hidden), tx.behaviour)
    else:
        discriminator = nets.critic(noise.sub("discriminator"), ctx.spec, cfg.critic_hidden, n=1)
        reference = Trained.new(discriminator, tx.discriminator)
    return State(
        Trained.new(actor, tx.actor),
        Trained.new(critic, tx.critic),
        critic,
        reference,
        Trained.new(jnp.ones(()), tx.behaviour),
        Trained.new(jnp.asarray(cfg.alpha), tx.weight),
        Trained.new(jnp.asarray(cfg.entropy_weight), tx.weight),
    )


def clone(cfg: BRAC, state: State, batch: Batch, noise: Noise, step: Step) -> tuple[State, Metrics]:
    """Phase "behaviour": likelihood of the logged actions, and entropy with a learned weight."""
    tx = optimisers_of(cfg)
    weight = state.reference_entropy
    eps = noise.normal("clone_action", batch.action.shape)
    policy, m1 = state.reference.step(tx.behaviour, cloning_loss, batch, weight.net, eps, name="behaviour")
    _, log_prob = policy.net(batch.obs).sample_and_log_prob(noise.normal("clone_entropy", batch.action.shape))
    excess = log_prob + entropy_goal(cfg, batch)
    weight, m2 = learn_weight(weight, tx.behaviour, excess, jnp.inf, "behaviour_entropy_weight")
    actor = state.actor.replace(policy.net) if cfg.clone_start else state.actor
    return dataclasses.replace(state, actor=actor, reference=policy, reference_entropy=weight), merge(m1, m2)


def act(cfg: BRAC, state: State, seen: Seen, memory: Memory, noise: Noise, mode: Mode) -> tuple[jax.Array, Memory]:
    policy = state.actor.net(seen.obs)
    if cfg.acting == "mode":
        return choose(policy, noise, mode), memory
    return candidates.best_of(policy, state.critic.net, seen.obs, cfg.acting_actions, noise, mode), memory


def needs(cfg: BRAC) -> Needs:
    if primal(cfg):
        return targets.n_step_rows(cfg)
    return targets.n_step_rows(cfg, ("next_action",), cfg.discriminator_updates)


def phases(cfg: BRAC) -> tuple[Phase, ...]:
    if not primal(cfg):
        return (Phase(),)
    return Phase("behaviour", cfg.behaviour_steps, clone, plays=cfg.clone_start), Phase()


CODE = "authors' code, google-research/behavior_regularized_offline_rl, "
TUNED = Preset(
    BRAC(
        alpha=1.0,
        behaviour_steps=20_000,
        clone_start=True,
        warm_start=2_000,
        actor_decay_steps="run",
        critic_decay_steps="run",
    ),
    SCALED,
    "ours, chosen on a log of 100,000 steps: docs/algorithms/brac_v.md",
)
