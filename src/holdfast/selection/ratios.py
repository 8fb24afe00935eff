"""Ratios of the visits of a policy to those of a log, from the method `dice` in the training loop."""

from __future__ import annotations

import math
import tempfile

import jax
import jax.numpy as jnp
import numpy as np

from ..core.errors import Diverged, UserError
from ..core.spec import Cfg, Mode, State
from ..data.arrays import take
from ..data.dataset import Dataset
from ..data.feed.treatment import Fitted
from ..evaluation.ope.aim import Aim
from ..evaluation.ope.visits import Ratios
from ..policy.policy import Policy
from ..runs.settings import Settings
from ..training.in_memory import train_in_memory

ROWS = 4096
LARGEST_DRIFT = 0.05  # of the range of logged rewards, over the last tenth of the updates


def visit_ratios(policy: Policy, dataset: Dataset, mode: Mode, aim: Aim, updates: int) -> Ratios:
    """Train `dice` on the log.

    Args:
        policy: the evaluated policy.
        dataset: the log.
        mode: how the policy will act.
        aim: discount below 1 and no horizon.
        updates: number of updates.

    Raises:
        UserError: images.
    """
    if dataset.images:
        raise UserError(f"{dataset.id} has images: dice needs vectors")
    blank = np.zeros(dataset.n_steps)
    every = max(1, updates // 10)
    values: list[float] = []
    found, end = blank, 0.0
    with tempfile.TemporaryDirectory() as folder:
        policy.save(folder)
        settings = Settings.of(
            "dice",
            config={"policy_mode": mode, "discount": aim.discount},
            data=dataset.id,
            steps=updates,
            seed=aim.seed,
            inputs={"policy": folder},
            evaluate=False,
        )
        try:
            for moment in train_in_memory(settings, dataset, every):
                if moment.step >= updates - every:
                    cfg, state = jax.tree.map(lambda x: jnp.array(x[0]), (moment.cfgs, moment.state))
                    found, end = _read(cfg, state, dataset, moment.plan.task.fitted)
                    total = (found + end * dataset.terminations).sum()
                    values.append(float((found * dataset.rewards).sum() / total) if total else math.inf)
        except Diverged as fault:
            return Ratios("dice", blank, 0.0, {}, (str(fault),))
    spread = max(float(np.ptp(dataset.rewards)), 1e-12)
    drift = abs(values[-1] - values[0]) / spread
    faults = []
    if not math.isfinite(drift) or drift > LARGEST_DRIFT:
        faults.append(
            f"the mean reward under the ratios still changes by {drift:.0%} of the range of rewards in the last tenth "
            "of the updates: train longer with --updates"
        )
    known = drift if math.isfinite(drift) else 1.0
    facts = {"updates": float(updates), "drift": known, "largest_ratio": float(found.max())}
    return Ratios("dice", found, end, facts, tuple(faults))


def _read(cfg: Cfg, state: State, dataset: Dataset, fitted: Fitted) -> tuple[np.ndarray, float]:
    """The ratios of all logged steps, [N], and of the absorbing state."""
    zeta = state.zeta.net
    of_pairs = jax.jit(lambda obs, action: zeta.critic(obs, action)[0])
    parts = []
    for start in range(0, dataset.n_steps, ROWS):
        rows = slice(start, start + ROWS)
        obs = fitted.observe(take(dataset.observations, dataset.observation_rows[rows]))
        action = fitted.act_inside(dataset.actions[rows])
        parts.append(np.asarray(of_pairs(jnp.asarray(obs), jnp.asarray(action)), np.float64))
    found = np.concatenate(parts)
    return (found**2, float(zeta.end) ** 2) if cfg.positive else (found, float(zeta.end))
