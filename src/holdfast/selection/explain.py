"""`explain`: why a policy takes an action: attributions, the nearest logged transitions, the values of actions."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import jax
import numpy as np
from numpy.typing import ArrayLike

from ..core.errors import UserError
from ..core.spec import Obs
from ..data.arrays import take
from ..data.dataset import Dataset
from ..data.feed.columns import to_go
from ..data.sources import load_dataset
from ..data.tables.rows import GivenRows
from ..environments.gym import joint_actions
from ..policy.policy import Policy
from ..policy.support import require_vectors
from ..policy.support_fit import require_match
from .attribution import STEPS, attributed, by_column
from .explanation import Choice, Explanation, Neighbour

NEIGHBOURS = 5
ROWS = 8192  # of the log at once


def explain(
    policy: Policy | str | Path,
    data: Dataset | str | Path,
    row: int | None = None,
    *,
    obs: Obs | GivenRows | None = None,
    mask: ArrayLike | None = None,
    neighbours: int = NEIGHBOURS,
    steps: int = STEPS,
) -> Explanation:
    """Explain one decision of a policy.

    The attribution is that of integrated gradients (Sundararajan, Taly and Yan 2017, equation 1) along the straight
    line from the mean observation of the log: (x - x') times the mean gradient. Of a discrete policy the
    log-probability of its action is attributed, or the value of the action if it has no distribution; of a continuous
    one each dimension of the action.

    Args:
        policy: a policy (with its critic, `run.policy(critic=True)`, if values are wanted), or the folder of one.
        data: the log, or its name.
        row: number of a logged step from 0. None: `obs` is given.
        obs: one raw observation [*obs], or a row of a table. None: `row` is given.
        mask: legal actions [A], if the policy learned with them and `obs` is given.
        neighbours: number of nearest logged transitions.
        steps: points on the line.

    Raises:
        UserError: neither a row nor an observation, a row that the log does not have, images, or a policy with a
            memory.
    """
    dataset = data if isinstance(data, Dataset) else load_dataset(data)
    policy = policy if isinstance(policy, Policy) else Policy.load(policy)
    require_match(policy, dataset)
    require_vectors(policy.spec, dataset.id)
    if (row is None) == (obs is None):
        raise UserError("name one decision: a row of the log (row=0), or one observation (obs=...)")
    if row is not None and not 0 <= row < dataset.n_steps:
        raise UserError(f"row {row} of {dataset.id}, expected a step from 0 to {dataset.n_steps - 1}")
    if neighbours < 1 or steps < 1:
        raise UserError(f"{neighbours} neighbours and {steps} points of the line, expected at least 1 each")
    if jax.tree.leaves(policy.start(1).memory):
        raise UserError(f"a policy of {policy.algorithm.name} has a memory: one observation does not decide its action")
    where = "given"
    logged = None
    own = -1
    if row is not None:
        own = int(dataset.episode_of[row])
        where = f"step {int(dataset.timesteps[row])} of episode {own}"
        obs = take(dataset.observations, dataset.observation_rows[row : row + 1])[0]
        logged = dataset.actions[row]
        if policy.spec.masked:
            mask = dataset.columns["action_mask"][dataset.observation_rows[row]].astype(bool)
    raw = policy.numbers(obs)
    action = policy.act(raw, mask=mask)[0]
    inside = policy.to_inside(action)
    nearest, near_actions = _nearest(policy, dataset, raw, own, neighbours)
    notes: list[str] = []
    outputs, before, after, parts = attributed(policy, dataset, raw, inside, mask, steps, notes)
    choices = _choices(policy, raw, mask, action, logged, near_actions, notes)
    return Explanation(
        policy=policy.algorithm.name,
        where=where,
        action=action_text(policy, action),
        logged="" if logged is None else action_text(policy, _outside(policy, logged)),
        support=None if policy.support_model is None else float(policy.support(raw, action, mask=mask)),
        outputs=outputs,
        before=before,
        after=after,
        attributions=by_column(policy, raw, parts),
        choices=choices,
        nearest=nearest,
        notes=tuple(notes),
    )


def action_text(policy: Policy, action: ArrayLike) -> str:
    """An action in words: its label, or its numbers."""
    values = np.asarray(action)
    if policy.table is not None and policy.table.action.labels is not None:
        labels = policy.table.action.labels
        return ", ".join(str(known[int(code)]) for known, code in zip(labels, np.ravel(values), strict=True))
    if values.dtype.kind == "f":
        return ", ".join(f"{x:.4g}" for x in np.ravel(values))
    return ", ".join(str(x) for x in np.ravel(values))


def _outside(policy: Policy, logged: ArrayLike) -> np.ndarray:
    """A logged action as the policy gives it: parts of several discrete actions."""
    values = np.asarray(logged)
    return values if policy.raw_action_space is None else joint_actions.parts(policy.raw_action_space, values[None])[0]


def _nearest(
    policy: Policy, dataset: Dataset, raw: np.ndarray, own: int, count: int
) -> tuple[tuple[Neighbour, ...], list[np.ndarray]]:
    """The nearest logged states of other episodes, and their actions."""
    mean, std = dataset.observation_moments
    scale = np.where(std > 1e-6 * np.maximum(np.abs(mean), 1e-6), std, 1.0).ravel()
    rows = dataset.observation_rows
    gaps = np.empty(dataset.n_steps)
    for start in range(0, dataset.n_steps, ROWS):
        part = take(dataset.observations, rows[start : start + ROWS]).reshape(-1, len(scale)).astype(np.float64)
        gaps[start : start + ROWS] = np.square((part - np.ravel(raw)) / scale).mean(1)
    gaps[dataset.episode_of == own] = np.inf
    order = np.argsort(gaps, kind="stable")[:count]
    order = order[np.isfinite(gaps[order])]
    later = to_go(dataset.rewards, dataset.offsets, 1.0)
    found = [
        Neighbour(
            int(dataset.episode_of[i]),
            int(dataset.timesteps[i]),
            float(np.sqrt(gaps[i])),
            action_text(policy, _outside(policy, dataset.actions[i])),
            float(dataset.rewards[i]),
            float(later[i]),
        )
        for i in order
    ]
    return tuple(found), [_outside(policy, dataset.actions[i]) for i in order]


def _choices(
    policy: Policy,
    raw: np.ndarray,
    mask: ArrayLike | None,
    action: np.ndarray,
    logged: np.ndarray | None,
    near: Sequence[np.ndarray],
    notes: list[str],
) -> tuple[Choice, ...]:
    """Every discrete action, or the policy's, the logged and the nearest continuous ones."""
    probabilities = None
    if policy.spec.discrete:
        start = policy.fitted.action_start
        codes = np.arange(policy.spec.action) + start
        candidates = [_outside(policy, code) for code in codes]
        try:
            probabilities = policy.probabilities(raw, mask=mask)
        except UserError as fault:
            notes.append(str(fault))
    else:
        candidates = [np.asarray(action), *([np.asarray(logged)] if logged is not None else []), *near]
    values = None
    try:
        values = [float(policy.value(raw, one, mask=mask)) for one in candidates]
    except UserError as fault:
        notes.append(str(fault))
    found = []
    for i, one in enumerate(candidates):
        same = np.array_equal(one, action)
        note = "chosen" if (same and policy.spec.discrete) or (i == 0 and not policy.spec.discrete) else ""
        if policy.spec.discrete and logged is not None and np.array_equal(one, _outside(policy, logged)):
            note = f"{note}, logged".lstrip(", ")
        if not policy.spec.discrete and i:
            note = "logged" if logged is not None and i == 1 else "near"
        probability = None if probabilities is None else float(probabilities[i])
        found.append(Choice(action_text(policy, one), probability, None if values is None else values[i], note))
    return tuple(found)
