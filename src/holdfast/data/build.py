"""The fields of a `Dataset` from arrays in memory: flat columns, or a list of episodes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from ..core.errors import UserError
from . import spaces
from .arrays import OBSERVATION_COLUMNS, STORED_COLUMNS, as_actions, closed, flags, numbers
from .checks.faults import Fault, Where
from .flat import Cut, cut


def fields_from_arrays(
    observations: Any,
    actions: Any,
    rewards: Any,
    terminations: Any,
    truncations: Any = None,
    next_observations: Any = None,
    *,
    observation_space: Any = None,
    action_space: Any = None,
    action_bounds: tuple[Any, Any] | None = None,
    columns: Mapping[str, Any] | None = None,
    max_episode_steps: int | None = None,
    cut_jumps: bool | None = None,
    keep_last: bool = True,
    id: str = "arrays",
    env_spec: str | None = None,
    reference: tuple[float, float] | None = None,
    provenance: Mapping[str, Any] | None = None,
) -> dict[str, Any]:
    """Fields from flat columns of N rows, one a step, episodes one after another.

    Where `next_observations` are missing, D4RL's rule holds (`flat`): a row that a time limit ended has no next
    observation and is left out; `provenance["left_out"]` counts them. Columns of `columns` have N rows too; beside
    action_mask may stand next_action_mask, which actions are legal at `next_observations`.

    Raises:
        UserError: columns of unequal length, or which are not numbers; an empty log.
    """
    obs = numbers(observations, f"{id}: observations")
    rows = len(obs)
    given: dict[str, np.ndarray] = {
        "actions": as_actions(actions, f"{id}: actions", action_space),
        "rewards": numbers(rewards, f"{id}: rewards").reshape(-1),
        "terminations": flags(terminations, f"{id}: terminations"),
    }
    if truncations is not None:
        given["truncations"] = flags(truncations, f"{id}: truncations")
    if next_observations is not None:
        given["next_observations"] = numbers(next_observations, f"{id}: next_observations")
    extra = {k: numbers(v, f"{id}: {k}") for k, v in (columns or {}).items()}
    for name, column in {**given, **extra}.items():
        if len(column) != rows:
            raise UserError(
                f"{id}: {name} has {len(column)} rows, observations {rows}; expected one row a step in each"
            )
    obs = obs.reshape(rows, -1) if obs.ndim == 1 else obs
    try:
        done = cut(
            obs,
            given["terminations"],
            given.get("truncations"),
            given["next_observations"].reshape(obs.shape) if "next_observations" in given else None,
            max_episode_steps,
            cut_jumps,
            keep_last,
        )
    except UserError as e:
        raise UserError(f"{id}: {e}") from e
    facts = {**(provenance or {}), "left_out": done.left_out, "faults": done.faults}
    if max_episode_steps is not None:
        facts["max_episode_steps"] = max_episode_steps
    kept = given["actions"][done.rows]
    held = {name: _of_observations(name, extra, done) for name in OBSERVATION_COLUMNS if name in extra}
    held |= {k: v[done.rows] for k, v in extra.items() if k not in (*held, *(f"next_{name}" for name in held))}
    return {
        "observations": done.observations,
        "actions": kept,
        "rewards": given["rewards"][done.rows],
        "terminations": done.terminations,
        "truncations": done.truncations,
        "offsets": done.offsets,
        "observation_space": observation_space or spaces.observation_box(obs),
        "action_space": action_space or spaces.action_space_for(given["actions"], action_bounds),
        "id": id,
        "env_spec": env_spec,
        "reference": reference,
        "columns": held,
        "provenance": facts,
    }


def _of_observations(name: str, extra: Mapping[str, np.ndarray], done: Cut) -> np.ndarray:
    """A flat column of observations with the rows that close the episodes, [N + E, ...].

    Those are rows of the log, or of the column next_NAME. Where neither has them the last row is repeated, and a fault
    told where that matters: the episode was cut off.
    """
    column = closed(extra[name][done.rows], done.offsets)
    last = done.offsets[1:] - 1
    ends, found = last + 1 + np.arange(len(last)), done.closing >= 0
    column[ends[found]] = extra[name][done.closing[found]]
    if f"next_{name}" in extra:
        column[ends[~found]] = extra[f"next_{name}"][done.rows[last[~found]]]
        return column
    unknown = np.flatnonzero(~found & ~done.terminations[last])
    if len(unknown):
        where = Where(int(unknown[0]), int(last[unknown[0]]), name)
        text = f"{len(unknown)} cut episodes lead where {name} is not in the log: taken as one step before"
        done.faults.append(
            Fault("warn", "closing", where, len(unknown), text, f"bring the column next_{name}").to_dict()
        )
    return column


def fields_from_episodes(episodes: Sequence[Mapping[str, Any]], **options: Any) -> dict[str, Any]:
    """Fields from episodes: dicts of observations `[T + 1, *obs]`, actions, rewards, terminations, truncations
    `[T]`.

    Keys of `STORED_COLUMNS` are read where every episode has them. `options` are fields of `Dataset`.

    Raises:
        UserError: no episodes, a missing key, or columns of unequal length within an episode.
    """
    id = options.get("id", "episodes")
    if not episodes:
        raise UserError(f"{id}: no episodes; expected at least one")
    lengths = []
    for e, episode in enumerate(episodes):
        for key in ("observations", "actions", "rewards", "terminations", "truncations"):
            if key not in episode:
                raise UserError(f"{id}: episode {e} has no '{key}'; it has {', '.join(sorted(episode))}")
        steps = len(episode["actions"])
        lengths.append(steps)
        for key in ("observations", "rewards", "terminations", "truncations"):
            wanted = steps + (key == "observations")
            if len(episode[key]) != wanted:
                raise UserError(
                    f"{id}: {key} of episode {e} has {len(episode[key])} rows, expected {wanted} for {steps} actions"
                )
    stack = {
        k: np.concatenate([np.asarray(ep[k]) for ep in episodes])
        for k in episodes[0]
        if all(k in ep for ep in episodes)
    }
    actions = as_actions(stack["actions"], f"{id}: actions", options.get("action_space"))
    bounds = options.pop("action_bounds", None)
    options.setdefault("observation_space", spaces.observation_box(stack["observations"]))
    options.setdefault("action_space", spaces.action_space_for(actions, bounds))
    options.setdefault("columns", {k: stack[k] for k in STORED_COLUMNS if k in stack})
    return dict(
        observations=stack["observations"],
        actions=actions,
        rewards=stack["rewards"],
        terminations=stack["terminations"],
        truncations=stack["truncations"],
        offsets=np.append(0, np.cumsum(lengths)),
        **{"id": id, **options},
    )
