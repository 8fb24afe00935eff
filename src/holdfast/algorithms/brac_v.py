"""BRAC-v: behaviour-regularised actor-critic with a value penalty (Wu, Tucker, Nachum 2019, arXiv:1911.11361).

The divergence of the policy from the data's policy is paid in the actor's loss and in the targets, so values include
what will be paid later. Settings, notation, phases and differences from the authors' code: see `brac`.
"""

from __future__ import annotations

import jax

from ..core.contract import Algorithm, Preset, Treatment
from ..core.noise import Noise
from ..core.spec import Batch, Step
from ..core.trained import Metrics, merge
from ..core.tree import ema
from ..parts import losses, targets
from ..parts.acting import dist
from .brac import BRAC, CODE, TUNED, State, act, check, init, needs, optimisers_of, phases, primal
from .brac_losses import critic_loss, divergence_of, draws_of, improve, slices_of


def update(cfg: BRAC, state: State, batch: Batch, noise: Noise, step: Step) -> tuple[State, Metrics]:
    slices = slices_of(batch)
    batch = jax.tree.map(lambda x: x[0], slices)
    target_critic = ema(state.critic.net, state.target_critic, cfg.polyak)

    policy = state.actor.net(batch.next_obs)
    action, log_prob = policy.sample_and_log_prob(noise.normal("q_target_action", batch.action.shape))
    value = losses.mix(target_critic(batch.next_obs, action), cfg.mix) - state.entropy_weight.net * log_prob
    logged = None if primal(cfg) else batch.next_action
    draws = draws_of(cfg, noise, "q_div", batch.action.shape)
    penalty = divergence_of(cfg, state.reference.net, policy, batch.next_obs, action, logged, draws)
    y = targets.td(batch, value - state.alpha.net * penalty, cfg.discount)
    tx = optimisers_of(cfg).critic
    critic, m1 = state.critic.step(tx, critic_loss, y, batch, cfg.critic_weight_decay, name="critic")

    state, m2 = improve(cfg, state, critic, target_critic, slices, noise, step >= cfg.warm_start)
    return state, merge(m1, m2)


PRESETS = {
    "mujoco": Preset(BRAC(), Treatment(), CODE + "brac/run_primal.sh, run_bc.sh, brac_primal_agent.py"),
    "tuned_100k": TUNED,
}

algorithm = Algorithm("brac_v", BRAC, init, update, act, PRESETS, dist=dist, needs=needs, phases=phases, check=check)
