"""Checks of columns one by one: shapes and types, numbers, actions against their space, scales."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from ..arrays import OBSERVATION_COLUMNS
from ..dataset import Dataset
from .faults import Fault, Where

SLACK = 1e-5  # of half the range: what a float32 action may stand out of bounds by rounding
ABSURD = 1e6  # observations beyond this are taken for a fault of units
UNEVEN = 1e3  # standard deviations of dimensions further apart than this slow every network down
LARGE_REWARD = 1e4
RAW = "give finite bounds (--action-bounds LOW HIGH)"
DROP = "`holdfast data convert --drop-nonfinite` writes a copy without those episodes"
NORMALISE = "normalise observations (--normalize-obs 1e-3)"


def place(dataset: Dataset, observation_row: int, column: str) -> Where:
    """The place of an observation row: the transition that starts there, or the last of its episode for a final one."""
    starts = dataset.offsets[:-1] + np.arange(dataset.n_episodes)
    episode = int(np.searchsorted(starts, observation_row, side="right")) - 1
    row = observation_row - episode
    final = row == int(dataset.offsets[episode + 1])
    return Where(episode, row - final, f"{column} (final)" if final else column)


def at(dataset: Dataset, row: int, column: str) -> Where:
    """The place of a transition."""
    return Where(int(dataset.episode_of[row]), int(row), column)


def shapes(dataset: Dataset) -> list[Fault]:
    """Observations, actions and masks whose shape is not that of their space."""
    out = []
    pairs = [
        ("observation_shape", "observations", dataset.observations.shape[1:], dataset.observation_space.shape),
        ("action_shape", "actions", dataset.actions.shape[1:], () if dataset.discrete else dataset.action_space.shape),
    ]
    if "action_mask" in dataset.columns:
        count = (dataset.spec.action,) if dataset.discrete else ()
        pairs.append(("mask_shape", "action_mask", dataset.columns["action_mask"].shape[1:], count))
    for kind, name, have, wanted in pairs:
        if have != wanted:
            text = f"{name} have shape {have} a row, their space has {wanted}"
            out.append(
                Fault("fatal", kind, Where(column=name), dataset.n_steps, text, "give the right space or columns")
            )
    return out


def types(dataset: Dataset) -> list[Fault]:
    """Columns stored as numbers of the wrong kind."""
    out = []
    kind = dataset.actions.dtype.kind
    if dataset.discrete and kind == "f":
        broken = np.flatnonzero(dataset.actions != np.round(dataset.actions))
        if len(broken):
            text = f"{len(broken)} discrete actions are fractions, expected integers"
            out.append(
                Fault("fatal", "dtype", at(dataset, broken[0], "actions"), len(broken), text, "use a Box action space")
            )
        else:
            text = f"discrete actions are stored as {dataset.actions.dtype}, expected integers"
            out.append(Fault("warn", "dtype", Where(column="actions"), dataset.n_steps, text, "store integers"))
    elif not dataset.discrete and kind != "f":
        text = f"actions of a Box are stored as {dataset.actions.dtype}, expected floats"
        mend = "store floats, or use a Discrete space"
        out.append(Fault("warn", "dtype", Where(column="actions"), dataset.n_steps, text, mend))
    if dataset.observations.dtype.kind != "f":
        text = f"observations are stored as {dataset.observations.dtype}, expected floats; they are cast"
        out.append(Fault("note", "dtype", Where(column="observations"), len(dataset.observations), text))
    return out


def nonfinite(dataset: Dataset) -> list[Fault]:
    """NaN and infinite numbers, one fault a column."""
    out = []
    named = {"observations": dataset.observations, "actions": dataset.actions, "rewards": dataset.rewards}
    for name, column in {**named, **dataset.columns}.items():
        if column.dtype.kind != "f":
            continue
        bad = ~np.isfinite(column)
        if not bad.any():
            continue
        first = np.unravel_index(int(np.argmax(bad)), bad.shape)
        label = name + (f"[{first[1]}]" if len(first) > 1 else "")
        per_observation = name == "observations" or name in OBSERVATION_COLUMNS
        where = place(dataset, int(first[0]), label) if per_observation else at(dataset, int(first[0]), label)
        text = f"{int(bad.sum())} numbers of {name} are NaN or infinite, the first is {column[first]}"
        out.append(Fault("fatal", "nonfinite", where, int(bad.sum()), text, DROP))
    return out


def discrete_actions(dataset: Dataset) -> list[Fault]:
    """Discrete actions outside their space, forbidden by their mask, or all the same."""
    if not dataset.discrete or dataset.actions.ndim != 1:
        return []
    out = []
    start = int(dataset.action_space.start)  # type: ignore[union-attr]
    count = dataset.spec.action
    inside = dataset.actions.astype(np.int64) - start
    wrong = np.flatnonzero((inside < 0) | (inside >= count))
    if len(wrong):
        text = (
            f"{len(wrong)} actions are not in {start} to {start + count - 1}, the first is {dataset.actions[wrong[0]]}"
        )
        mend = "give the right action space"
        out.append(Fault("fatal", "action_range", at(dataset, wrong[0], "actions"), len(wrong), text, mend))
    elif len(np.unique(inside)) == 1:
        only = "there is one action only" if count == 1 else f"every action is {dataset.actions[0]}"
        text = f"{only}: nothing to compare it with"
        mend = "log other actions too (--allow same_action trains anyway)"
        out.append(Fault("fatal", "same_action", Where(column="actions"), dataset.n_steps, text, mend))
    mask = dataset.columns.get("action_mask")
    if mask is not None and not len(wrong) and mask.shape[1:] == (count,):
        forbidden = np.flatnonzero(~mask[dataset.observation_rows, inside].astype(bool))
        if len(forbidden):
            text = f"{len(forbidden)} logged actions are forbidden by their action_mask"
            where = at(dataset, forbidden[0], "action_mask")
            out.append(
                Fault("fatal", "mask", where, len(forbidden), text, "check the rows of the mask: one an observation")
            )
        stuck = np.flatnonzero(~dataset.terminations & ~mask[dataset.observation_rows + 1].any(1))
        if len(stuck):
            text = f"{len(stuck)} steps that are no true end lead to an observation with no legal action"
            where = at(dataset, stuck[0], "action_mask")
            out.append(Fault("fatal", "mask", where, len(stuck), text, "flag them as terminations, or mend the mask"))
    return out


def box_actions(dataset: Dataset) -> list[Fault]:
    """Box actions without usable bounds, out of bounds, or constant."""
    if dataset.discrete or dataset.actions.shape[1:] != dataset.action_space.shape:
        return []
    out = []
    low, high = (np.asarray(getattr(dataset.action_space, k), np.float64) for k in ("low", "high"))
    unusable = ~(np.isfinite(low) & np.isfinite(high) & (low < high))
    if unusable.any():
        dim = int(np.argmax(unusable))
        text = (
            f"{int(unusable.sum())} action dimensions have no finite bounds, the first is {low[dim]:g} to {high[dim]:g}"
        )
        where = Where(column=f"actions[{dim}]")
        out.append(Fault("fatal", "no_bounds", where, int(unusable.sum()), text, RAW))
    slack = SLACK * np.where(unusable, 0.0, (high - low) / 2)
    outside = (dataset.actions < low - slack) | (dataset.actions > high + slack)
    rows = np.flatnonzero(outside.any(1))
    if len(rows):
        dim = int(np.argmax(outside[rows[0]]))
        span = f"{low[dim]:g} to {high[dim]:g}"
        text = (
            f"{len(rows)} rows have actions out of bounds, first {dataset.actions[rows[0], dim]:.6g}, expected {span}"
        )
        mend = "--clip-actions clips them, --action-bounds LOW HIGH gives other bounds"
        out.append(Fault("fatal", "action_bounds", at(dataset, rows[0], f"actions[{dim}]"), len(rows), text, mend))
    constant = np.ptp(dataset.actions, axis=0) == 0
    if constant.all():
        text = "every action is the same: nothing to compare it with"
        mend = "log other actions too (--allow same_action trains anyway)"
        out.append(Fault("fatal", "same_action", Where(column="actions"), dataset.n_steps, text, mend))
    elif constant.any():
        dim = int(np.argmax(constant))
        text = f"{int(constant.sum())} action dimensions never change, the first is always {dataset.actions[0, dim]:g}"
        mend = "leave them out, or check the logger"
        where = Where(column=f"actions[{dim}]")
        out.append(Fault("warn", "constant_action", where, int(constant.sum()), text, mend))
    return out


def scales(dataset: Dataset) -> list[Fault]:
    """Observations and rewards whose size will trouble a network."""
    out: list[Fault] = []
    seen = dataset.observations.astype(np.float64)
    if not np.isfinite(seen).all() or not np.isfinite(dataset.rewards).all():
        return out
    largest = np.abs(seen).max(0)
    std = seen.std(0)
    if (largest > ABSURD).any():
        dim = int(np.argmax(largest))
        text = f"{int((largest > ABSURD).sum())} observation dimensions reach beyond {ABSURD:g}, up to {largest[dim]:g}"
        where = place(dataset, int(np.argmax(np.abs(seen[:, dim]))), f"observations[{dim}]")
        out.append(
            Fault(
                "warn", "observation_scale", where, int((largest > ABSURD).sum()), text, "check the units; " + NORMALISE
            )
        )
    constant = np.ptp(seen, axis=0) == 0
    if constant.any():
        dim = int(np.argmax(constant))
        text = (
            f"{int(constant.sum())} observation dimensions never change, observations[{dim}] is always {seen[0, dim]:g}"
        )
        out.append(
            Fault("note", "constant_observation", Where(column=f"observations[{dim}]"), int(constant.sum()), text)
        )
    moving = std[~constant]
    if len(moving) and moving.max() > UNEVEN * moving.min():
        dim = int(np.argmax(std))
        text = f"standard deviations of observation dimensions range from {moving.min():.3g} to {moving.max():.3g}"
        out.append(Fault("warn", "observation_scale", Where(column=f"observations[{dim}]"), 1, text, NORMALISE))
    largest_reward = float(np.abs(dataset.rewards).max())
    row = int(np.argmax(np.abs(dataset.rewards)))
    if largest_reward > LARGE_REWARD:
        text = f"rewards reach {dataset.rewards[row]:g}: critics will be slow to follow"
        out.append(Fault("warn", "reward_scale", at(dataset, row, "rewards"), 1, text, "scale them (--reward-scale)"))
    elif largest_reward == 0:
        text = "every reward is 0: only imitation can learn from this"
        out.append(Fault("warn", "zero_reward", Where(column="rewards"), dataset.n_steps, text, "check the logger"))
    elif np.ptp(dataset.rewards) == 0:
        text = f"every reward is {dataset.rewards[0]:g}: only the lengths of episodes tell policies apart"
        out.append(Fault("note", "constant_reward", Where(column="rewards"), dataset.n_steps, text))
    return out


def stored_columns(dataset: Dataset) -> list[Fault]:
    """Log-probabilities above 0 of discrete actions, discounts outside [0, 1]."""
    out: list[Fault] = []
    log_prob = dataset.columns.get("behaviour_log_prob")
    if log_prob is not None and dataset.discrete:
        wrong = np.flatnonzero(log_prob > 1e-6)
        if len(wrong):
            text = f"{len(wrong)} log-probabilities are above 0, the first is {log_prob[wrong[0]]:.4g}"
            where = at(dataset, wrong[0], "behaviour_log_prob")
            out.append(Fault("fatal", "log_prob", where, len(wrong), text, "store logarithms, not probabilities"))
    discount = dataset.columns.get("discount")
    if discount is not None:
        wrong = np.flatnonzero((discount < 0) | (discount > 1))
        if len(wrong):
            text = f"{len(wrong)} discounts are not in 0 to 1, the first is {discount[wrong[0]]:.4g}"
            out.append(
                Fault("fatal", "discount", at(dataset, wrong[0], "discount"), len(wrong), text, "check the logger")
            )
    return out


Check = Callable[[Dataset], list[Fault]]
VALUES: tuple[Check, ...] = (shapes, types, nonfinite, discrete_actions, box_actions, scales, stored_columns)
