"""Checks of consecutive rows: stray first observations, jumps, rewards that are shifted by one step.

All three are guesses from statistics of the log, with thresholds that make false alarms rare. They warn; they are never
fatal.
"""

from __future__ import annotations

import numpy as np

from ..arrays import last_rows, take
from ..chunks import chunks
from ..dataset import Dataset
from .faults import Fault, Where
from .values import Check, at

# A stray first observation: this many times further out than 90 % of the others, ...
STRAY = 4.0
SETTLED = 3.0  # ... and the second observation at most this many times further out among the second ones.
SINGLE = 0.1  # not looked for if more than this share of the episodes has one step
# A suspected jump: longer than this many times the 99th percentile of all moves, ...
JUMP_FACTOR = 10.0
BOUNDARY_FACTOR = 3.0  # ... or, if it lands among the first observations, than this many times the median move.
FLOOR = 1e-2  # the least standard deviation of a dimension, as a share of the largest one
SAMPLE = 20_000  # transitions in the regression of the rewards
# Shifted rewards: the shifted fit explains at least this share of the variance, ...
SHIFTED_FIT = 0.8
SHIFTED_GAIN = 3.0  # ... and leaves this many times less unexplained than the fit without a shift.


def stray_starts(dataset: Dataset) -> np.ndarray:
    """Episodes whose first observation seems to belong to another episode: [K] indices.

    It lies far outside the other first observations, while the second observation is an ordinary one. Vector
    environments that reset on the step after an end leave such rows.
    """
    if dataset.n_episodes < 10 or not dataset.observations.size:
        return np.zeros(0, np.int64)
    if (dataset.lengths == 1).mean() > SINGLE:  # the observation after a single step says nothing about its start
        return np.zeros(0, np.int64)
    rows = dataset.offsets[:-1] + np.arange(dataset.n_episodes)
    std = dataset.observation_moments[1]
    far = []
    for shift in (0, 1):
        seen = take(dataset.observations, rows + shift)[:, std > 0] / std[std > 0]
        away = np.abs(seen - np.median(seen, 0))
        far.append((away / (np.quantile(away, 0.9, axis=0) + 1e-3)).max(1, initial=0.0))
    return np.flatnonzero((far[0] > STRAY) & (far[1] <= SETTLED))


def starts(dataset: Dataset) -> list[Fault]:
    """Episodes whose first observation belongs to another episode."""
    found = stray_starts(dataset)
    if not len(found):
        return []
    text = f"{len(found)} episodes start with an observation of another episode: it does not lead to their second one"
    fix = "`holdfast data convert --drop-stray-starts` leaves those first rows out"
    where = at(dataset, int(dataset.offsets[found[0]]), "observations")
    return [Fault("warn", "stray_start", where, len(found), text, fix)]


def jumps(dataset: Dataset) -> list[Fault]:
    """Steps that are much longer than the others: probably the end of an episode that no flag marks.

    The length of a step is its largest move in any dimension, in standard deviations of that dimension. A step is
    suspected if it is far longer than the 99th percentile, or if it is long and leads from outside into the box of all
    first observations.
    """
    if dataset.n_steps < 100 or dataset.observations.shape[1] == 0:
        return []
    strays = stray_starts(dataset)
    move, lands = _moves(dataset, strays)
    inner = np.ones(len(move), bool)
    inner[dataset.offsets[strays]] = False  # `starts` reports them
    last = dataset.offsets[1:] - 1
    inner[last[dataset.terminations[last]]] = False  # in D4RL's files another episode follows a true end
    middle = ~last_rows(dataset.offsets)  # the last steps are compared with the others
    usual = np.quantile(move[middle] if middle.any() else move, 0.99)
    suspect = inner & (usual > 0) & (move > JUMP_FACTOR * usual)
    if dataset.n_episodes >= 5:
        typical = np.median(move[inner]) if inner.any() else 0.0
        suspect |= inner & lands & (move > np.maximum(BOUNDARY_FACTOR * typical, usual))
    found = np.flatnonzero(suspect)
    if not len(found):
        return []
    text = f"{len(found)} steps move observations further than the log's others, the first by {move[found[0]]:.3g} std"
    fix = "check whether an episode ends there without a flag"
    if np.isin(found, last).all():
        text += "; each is the last step of a truncated episode"
        fix = "check whether the time-out flags are one row late: then the next episode's start closes each episode"
    return [Fault("warn", "suspect_jump", at(dataset, found[0], "observations"), len(found), text, fix)]


def _moves(dataset: Dataset, strays: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The largest move of each step, and whether it leads from outside into the box of all first observations.

    Observations are in standard deviations, without the dimensions that never change. The episodes `strays` do not
    count for the box.

    Returns:
        [N] float64, [N] bool.
    """
    std = dataset.observation_moments[1]
    moving = std > 0
    unit = np.maximum(std[moving], FLOOR * std.max())[:, None]
    starts = np.delete(dataset.offsets[:-1] + np.arange(dataset.n_episodes), strays)
    first = take(dataset.observations, starts)[:, moving]
    low = first.min(0)[:, None] / unit
    high = first.max(0)[:, None] / unit
    rows = dataset.observation_rows
    move = np.empty(dataset.n_steps)
    lands = np.empty(dataset.n_steps, bool)
    for part in chunks(dataset.n_steps, len(std)):
        begin = rows[part][0]
        seen = take(dataset.observations, slice(begin, rows[part][-1] + 2))[:, moving]
        seen = np.ascontiguousarray(seen.T, np.float64) / unit  # a dimension in each row: NumPy is faster along rows
        inside = ((seen >= low) & (seen <= high)).all(0)
        before = rows[part] - begin
        move[part] = np.abs(np.diff(seen)).max(0, initial=0.0)[before]
        lands[part] = inside[before + 1] & ~inside[before]
    return move, lands


def shifted_rewards(dataset: Dataset) -> list[Fault]:
    """Rewards that belong to the step before or after.

    A quadratic regression predicts r[t] from (o, a, o') of step t - 1, t or t + 1. If a neighbouring step predicts it
    well, and far better than step t, the rewards are shifted by one step. The check finds only rewards that depend on
    the action or on the change of the observation (a reward of the state alone fits two neighbouring rows equally
    well), and no sparse rewards.
    """
    span = dataset.timesteps
    left = np.repeat(dataset.lengths, dataset.lengths) - 1 - span
    rows = np.flatnonzero((span >= 1) & (left >= 1))
    if dataset.discrete or dataset.actions.ndim != 2 or np.ptp(dataset.rewards) == 0:
        return []
    if len(rows) > SAMPLE:
        rows = np.random.default_rng(0).choice(rows, SAMPLE, replace=False)
    width = 2 * (2 * dataset.observations.shape[1] + dataset.actions.shape[1]) + 1
    if len(rows) < 20 * width:
        return []
    target = dataset.rewards[rows]
    spread = float(target.var())
    if spread == 0:
        return []
    unexplained = {shift: _unexplained(dataset, rows + shift, target) / spread for shift in (-1, 0, 1)}
    best = min((-1, 1), key=lambda shift: unexplained[shift])
    if unexplained[best] > 1 - SHIFTED_FIT or unexplained[0] < SHIFTED_GAIN * unexplained[best]:
        return []
    text = (
        f"rewards fit the step {'before' if best < 0 else 'after'} theirs: it explains {1 - unexplained[best]:.4f} of "
        f"the variance, their own step {1 - unexplained[0]:.4f}"
    )
    fix = f"shift rewards by one row ({'later' if best > 0 else 'earlier'}) within episodes"
    return [Fault("warn", "shifted_rewards", Where(column="rewards"), dataset.n_steps, text, fix)]


def _unexplained(dataset: Dataset, rows: np.ndarray, target: np.ndarray) -> float:
    """Mean squared residual of a least-squares fit of `target` by 1, (o, a, o') at `rows` and their squares."""
    at_rows = dataset.observation_rows[rows]
    parts = [take(dataset.observations, at_rows), dataset.actions[rows], take(dataset.observations, at_rows + 1)]
    x = np.concatenate([p.astype(np.float64) for p in parts], axis=1)
    x = (x - x.mean(0)) / np.where(x.std(0) > 0, x.std(0), 1.0)
    x = np.concatenate([np.ones((len(x), 1)), x, x * x], axis=1)
    # the normal equations: a decomposition of all rows takes ten times as long, and the data are checked at every start
    weights = np.linalg.lstsq(x.T @ x, x.T @ target, rcond=1e-12)[0]
    return float(np.mean((target - x @ weights) ** 2))


DYNAMICS: tuple[Check, ...] = (starts, jumps, shifted_rewards)
