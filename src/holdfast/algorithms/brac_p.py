"""BRAC-p: behaviour-regularised actor-critic with a policy penalty (Wu, Tucker, Nachum 2019, arXiv:1911.11361).

The divergence of the policy from the data's policy is paid in the actor's loss alone; the targets are those of an
ordinary actor-critic. Settings, notation, phases and differences from the authors' code: see `brac`.
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
from .brac import BRAC, CODE, TUNED, State, act, check, init, needs, phases
from .brac_losses import learn, slices_of, soft_values


def update(cfg: BRAC, state: State, batch: Batch, noise: Noise, step: Step) -> tuple[State, Metrics]:
    slices = slices_of(batch)
    batch = jax.tree.map(lambda x: x[0], slices)
    target_critic = ema(state.critic.net, state.target_critic, cfg.polyak)
    _, _, value = soft_values(cfg, state, target_critic, batch, noise)
    y = targets.td(batch, value, cfg.discount)
    return learn(cfg, state, y, target_critic, slices, noise, step)


PRESETS = {
    "mujoco": Preset(
        BRAC(), Treatment(), CODE + "README.md (brac_primal with VALUE_PENALTY=False), brac_primal_agent.py"
    ),
    "dual": Preset(
        BRAC(divergence="kl_dual", alpha=10.0, actor_lr=3e-6),
        Treatment(),
        CODE + "brac/run_dual.sh, brac_dual_agent.py",
    ),
    "tuned_100k": TUNED,
}

algorithm = Algorithm("brac_p", BRAC, init, update, act, PRESETS, dist=dist, needs=needs, phases=phases, check=check)
