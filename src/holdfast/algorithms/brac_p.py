"""BRAC-p: behaviour-regularised actor-critic with a policy penalty alone; the method itself is in `brac`."""

from __future__ import annotations

from ..core.contract import Preset, Treatment
from . import brac
from .brac import BRAC

CODE = "authors' code, google-research/behavior_regularized_offline_rl, "
PUBLISHED = BRAC(divergence="kl_dual", alpha=10.0, actor_lr=3e-6, warm_start=20_000)
PRESETS = {
    "small": brac.SMALL,
    "mujoco": Preset(BRAC(), Treatment(), CODE + "run_primal.sh without value penalty, shorter cloning and warm start"),
    "published": Preset(PUBLISHED, Treatment(), CODE + "run_dual.sh (dual KL, HalfCheetah)"),
    "mmd": Preset(BRAC(divergence="mmd"), Treatment(), CODE + "divergences.py"),
    "kl_dual": Preset(BRAC(divergence="kl_dual"), Treatment(), CODE + "brac_dual_agent.py"),
    "wasserstein": Preset(BRAC(divergence="wasserstein"), Treatment(), CODE + "brac_dual_agent.py"),
    "learned": Preset(BRAC(train_alpha=True, train_entropy=True), Treatment(), CODE + "both weights learned"),
}

algorithm = brac.make("brac_p", False, PRESETS)
