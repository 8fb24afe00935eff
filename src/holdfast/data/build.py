"""The fields of a `Dataset` from arrays in memory: from flat columns, or from a list of episodes."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, TypedDict

import numpy as np
from numpy.typing import ArrayLike

from ..core.errors import UserError
from . import spaces
from .arrays import OBSERVATION_COLUMNS, STORED_COLUMNS, as_actions, as_observations, closed, flags, stored, vector
from .checks.faults import Fault, Where
from .flat import Cut, CutRules, cut

if TYPE_CHECKING:
    from gymnasium.spaces import Box, Discrete

EPISODE_COLUMNS = ("observations", "actions", "rewards", "terminations", "truncations")


class Facts(TypedDict, total=False):
    """Fields of a `Dataset` that describe it; the caller of `from_arrays` or `from_episodes` may set any of them."""

    observation_space: Box | None
    action_space: Box | Discrete | None
    id: str
    env_spec: str | None
    reference: tuple[float, float] | None
    provenance: Mapping[str, Any]


@dataclasses.dataclass(frozen=True)
class RawTable:
    """Flat columns of N rows as they were logged: one row a step, episodes one after another."""

    observations: ArrayLike  # [N, *obs]
    actions: ArrayLike  # [N, A], or [N] integers if discrete
    rewards: ArrayLike  # [N]
    terminations: ArrayLike  # [N] flags, true ends
    truncations: ArrayLike | None = None  # [N] flags, time limits
    next_observations: ArrayLike | None = None  # [N, *obs]
    columns: Mapping[str, ArrayLike] = dataclasses.field(default_factory=dict)  # [N, ...], optional columns by name


class _Table(TypedDict):
    """A `RawTable` as arrays of equal length."""

    observations: np.ndarray
    actions: np.ndarray
    rewards: np.ndarray
    terminations: np.ndarray
    truncations: np.ndarray | None
    next_observations: np.ndarray | None


def fields_from_arrays(
    raw: RawTable, rules: CutRules, action_bounds: spaces.Bounds | None, facts: Facts
) -> dict[str, Any]:
    """The fields of a `Dataset` from flat columns.

    If `next_observations` are missing, D4RL's rule holds (see `flat`): a row that ended by a time limit has no next
    observation and is left out; `provenance["left_out"]` counts these rows.

    Args:
        raw: the columns. Next to `action_mask`, a column `next_action_mask` may say which actions are legal at
            `next_observations`.
        rules: where to cut the rows into episodes.
        action_bounds: low and high of a Box of actions, used if `facts` has no action space.
        facts: the other fields of the data set.

    Raises:
        UserError: columns of unequal length, columns that are not numbers, or an empty log.
    """
    id = facts.get("id", "arrays")
    table, extra = _checked(raw, facts.get("action_space"), id)
    action_space, assumed = _action_space(table["actions"], action_bounds, facts)
    episodes = _cut(table, rules, id)
    paid = table["rewards"] != 0
    paid[episodes.rows] = False
    lost = np.flatnonzero(paid)  # rewards on rows that are left out
    automatic = rules.terminal_sessions is None and len(lost) > 0 and not table["rewards"][episodes.rows].any()
    if automatic:
        episodes = _cut(table, dataclasses.replace(rules, terminal_sessions=True), id)
        episodes.faults.append(_kept_sessions(lost).to_dict())
        lost = lost[:0]
    found: dict[str, Any] = {"left_out": episodes.left_out, "faults": episodes.faults}
    if len(lost):
        found["left_out_rewards"] = len(lost)
    columns = _stored_columns(extra, episodes)  # may add a fault
    if rules.max_episode_steps is not None:
        found["max_episode_steps"] = rules.max_episode_steps
    return {
        **facts,
        "observations": episodes.observations,
        "actions": table["actions"][episodes.rows],
        "rewards": table["rewards"][episodes.rows],
        "terminations": episodes.terminations,
        "truncations": episodes.truncations,
        "offsets": episodes.offsets,
        "observation_space": facts.get("observation_space") or spaces.observation_box(table["observations"]),
        "action_space": action_space,
        "id": id,
        "columns": columns,
        "provenance": {**(facts.get("provenance") or {}), **found, **assumed},
    }


def _cut(table: _Table, rules: CutRules, id: str) -> Cut:
    """The columns cut into episodes."""
    flat = (table["observations"], table["terminations"], table["truncations"], table["next_observations"])
    try:
        return cut(*flat, rules)
    except UserError as e:
        raise UserError(f"{id}: {e}") from e


def _kept_sessions(rows: np.ndarray) -> Fault:
    """The warning that the last rows of sessions were kept as true ends, because they carry all rewards."""
    text = f"all {len(rows)} rewards other than 0 are on rows without a next observation: these are kept as true ends"
    fix = "give next_observations, or leave the rows out with --terminal-sessions False"
    return Fault("warn", "terminal_sessions", Where(row=int(rows[0]), column="truncations"), len(rows), text, fix)


def _action_space(
    actions: np.ndarray, bounds: spaces.Bounds | None, facts: Facts
) -> tuple[Box | Discrete, dict[str, list[str]]]:
    """The given action space, or the one that the actions suggest; then the entry `assumed` of the provenance too."""
    given = facts.get("action_space")
    if given is not None:
        return given, {}
    space = spaces.action_space_for(actions, bounds)
    if bounds is None:
        return space, {"assumed": ["kind"] if actions.ndim == 1 else ["kind", "bounds"]}
    if actions.ndim == 1:
        raise UserError(
            f"{facts.get('id', 'arrays')}: actions are integers, taken as discrete, which have no bounds; leave "
            "action_bounds out, or store floats"
        )
    return space, {}


def _checked(raw: RawTable, action_space: Box | Discrete | None, id: str) -> tuple[_Table, dict[str, np.ndarray]]:
    """The main columns and the optional ones as arrays of N rows."""
    observations = as_observations(raw.observations, f"{id}: observations")
    following = None
    if raw.next_observations is not None:
        following = as_observations(raw.next_observations, f"{id}: next_observations")
    table: _Table = {
        "observations": observations,
        "actions": as_actions(raw.actions, f"{id}: actions", action_space),
        "rewards": vector(raw.rewards, f"{id}: rewards"),
        "terminations": flags(raw.terminations, f"{id}: terminations"),
        "truncations": None if raw.truncations is None else flags(raw.truncations, f"{id}: truncations"),
        "next_observations": following,
    }
    extra = {name: stored(name, column, f"{id}: {name}") for name, column in raw.columns.items()}
    rows = len(observations)
    columns: dict[str, Any] = {**table, **extra}
    for name, column in columns.items():
        if column is not None and len(column) != rows:
            raise UserError(
                f"{id}: {name} has {len(column)} rows, observations {rows}; expected one row a step in each"
            )
    if following is not None:
        _require_widths({"observations": observations, "next_observations": following}, id)
    for name in OBSERVATION_COLUMNS:
        _require_widths({k: extra[k] for k in (name, f"next_{name}") if k in extra}, id)
    return table, extra


def _require_widths(columns: Mapping[str, np.ndarray], id: str) -> None:
    """Refuse columns whose rows have another shape than those of the first one."""
    shapes = {name: column.shape[1:] for name, column in columns.items()}
    first = next(iter(shapes), "")
    for name, shape in shapes.items():
        if shape != shapes[first]:
            raise UserError(f"{id}: {name} has rows of shape {shape}, {first} {shapes[first]}; expected the same")


def _stored_columns(extra: Mapping[str, np.ndarray], episodes: Cut) -> dict[str, np.ndarray]:
    """The optional columns in episode form. `next_NAME` closes the episodes of NAME and is not kept itself."""
    per_observation = {name: _per_observation(name, extra, episodes) for name in OBSERVATION_COLUMNS if name in extra}
    used = {*per_observation, *(f"next_{name}" for name in per_observation)}
    return per_observation | {name: column[episodes.rows] for name, column in extra.items() if name not in used}


def _per_observation(name: str, extra: Mapping[str, np.ndarray], episodes: Cut) -> np.ndarray:
    """A flat column with a row per observation, in episode form: [N + E, ...].

    The row that closes an episode is a row of the log, or a row of the column `next_NAME`. If neither has it, the last
    row is repeated; that is recorded as a fault if the episode was cut off.
    """
    column = closed(extra[name][episodes.rows], episodes.offsets)
    last = episodes.offsets[1:] - 1
    closing = last + 1 + np.arange(len(last))
    known = episodes.closing >= 0
    column[closing[known]] = extra[name][episodes.closing[known]]
    if f"next_{name}" in extra:
        column[closing[~known]] = extra[f"next_{name}"][episodes.rows[last[~known]]]
        return column
    unknown = np.flatnonzero(~known & ~episodes.terminations[last])
    if len(unknown):
        where = Where(int(unknown[0]), int(last[unknown[0]]), name)
        text = f"{name} is not in the log after the last step of {len(unknown)} truncated episodes: repeated from there"
        fault = Fault("warn", "closing", where, len(unknown), text, f"add the column next_{name}")
        episodes.faults.append(fault.to_dict())
    return column


def fields_from_episodes(
    episodes: Sequence[Mapping[str, ArrayLike]],
    columns: Mapping[str, ArrayLike] | None,
    action_bounds: spaces.Bounds | None,
    facts: Facts,
) -> dict[str, Any]:
    """The fields of a `Dataset` from a list of episodes.

    Args:
        episodes: mappings with observations `[T + 1, *obs]`, actions, rewards, terminations and truncations `[T]`.
        columns: optional columns over all episodes; if None, the keys of `STORED_COLUMNS` that every episode has.
        action_bounds: low and high of a Box of actions, used if `facts` has no action space.
        facts: the other fields of the data set.

    Raises:
        UserError: no episodes, a missing key, or columns of unequal length within an episode.
    """
    id = facts.get("id", "episodes")
    if not episodes:
        raise UserError(f"{id}: no episodes; expected at least one")
    optional = [name for name in STORED_COLUMNS if all(name in episode for episode in episodes)]
    optional = optional if columns is None else []
    action_space = facts.get("action_space")
    parts = [_episode_arrays(e, episode, optional, action_space, id) for e, episode in enumerate(episodes)]
    for name in parts[0]:
        for e in range(1, len(parts)):
            _require_widths({f"{name} of episode {k}": parts[k][name] for k in (0, e)}, id)
    stacked = {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}
    actions = stacked["actions"]
    action_space, assumed = _action_space(actions, action_bounds, facts)
    lengths = [len(part["actions"]) for part in parts]
    if columns is None:
        columns = {name: stacked[name] for name in optional}
    return {
        **facts,
        **{name: stacked[name] for name in EPISODE_COLUMNS if name != "actions"},
        "actions": actions,
        "offsets": np.append(0, np.cumsum(lengths)),
        "observation_space": facts.get("observation_space") or spaces.observation_box(stacked["observations"]),
        "action_space": action_space,
        "id": id,
        "columns": columns,
        "provenance": {**(facts.get("provenance") or {}), **assumed},
    }


def _episode_arrays(
    number: int, episode: Mapping[str, ArrayLike], optional: Sequence[str], action_space: Box | Discrete | None, id: str
) -> dict[str, np.ndarray]:
    """The columns of an episode as arrays, after a check of its keys, their shapes and their lengths."""
    if not isinstance(episode, Mapping):
        raise UserError(f"{id}: episode {number} is a {type(episode).__name__}, expected a mapping of columns")
    for name in EPISODE_COLUMNS:
        if name not in episode:
            raise UserError(f"{id}: episode {number} has no '{name}'; it has {', '.join(sorted(episode))}")

    def where(name: str) -> str:
        return f"{id}: {name} of episode {number}"

    arrays = {
        "observations": as_observations(episode["observations"], where("observations")),
        "actions": as_actions(episode["actions"], where("actions"), action_space),
        "rewards": vector(episode["rewards"], where("rewards")),
        "terminations": flags(episode["terminations"], where("terminations")),
        "truncations": flags(episode["truncations"], where("truncations")),
    }
    arrays |= {name: stored(name, episode[name], where(name)) for name in optional}
    steps = len(arrays["actions"])
    for name, array in arrays.items():
        expected = steps + (name == "observations" or name in OBSERVATION_COLUMNS)
        if len(array) != expected:
            raise UserError(f"{where(name)} has {len(array)} rows, expected {expected} for {steps} actions")
    return arrays
