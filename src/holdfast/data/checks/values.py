"""Checks of single columns: shapes and types, finite numbers, actions against their space, scales."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np

from ..arrays import OBSERVATION_COLUMNS
from ..chunks import chunks, row_wise
from ..dataset import Dataset
from ..scores import usable
from .faults import Fault, Where

SLACK = 1e-5  # share of half the range by which rounding may move a float32 action out of bounds
ABSURD = 1e6  # observations beyond this are probably in the wrong unit
UNEVEN = 1e3  # networks learn slowly if standard deviations of observation dimensions are further apart than this
LARGE_REWARD = 1e4
NORMALISE = "normalise observations (--normalize-obs 1e-3)"


def place(dataset: Dataset, observation_row: int, column: str) -> Where:
    """The place of an observation row: the transition that starts there, or the episode's last one if it is final."""
    starts = dataset.offsets[:-1] + np.arange(dataset.n_episodes)
    episode = int(np.searchsorted(starts, observation_row, side="right")) - 1
    row = observation_row - episode
    final = row == int(dataset.offsets[episode + 1])
    return Where(episode, row - final, f"{column} (final)" if final else column)


def at(dataset: Dataset, row: int, column: str) -> Where:
    """The place of a transition."""
    return Where(int(dataset.episode_of[row]), int(row), column)


def per_observation(name: str) -> bool:
    """Whether a column has a row per observation (N + E), not per transition (N)."""
    return name == "observations" or name in OBSERVATION_COLUMNS


def number_columns(dataset: Dataset) -> dict[str, np.ndarray]:
    """The columns that may hold NaN or infinite numbers, by name."""
    named = {"observations": dataset.observations, "actions": dataset.actions, "rewards": dataset.rewards}
    return {**named, **dataset.columns}


def shapes(dataset: Dataset) -> list[Fault]:
    """Observations, actions and masks whose shape is not that of their space."""
    found = []
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
            fix = "give the right space or columns"
            found.append(Fault("fatal", kind, Where(column=name), dataset.n_steps, text, fix))
    return found


def references(dataset: Dataset) -> list[Fault]:
    """Reference returns that define no score."""
    if dataset.reference is None or usable(dataset.reference):
        return []
    random, expert = dataset.reference
    text = f"reference returns are {random} and {expert}, expected two different finite numbers"
    fix = "write the set again with other references, or train without scores: --allow reference"
    return [Fault("fatal", "reference", Where(column="reference"), 1, text, fix)]


def types(dataset: Dataset) -> list[Fault]:
    """Columns stored as numbers of the wrong kind."""
    found = []
    kind = dataset.actions.dtype.kind
    if dataset.discrete and kind == "f":
        found.append(_float_actions(dataset))
    elif not dataset.discrete and kind != "f":
        text = f"actions of a Box are stored as {dataset.actions.dtype}, expected floats"
        fix = "store floats, or use a Discrete space"
        found.append(Fault("warn", "dtype", Where(column="actions"), dataset.n_steps, text, fix))
    if dataset.images:
        height, width, channels = dataset.observations.shape[1:]
        text = f"observations are images of {height} x {width} pixels with {channels} channels, kept as bytes"
        found.append(Fault("note", "images", Where(column="observations"), len(dataset.observations), text))
    elif dataset.observations.dtype.kind != "f":
        text = f"observations are stored as {dataset.observations.dtype}, expected floats; they are cast"
        found.append(Fault("note", "dtype", Where(column="observations"), len(dataset.observations), text))
    return found


def _float_actions(dataset: Dataset) -> Fault:
    """Discrete actions that are stored as floats."""
    broken = np.flatnonzero(dataset.actions != np.round(dataset.actions))
    if len(broken):
        text = f"{len(broken)} discrete actions are fractions, expected integers"
        where = at(dataset, broken[0], "actions")
        return Fault("fatal", "dtype", where, len(broken), text, "use a Box action space")
    text = f"discrete actions are stored as {dataset.actions.dtype}, expected integers"
    return Fault("warn", "dtype", Where(column="actions"), dataset.n_steps, text, "store integers")


def nonfinite(dataset: Dataset) -> list[Fault]:
    """NaN and infinite numbers, one fault a column."""
    found = []
    for name, column in number_columns(dataset).items():
        if column.dtype.kind != "f" or (name == "observations" and _finite_observations(dataset)):
            continue
        count, first = _first_bad(column)
        if not count:
            continue
        label = name + (f"[{first[1]}]" if len(first) > 1 else "")
        where = (place if per_observation(name) else at)(dataset, int(first[0]), label)
        text = f"{count} numbers of {name} are NaN or infinite, the first is {column[first]}"
        fix = "`holdfast data convert --drop-nonfinite` writes a copy without those episodes"
        found.append(Fault("fatal", "nonfinite", where, count, text, fix))
    return found


def _first_bad(column: np.ndarray) -> tuple[int, tuple[int, ...]]:
    """How many numbers of a column are NaN or infinite, and the place of the first one."""
    count = 0
    first: tuple[int, ...] = ()
    for part in chunks(len(column), math.prod(column.shape[1:])):
        bad = ~np.isfinite(column[part])
        if bad.any() and not count:
            row, *rest = (int(i) for i in np.unravel_index(int(np.argmax(bad)), bad.shape))
            first = (part.start + row, *rest)
        count += int(bad.sum())
    return count, first


def discrete_actions(dataset: Dataset) -> list[Fault]:
    """Discrete actions outside their space, or all the same."""
    if not dataset.discrete or dataset.actions.ndim != 1:
        return []
    start = int(dataset.action_space.start)  # type: ignore[union-attr]
    count = dataset.spec.action
    index = dataset.actions.astype(np.int64) - start
    wrong = np.flatnonzero((index < 0) | (index >= count))
    if len(wrong):
        first = dataset.actions[wrong[0]]
        text = f"{len(wrong)} actions are not in {start} to {start + count - 1}, the first is {first}"
        where = at(dataset, wrong[0], "actions")
        return [Fault("fatal", "action_range", where, len(wrong), text, "give the right action space")]
    used = np.unique(index)
    if len(used) == 1:
        return [
            _same_action(dataset, "there is only one action" if count == 1 else f"every action is {index[0] + start}")
        ]
    return _unused_actions(dataset, np.setdiff1d(np.arange(count), used) + start) if len(used) < count else []


def _unused_actions(dataset: Dataset, unused: np.ndarray) -> list[Fault]:
    """Discrete actions that never occur: a mistake if their number was only assumed."""
    ids = ", ".join(str(i) for i in unused[:10]) + (", ..." if len(unused) > 10 else "")
    text = f"{len(unused)} of {dataset.spec.action} actions never occur in the log: {ids}"
    where = Where(column="actions")
    if {"kind", "count"} & set(_assumed(dataset)):
        fix = "if they don't exist, name the environment with --env, or give --action-start and --action-count"
        return [Fault("warn", "unused_actions", where, len(unused), text, fix)]
    return [Fault("note", "unused_actions", where, len(unused), text)]


def assumed_space(dataset: Dataset) -> list[Fault]:
    """Facts of the action space that are only assumed: the kind of whole numbers stored as floats, and bounds."""
    assumed = _assumed(dataset)
    if dataset.discrete or dataset.actions.shape[1:] != dataset.action_space.shape:
        return []
    found = []
    if "kind" in assumed and _may_be_discrete(dataset.actions):
        low = dataset.actions.min()
        high = dataset.actions.max()
        text = f"actions are whole numbers from {low:g} to {high:g}, stored as floats, and are taken as continuous"
        fix = "--action-kind discrete if they number actions, else --action-kind continuous; or name --env"
        found.append(Fault("warn", "action_kind", Where(column="actions"), dataset.n_steps, text, fix))
    if "bounds" in assumed:
        text = "the data do not say the bounds of actions: -1 and 1 are assumed"
        fix = "if they are others, give --action-bounds LOW HIGH, or name the environment with --env"
        found.append(Fault("note", "assumed_bounds", Where(column="actions"), dataset.n_steps, text, fix))
    return found


def _assumed(dataset: Dataset) -> list[str]:
    """The facts of the action space that neither a file nor a user has given: "kind" and "bounds"."""
    noted = dataset.provenance.get("assumed")
    return noted if isinstance(noted, list) else []


def _may_be_discrete(actions: np.ndarray) -> bool:
    """Whether the actions [N, A] are whole numbers of one dimension: perhaps numbers of discrete actions."""
    return actions.shape[1] == 1 and bool((actions == np.round(actions)).all()) and bool(np.ptp(actions) > 0)


def masks(dataset: Dataset) -> list[Fault]:
    """Logged actions that their mask forbids, and states without a legal action."""
    mask = dataset.columns.get("action_mask")
    if mask is None or not dataset.discrete or dataset.actions.ndim != 1:
        return []
    index = dataset.actions.astype(np.int64) - int(dataset.action_space.start)  # type: ignore[union-attr]
    if mask.shape[1:] != (dataset.spec.action,) or ((index < 0) | (index >= dataset.spec.action)).any():
        return []  # reported by `shapes` and `discrete_actions`
    found = []
    forbidden = np.flatnonzero(~mask[dataset.observation_rows, index].astype(bool))
    if len(forbidden):
        text = f"{len(forbidden)} logged actions are forbidden by their action_mask"
        where = at(dataset, forbidden[0], "action_mask")
        fix = "check the rows of the mask: one an observation"
        found.append(Fault("fatal", "mask", where, len(forbidden), text, fix))
    stuck = np.flatnonzero(~dataset.terminations & ~mask[dataset.observation_rows + 1].any(1))
    if len(stuck):
        text = f"{len(stuck)} steps without a termination lead to an observation with no legal action"
        where = at(dataset, stuck[0], "action_mask")
        found.append(Fault("fatal", "mask", where, len(stuck), text, "mark them as terminations, or correct the mask"))
    return found


def box_actions(dataset: Dataset) -> list[Fault]:
    """Box actions without usable bounds, out of bounds, or constant."""
    if dataset.discrete or dataset.actions.shape[1:] != dataset.action_space.shape:
        return []
    low = np.asarray(dataset.action_space.low, np.float64)  # type: ignore[union-attr]
    high = np.asarray(dataset.action_space.high, np.float64)  # type: ignore[union-attr]
    found = []
    unusable = ~(np.isfinite(low) & np.isfinite(high) & (low < high))
    if unusable.any():
        count = int(unusable.sum())
        dim = int(np.argmax(unusable))
        text = f"{count} action dimensions have no finite bounds, the first is {low[dim]:g} to {high[dim]:g}"
        fix = "give finite bounds (--action-bounds LOW HIGH)"
        found.append(Fault("fatal", "no_bounds", Where(column=f"actions[{dim}]"), count, text, fix))
    slack = SLACK * np.where(unusable, 0.0, (high - low) / 2)

    def outside(actions: np.ndarray) -> np.ndarray:
        return (actions < low - slack) | (actions > high + slack)

    rows = np.flatnonzero(row_wise(lambda actions: np.asarray(outside(actions).any(1)), dataset.actions))
    if len(rows):
        dim = int(np.argmax(outside(dataset.actions[rows[0]])))
        first = dataset.actions[rows[0], dim]
        text = f"{len(rows)} rows have actions out of bounds, first {first:.6g}, expected {low[dim]:g} to {high[dim]:g}"
        fix = "--clip-actions clips them, --action-bounds LOW HIGH gives other bounds"
        if "kind" in _assumed(dataset) and _may_be_discrete(dataset.actions):
            fix = "--action-kind discrete if they number actions, else --action-bounds LOW HIGH"
        found.append(Fault("fatal", "action_bounds", at(dataset, rows[0], f"actions[{dim}]"), len(rows), text, fix))
    return found + _constant_actions(dataset)


def _constant_actions(dataset: Dataset) -> list[Fault]:
    """Dimensions of Box actions that never change."""
    constant = np.ptp(dataset.actions, axis=0) == 0
    if constant.all():
        return [_same_action(dataset, "every action is the same")]
    if not constant.any():
        return []
    dim = int(np.argmax(constant))
    count = int(constant.sum())
    text = f"{count} action dimensions never change, the first is always {dataset.actions[0, dim]:g}"
    where = Where(column=f"actions[{dim}]")
    return [Fault("warn", "constant_action", where, count, text, "leave them out, or check the logger")]


def _same_action(dataset: Dataset, what: str) -> Fault:
    text = f"{what}: there is no other action to compare it with"
    fix = "log other actions too (--allow same_action trains anyway)"
    return Fault("fatal", "same_action", Where(column="actions"), dataset.n_steps, text, fix)


def observation_scales(dataset: Dataset) -> list[Fault]:
    """Observations whose size makes a network learn slowly."""
    if dataset.images:
        return _blank_images(dataset)
    if not _finite(dataset):
        return []
    found = []
    lowest, highest = (x.astype(np.float64) for x in dataset.observation_extremes)
    largest = np.maximum(np.abs(lowest), np.abs(highest))
    beyond = int((largest > ABSURD).sum())
    if beyond:
        dim = int(np.argmax(largest))
        text = f"{beyond} observation dimensions reach beyond {ABSURD:g}, up to {largest[dim]:g}"
        row = int(np.argmax(np.abs(dataset.observations[:, dim].astype(np.float64))))
        where = place(dataset, row, f"observations[{dim}]")
        found.append(Fault("warn", "observation_scale", where, beyond, text, "check the units; " + NORMALISE))
    constant = lowest == highest
    if constant.any():
        dim = int(np.argmax(constant))
        value = f"observations[{dim}] is always {lowest[dim]:g}"
        text = f"{int(constant.sum())} observation dimensions never change, {value}"
        where = Where(column=f"observations[{dim}]")
        found.append(Fault("note", "constant_observation", where, int(constant.sum()), text))
    std = dataset.observation_moments[1]
    moving = std[~constant]
    if len(moving) and moving.max() > UNEVEN * moving.min():
        dim = int(np.argmax(std))
        text = f"standard deviations of observation dimensions range from {moving.min():.3g} to {moving.max():.3g}"
        found.append(Fault("warn", "observation_scale", Where(column=f"observations[{dim}]"), 1, text, NORMALISE))
    return found


def _blank_images(dataset: Dataset) -> list[Fault]:
    """Images that are all the same."""
    images = dataset.observations
    if any((images[part] != images[0]).any() for part in chunks(len(images), math.prod(images.shape[1:]))):
        return []
    text = "all images are the same: a policy cannot tell the states apart"
    where = Where(column="observations")
    return [Fault("warn", "constant_observation", where, len(dataset.observations), text, "check the logger")]


def reward_scales(dataset: Dataset) -> list[Fault]:
    """Rewards that are very large, all zero, or all equal."""
    if not _finite(dataset):
        return []
    row = int(np.argmax(np.abs(dataset.rewards)))
    largest = float(np.abs(dataset.rewards[row]))
    everywhere = Where(column="rewards")
    if largest > LARGE_REWARD:
        text = f"rewards reach {dataset.rewards[row]:g}: critics will learn slowly"
        return [Fault("warn", "reward_scale", at(dataset, row, "rewards"), 1, text, "scale them (--reward-scale)")]
    if largest == 0:
        text = "every reward is 0: only imitation can learn from this"
        return [Fault("warn", "zero_reward", everywhere, dataset.n_steps, text, "check the logger")]
    if np.ptp(dataset.rewards) == 0:
        text = f"every reward is {dataset.rewards[0]:g}: policies differ only in the length of their episodes"
        return [Fault("note", "constant_reward", everywhere, dataset.n_steps, text)]
    return []


def _finite(dataset: Dataset) -> bool:
    return _finite_observations(dataset) and not _first_bad(dataset.rewards)[0]


def _finite_observations(dataset: Dataset) -> bool:
    whole = dataset.observations.dtype.kind != "f" or not len(dataset.observations)
    return whole or all(bool(np.isfinite(x).all()) for x in dataset.observation_extremes)


def stored_columns(dataset: Dataset) -> list[Fault]:
    """Log-probabilities of discrete actions above 0, and discounts outside [0, 1]."""
    found: list[Fault] = []
    log_prob = dataset.columns.get("behaviour_log_prob")
    if log_prob is not None and dataset.discrete:
        wrong = np.flatnonzero(log_prob > 1e-6)
        if len(wrong):
            text = f"{len(wrong)} log-probabilities are above 0, the first is {log_prob[wrong[0]]:.4g}"
            where = at(dataset, wrong[0], "behaviour_log_prob")
            found.append(Fault("fatal", "log_prob", where, len(wrong), text, "store logarithms, not probabilities"))
    discount = dataset.columns.get("discount")
    if discount is not None:
        wrong = np.flatnonzero((discount < 0) | (discount > 1))
        if len(wrong):
            text = f"{len(wrong)} discounts are not in 0 to 1, the first is {discount[wrong[0]]:.4g}"
            where = at(dataset, wrong[0], "discount")
            found.append(Fault("fatal", "discount", where, len(wrong), text, "check the logger"))
    return found


Check = Callable[[Dataset], list[Fault]]
VALUES: tuple[Check, ...] = (
    references,
    shapes,
    types,
    nonfinite,
    discrete_actions,
    masks,
    box_actions,
    assumed_space,
    observation_scales,
    reward_scales,
    stored_columns,
)
