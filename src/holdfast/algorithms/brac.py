"""Behaviour-regularised actor-critic (Wu, Tucker, Nachum 2019, arXiv:1911.11361).

An actor-critic whose policy pays alpha D(pi, b) for straying from the policy b behind the data. BRAC-p (policy penalty)
pays in the actor's loss alone; BRAC-v (value penalty) also in the target, so that values know what will be paid later.
`divergence` chooses D: kl and mmd are primal, with b cloned beforehand in a phase of its own; kl_dual and wasserstein
are dual, estimated by a discriminator (with gradient penalty) that tells pi's actions from logged ones, without b.

Paper -> here: alpha alpha, epsilon target_divergence, lambda of the ensemble mix. Entropy terms: entropy_weight.
Order, as in the authors' code: targets with the critics before the step, critics, actor, discriminator, alpha, entropy
weight. Each divergence has its own draws. Policies are tanh-squashed normals with log standard deviation in [-5, 0].
Not as in the authors' code: behaviour_steps 20 000 and warm_start 2 000 suit runs of some ten thousand updates, preset
"published" has their 300 000 and 20 000; `clone_start` and rates that fall, off but in preset "small";
learned weights are projected on their range after a step (theirs bend the
gradient at the bounds); all discriminator updates are taken before alpha's; at a time limit the logged next action of
the dual forms is the last action (there is no next one); no weight decay on the discriminator.
"""

from __future__ import annotations

from functools import partial
from typing import Any

import jax
import jax.numpy as jnp

from ..core.config import Schedule, config, faults
from ..core.contract import SCALED, Algorithm, Context, Needs, Phase, Preset, Transitions
from ..core.noise import Noise
from ..core.spec import Batch, Memory, Mode, Seen, Step
from ..core.trained import Metrics, Trained, merge
from ..core.tree import PyTree, ema
from ..parts import candidates, losses, nets, optimisers, targets
from ..parts.divergence_estimates import BoundedPolicy, cloning_loss, discriminator_loss, divergence, learn_weight
from . import sac

ALPHA_MAX = 500.0  # authors' code


@config
class BRAC:
    divergence: str = "kl"  # kl, mmd (primal, with a cloned behaviour policy); kl_dual, wasserstein (discriminator)
    alpha: float = 10.0  # weight of the divergence, before the first update where it is learned; code 0.1 and 10
    train_alpha: bool = False  # learn alpha so that the divergence stays at target_divergence
    target_divergence: float = 0.0  # epsilon of the learned alpha
    divergence_samples: int = 4  # policy actions a state in the primal estimates
    sigma: float = 20.0  # width of the Laplacian kernel of mmd
    entropy_weight: float = 0.0  # of the policy's entropy, before the first update where it is learned
    train_entropy: bool = False  # learn entropy_weight so that the entropy stays at target_entropy
    target_entropy: float = 0.0  # in nats; 0 stands for minus the number of action dimensions
    mix: float = 1.0  # lambda: lambda min + (1 - lambda) max over the critics
    behaviour_steps: int = 20_000  # updates of cloning beforehand (primal); the code's 300 000
    behaviour_lr: float = 5e-4  # Adam, of the cloned policy and its entropy's weight
    clone_start: bool = False  # the policy starts as the cloned one (primal); the code's from its initial weights
    warm_start: int = 2_000  # first updates, in which the actor follows the divergence alone; the code's 20 000
    discriminator_updates: int = 3  # a step, each on rows of its own (dual)
    gradient_penalty: float = 5.0  # on discriminator slopes above 1 (dual)
    critic_weight_decay: float = 0.0  # times the sum of squared weights (not biases) in the critics' loss
    actor_weight_decay: float = 0.0  # likewise in the actor's
    acting: str = "mode"  # mode, or max_q: the best by the first critic of so many draws, the code's other test policy
    acting_actions: int = 10  # n of max_q
    discount: float = 0.99  # gamma
    polyak: float = 0.005  # rate at which the target critics follow
    actor_lr: float = 3e-4  # Adam
    actor_decay_steps: Schedule = "constant"  # actor's rate: constant, or a cosine over the run or N updates
    critic_lr: float = 1e-3  # Adam, of the discriminator too
    critic_decay_steps: Schedule = "constant"  # the same for the critics
    alpha_lr: float = 1e-3  # Adam, of alpha and entropy_weight where they are learned
    hidden: tuple[int, ...] = (200, 200)  # widths of the hidden layers of the policies
    critic_hidden: tuple[int, ...] = (300, 300)  # of critics and discriminator
    batch_size: int = 256  # rows an update


class State(PyTree):
    actor: Trained
    critic: Trained
    target_critic: nets.Critic
    reference: Trained  # what the divergence is measured with: the cloned policy, or the discriminator
    reference_entropy: Trained  # weight of the cloned policy's entropy while it is cloned
    alpha: Trained
    entropy_weight: Trained


def check(cfg: BRAC) -> list[str]:
    least = (
        "alpha",
        "target_divergence",
        "entropy_weight",
        "gradient_penalty",
        "critic_weight_decay",
        "actor_weight_decay",
    )
    rules = dict.fromkeys((*least, "warm_start"), "at least 0")
    rules |= dict.fromkeys(("discount", "polyak", "mix"), "in [0, 1]")
    positive = (
        "acting_actions",
        "divergence_samples",
        "sigma",
        "discriminator_updates",
        "behaviour_steps",
        "critic_hidden",
    )
    rules |= dict.fromkeys(positive, "positive")
    return faults(cfg, divergence="kl|mmd|kl_dual|wasserstein", acting="mode|max_q", **rules)


def primal(cfg: BRAC) -> bool:
    return cfg.divergence in ("kl", "mmd")


def adam(lr: Any) -> Any:
    return optimisers.adam(lr, eps=1e-7)


def optimiser(cfg: BRAC, name: str) -> Any:
    """Of the actor or of the critic."""
    return adam(optimisers.cosine(getattr(cfg, f"{name}_lr"), getattr(cfg, f"{name}_decay_steps")))


def init(cfg: BRAC, ctx: Context, noise: Noise) -> State:
    sizes = (*ctx.spec.obs, *cfg.hidden, 2 * ctx.spec.action)
    actor, behaviour = (BoundedPolicy(nets.mlp(noise.sub(name), sizes)) for name in ("actor", "behaviour"))
    critic = nets.critic(noise.sub("critic"), ctx.spec, cfg.critic_hidden)
    discriminator = nets.critic(noise.sub("discriminator"), ctx.spec, cfg.critic_hidden, n=1)
    reference, lr = (behaviour, cfg.behaviour_lr) if primal(cfg) else (discriminator, cfg.critic_lr)
    return State(
        Trained.new(actor, optimiser(cfg, "actor")),
        Trained.new(critic, optimiser(cfg, "critic")),
        critic,
        Trained.new(reference, adam(lr)),
        Trained.new(jnp.ones(()), adam(cfg.behaviour_lr)),
        Trained.new(jnp.asarray(cfg.alpha), adam(cfg.alpha_lr)),
        Trained.new(jnp.asarray(cfg.entropy_weight), adam(cfg.alpha_lr)),
    )


def clone(cfg: BRAC, state: State, batch: Batch, noise: Noise, step: Step) -> tuple[State, Metrics]:
    """The behaviour phase: likelihood of the logged actions, and entropy with a learned weight."""
    shape, weight = batch.action.shape, state.reference_entropy
    given = (batch, weight.net, noise.normal("clone_action", shape))
    policy, m1 = state.reference.step(adam(cfg.behaviour_lr), cloning_loss, *given, name="behaviour")
    _, log_prob = policy.net(batch.obs).sample_and_log_prob(noise.normal("clone_entropy", shape))
    excess = log_prob + sac.entropy_goal(cfg, batch)
    weight, m2 = learn_weight(weight, adam(cfg.behaviour_lr), excess, jnp.inf, "behaviour_entropy_weight")
    actor = state.actor.replace(policy.net) if cfg.clone_start else state.actor
    moved = {"actor": actor, "reference": policy, "reference_entropy": weight}
    return State(**(vars(state) | moved)), merge(m1, m2)


def draws_of(cfg: BRAC, noise: Noise, name: str, shape: tuple[int, ...]) -> tuple[jax.Array, ...]:
    """Draws of one primal estimate: of the policy and, for mmd, of b, [n, B, A] each; the dual ones need none."""
    laws = {"kl": ("policy",), "mmd": ("policy", "behaviour")}.get(cfg.divergence, ())
    return tuple(noise.normal(f"{name}_{law}", (cfg.divergence_samples, *shape)) for law in laws)


def critic_loss(critic: nets.Critic, y: jax.Array, batch: Batch, decay: Any) -> tuple[jax.Array, Metrics]:
    loss, found = sac.critic_loss(critic, y, batch)
    return loss + decay * losses.squared_weights(critic.nets), found


def actor_loss(
    actor: BoundedPolicy, critic: Any, reference: Any, weights: Any, batch: Batch, eps: jax.Array, draws: Any, cfg: BRAC
) -> tuple[jax.Array, Metrics]:
    """`weights` are those of entropy, divergence and value (0 in the warm start)."""
    law = actor(batch.obs)
    action, log_prob = law.sample_and_log_prob(eps)
    d = divergence((cfg.divergence, cfg.sigma), reference, law, batch.obs, action, batch.action, draws)
    q = losses.mix(critic(batch.obs, action), cfg.mix)
    loss = (weights[0] * log_prob + weights[1] * d - weights[2] * q).mean()
    found = {"divergence": d.mean(), "q": q.mean(), "entropy": -log_prob.mean()}
    return loss + cfg.actor_weight_decay * losses.squared_weights(actor.net), found


def discriminate(cfg: BRAC, net: Trained, actor: BoundedPolicy, slices: Any, noise: Noise) -> tuple[Trained, Metrics]:
    """One update of the discriminator for each slice [k, B, ...] of the batch."""
    action = actor(slices.obs).sample(noise.normal("c_action", slices.action.shape))
    rows = (slices.obs, action, slices.action, noise.uniform("c_between", slices.reward.shape))
    how, more = (adam(cfg.critic_lr), discriminator_loss), (cfg.gradient_penalty, cfg.divergence)
    net, metrics = jax.lax.scan(lambda net, rows: net.step(*how, *rows, *more, name="discriminator"), net, rows)
    return net, jax.tree.map(jnp.mean, metrics)


def update(
    cfg: BRAC, state: State, batch: Batch, noise: Noise, step: Step, *, value_penalty: bool
) -> tuple[State, Metrics]:
    slices = batch if batch.reward.ndim == 2 else jax.tree.map(lambda x: x[None], batch)
    batch = jax.tree.map(lambda x: x[0], slices)
    shape, reference, alpha, entropy = batch.action.shape, state.reference, state.alpha, state.entropy_weight
    kind, target = (cfg.divergence, cfg.sigma), ema(state.critic.net, state.target_critic, cfg.polyak)

    law = state.actor.net(batch.next_obs)
    action, log_prob = law.sample_and_log_prob(noise.normal("q_target_action", shape))
    value = losses.mix(target(batch.next_obs, action), cfg.mix) - entropy.net * log_prob
    if value_penalty:
        logged, draws = None if primal(cfg) else batch.next_action, draws_of(cfg, noise, "q_div", shape)
        value -= alpha.net * divergence(kind, reference.net, law, batch.next_obs, action, logged, draws)
    y = targets.td(batch, value, cfg.discount)
    critic, m1 = state.critic.step(
        optimiser(cfg, "critic"), critic_loss, y, batch, cfg.critic_weight_decay, name="critic"
    )

    eps, draws = noise.normal("p_action", shape), draws_of(cfg, noise, "p_div", shape)
    given = (critic.net, reference.net, (entropy.net, alpha.net, step >= cfg.warm_start), batch, eps, draws, cfg)
    actor, m2 = state.actor.step(optimiser(cfg, "actor"), actor_loss, *given, name="actor")

    metrics, law, tx = merge(m1, m2), actor.net(batch.obs), adam(cfg.alpha_lr)
    if not primal(cfg):
        reference, m = discriminate(cfg, reference, actor.net, slices, noise)
        metrics = merge(metrics, m)
    if cfg.train_alpha:
        action = law.mode() if primal(cfg) else law.sample(noise.normal("a_action", shape))
        draws = draws_of(cfg, noise, "a_div", shape)
        d = divergence(kind, reference.net, law, batch.obs, action, batch.action, draws)
        alpha, m = learn_weight(alpha, tx, d - cfg.target_divergence, ALPHA_MAX, "alpha")
        metrics = merge(metrics, m)
    if cfg.train_entropy:
        _, log_prob = law.sample_and_log_prob(noise.normal("ae_action", shape))
        entropy, m = learn_weight(entropy, tx, log_prob + sac.entropy_goal(cfg, batch), jnp.inf, "entropy_weight")
        metrics = merge(metrics, m)
    return State(actor, critic, target, reference, state.reference_entropy, alpha, entropy), metrics


def act(cfg: BRAC, state: State, seen: Seen, memory: Memory, noise: Noise, mode: Mode) -> tuple[jax.Array, Any]:
    if cfg.acting == "mode":
        return sac.act(cfg, state, seen, memory, noise, mode)
    law, n = state.actor.net(seen.obs), cfg.acting_actions
    actions = law.repeat(n).sample(candidates.normals(noise, mode, n, *law.mode().shape))
    return candidates.best(nets.first(state.critic.net)(seen.obs, actions)[0], actions), memory


def needs(cfg: BRAC) -> Needs:
    return Transitions() if primal(cfg) else Transitions(batches=cfg.discriminator_updates, columns=("next_action",))


def phases(cfg: BRAC) -> tuple[Phase, ...]:
    if not primal(cfg):
        return (Phase(),)
    return Phase("behaviour", cfg.behaviour_steps, clone, plays=cfg.clone_start), Phase()


SMALL = Preset(
    BRAC(alpha=1.0, clone_start=True, actor_decay_steps="run", critic_decay_steps="run"),
    SCALED,
    "ours, chosen on a log of 100,000 steps: docs/algorithms/brac_v.md",
)


def make(name: str, value_penalty: bool, presets: dict[str, Preset]) -> Algorithm:
    """BRAC-v (with a value penalty) or BRAC-p (without)."""
    rule = partial(update, value_penalty=value_penalty)
    return Algorithm(name, BRAC, init, rule, act, presets, dist=sac.dist, needs=needs, phases=phases, check=check)
