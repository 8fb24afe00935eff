"""Columns that a decision cannot know: those that give away the action, the reward, the outcome or the row; and columns
that say nothing."""

from __future__ import annotations

import numpy as np

from ..dataset import Dataset
from .findings import Finding, Level
from .sample import Sample, binned, explained

GIVEN_AWAY = 0.95  # share of the action's entropy or variance that one column explains
OUTCOME = 0.9  # share of the variance of a return that one column explains
ENOUGH = 20  # rows or episodes, below which a pattern may be chance
MOST_NAMED = 5


def names_of(dataset: Dataset) -> list[str]:
    """A name for each dimension of the observations."""
    if dataset.table is not None:
        return dataset.table.dimensions
    return [f"observations[{i}]" for i in range(dataset.observations.shape[1])]


def leaks(dataset: Dataset, sample: Sample) -> list[Finding]:
    """Columns that one has to ask about: could a decision know this?"""
    names = names_of(dataset)
    rows = dataset.observation_rows[sample.rows]
    seen = dataset.observations[rows].astype(np.float64)
    chosen = dataset.actions[sample.rows]
    rewards = dataset.rewards[sample.rows]
    found: list[Finding] = []
    by_action: dict[str, float] = {}
    by_reward: dict[str, float] = {}
    for i, name in enumerate(names):
        share = _of_actions(seen[:, i], chosen, dataset.discrete)
        if share > GIVEN_AWAY:
            by_action[name] = share
        share = explained(seen[:, i], rewards)
        if share > GIVEN_AWAY:
            by_reward[name] = share
    if by_action:
        text = f"{_listed(by_action)} alone determines the logged action."
        fix = "leave it out if it is written after the action; keep it if the logging policy looked at nothing else"
        found.append(Finding("leaks", "warn", text, fix, dict(by_action)))
    if by_reward:
        text = f"{_listed(by_reward)} alone determines the reward of the step."
        fix = "leave it out if it is written after the action; keep it if the reward depends on the state alone"
        level: Level = "warn" if dataset.env_id is None else "note"  # an environment gives no future away
        found.append(Finding("leaks", level, text, fix, dict(by_reward)))
    found += _outcomes(dataset, names)
    found += _row_numbers(dataset, names)
    if not found:
        found.append(
            Finding("leaks", "good", "No single column gives the action, the reward, the outcome or the row away.")
        )
    return found


def _of_actions(x: np.ndarray, actions: np.ndarray, discrete: bool) -> float:
    """The share of the logged actions that a column explains, [S] and [S] or [S, A]."""
    if not discrete:
        return max(explained(x, actions[:, j].astype(np.float64)) for j in range(actions.shape[1]))
    codes = np.unique(actions, return_inverse=True)[1]
    counts = np.zeros((binned(x, 20).max() + 1, codes.max() + 1))
    np.add.at(counts, (binned(x, 20), codes), 1)
    total = counts.sum()
    p = counts / total
    own = p.sum(0)
    entropy = -(own * np.log(own)).sum()
    if not entropy > 0:
        return 0.0
    inside = p.sum(1, keepdims=True) * own
    used = p > 0
    information = (p[used] * np.log(p[used] / inside[used])).sum()
    chance = (counts.shape[0] - 1) * (counts.shape[1] - 1) / (2 * total)  # Miller and Madow's bias of the information
    return float(max(0.0, information - chance) / entropy)


def _outcomes(dataset: Dataset, names: list[str]) -> list[Finding]:
    """Columns that are constant within each episode and tell its return."""
    if dataset.n_episodes < ENOUGH or np.median(dataset.lengths) < 2:
        return []
    returns = dataset.returns()
    shares: dict[str, float] = {}
    for i, name in enumerate(names):
        first = _of_episodes(dataset, i)
        share = 0.0 if first is None else explained(first, returns)
        if share > OUTCOME:
            shares[name] = share
    if not shares:
        return []
    text = f"{_listed(shares)} never changes within an episode and tells its return."
    fix = "leave it out if it is known only after the episode"
    return [Finding("leaks", "warn", text, fix, shares)]


def _row_numbers(dataset: Dataset, names: list[str]) -> list[Finding]:
    """Columns that count the rows or the episodes of the log."""
    counting = {}
    for i, name in enumerate(names):
        column = dataset.observations[dataset.observation_rows, i]
        first = _of_episodes(dataset, i) if dataset.n_episodes >= ENOUGH else None
        rows = len(column) >= ENOUGH and (np.diff(column) > 0).all()
        if rows or (first is not None and (np.diff(first) > 0).all()):
            counting[name] = 1.0
    if not counting:
        return []
    text = f"{_listed(counting)} numbers the rows or the episodes of the log."
    return [Finding("leaks", "warn", text, "leave it out: the policy meets values that it has never seen")]


def _of_episodes(dataset: Dataset, i: int) -> np.ndarray | None:
    """The value of a dimension in each episode, [E] float64; None if it changes within one."""
    column = dataset.observations[dataset.observation_rows, i]
    starts = dataset.offsets[:-1]
    constant = (np.maximum.reduceat(column, starts) == np.minimum.reduceat(column, starts)).all()
    return column[starts].astype(np.float64) if constant else None


def useless_columns(dataset: Dataset, sample: Sample) -> list[Finding]:
    """Columns that never change, and pairs that are the same up to scale and shift."""
    names = names_of(dataset)
    seen = dataset.observations[dataset.observation_rows[sample.rows]].astype(np.float64)
    constant = [name for i, name in enumerate(names) if np.ptp(dataset.observations[:, i]) == 0]
    found = []
    if constant:
        text = f"{_listed(dict.fromkeys(constant, 0.0))} never changes."
        found.append(Finding("columns", "note", text, "leave it out", {"constant": len(constant)}))
    varies = [i for i in range(len(names)) if seen[:, i].std() > 0]
    if len(varies) > 1:
        together = np.abs(np.corrcoef(seen[:, varies].T))
        pairs = np.argwhere(np.triu(together > 1 - 1e-9, 1))
        if len(pairs):
            named = ", ".join(f"{names[varies[a]]} and {names[varies[b]]}" for a, b in pairs[:MOST_NAMED])
            more = " and others" if len(pairs) > MOST_NAMED else ""
            text = f"{named}{more} are the same up to scale and shift."
            found.append(Finding("columns", "note", text, "keep one of them", {"duplicates": len(pairs)}))
    return found or [Finding("columns", "good", "Every column changes, and none repeats another.")]


def _listed(names: dict[str, float]) -> str:
    """`a`, `a (also b, c)`, shortened."""
    each = list(names)
    others = f" (also {', '.join(each[1:MOST_NAMED])}{' and others' if len(each) > MOST_NAMED else ''})"
    return f"The column {each[0]}{others if each[1:] else ''}"
