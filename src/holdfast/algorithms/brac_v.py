"""BRAC-v: behaviour-regularised actor-critic with a value penalty (Wu, Tucker, Nachum 2019, arXiv:1911.11361).

The divergence of the policy from the data's policy is paid in the actor's loss and in the targets, so values include
what will be paid later. Settings, notation, phases and differences from the authors' code: see `brac`.
"""

from __future__ import annotations

import jax

from ..core.contract import Algorithm, Preset, Treatment
from ..core.noise import Noise
from ..core.spec import Batch, Step
from ..core.trained import Metrics
from ..core.tree import ema
from ..parts import targets
from ..parts.acting import dist
from ..parts.divergence_estimates import divergence
from .brac import BRAC, CODE, TUNED, State, act, check, init, needs, phases, primal
from .brac_losses import draws_of, kind_of, learn, slices_of, soft_values


def update(cfg: BRAC, state: State, batch: Batch, noise: Noise, step: Step) -> tuple[State, Metrics]:
    slices = slices_of(batch)
    batch = jax.tree.map(lambda x: x[0], slices)
    target_critic = ema(state.critic.net, state.target_critic, cfg.polyak)
    policy, action, value = soft_values(cfg, state, target_critic, batch, noise)
    logged = None if primal(cfg) else batch.next_action
    draws = draws_of(cfg, noise, "q_div", batch.action.shape)
    penalty = divergence(kind_of(cfg), state.reference.net, policy, batch.next_obs, action, logged, draws)
    y = targets.td(batch, value - state.alpha.net * penalty, cfg.discount)
    return learn(cfg, state, y, target_critic, slices, noise, step)


PRESETS = {
    "mujoco": Preset(BRAC(), Treatment(), CODE + "brac/run_primal.sh, run_bc.sh, brac_primal_agent.py"),
    "tuned_100k": TUNED,
}

algorithm = Algorithm("brac_v", BRAC, init, update, act, PRESETS, dist=dist, needs=needs, phases=phases, check=check)
