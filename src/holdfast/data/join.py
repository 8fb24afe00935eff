"""Several data sets as one: their episodes one after the other, if their spaces agree."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from ..core.errors import UserError
from . import spaces
from .split import by_episodes

Part = Any  # a `Dataset`, whose module imports this one

NEUTRAL: dict[str, float | bool] = {
    "discount": 1.0,
    "action_mask": True,
    "weight": 1.0,
}  # what a set without the column means


def fields_from_sets(sets: Sequence[Part], shares: Sequence[float] | None, seed: int) -> dict[str, Any]:
    """The fields of a `Dataset` from several data sets.

    Args:
        sets: the data sets, at least one.
        shares: the share of each set's episodes to take, above 0 and at most 1; None: all episodes.
        seed: seed of the choice of the episodes.

    Raises:
        UserError: no sets, other than one share for each set, or sets whose spaces differ.
    """
    if not sets:
        raise UserError("no data sets to join; expected at least one")
    parts = [_part(data, share, seed) for data, share in zip(sets, _shares(sets, shares), strict=True)]
    first = parts[0]
    for other in parts[1:]:
        _require_same_spaces(first, other)
    steps = sum(part.n_steps for part in parts)
    offsets = np.concatenate([[0], np.cumsum(np.concatenate([part.lengths for part in parts]))])
    names = ("observations", "actions", "rewards", "terminations", "truncations")
    return {
        **{name: np.concatenate([getattr(part, name) for part in parts]) for name in names},
        "offsets": offsets,
        "observation_space": _observation_space(parts),
        "action_space": _action_space(parts),
        "id": " + ".join(part.id for part in parts),
        "env_spec": _common([part.env_spec for part in parts]),
        "reference": _common([part.reference for part in parts]),
        "columns": _columns(parts),
        "provenance": {
            **_facts(parts),
            "source": "joined",
            "joined": [
                {
                    "id": part.id,
                    "fingerprint": data.fingerprint,
                    "episodes": part.n_episodes,
                    "steps": part.n_steps,
                    "share": part.n_steps / max(steps, 1),
                    "path": data.provenance.get("path"),
                }
                for part, data in zip(parts, sets, strict=True)
            ],
        },
    }


def _shares(sets: Sequence[Part], shares: Sequence[float] | None) -> list[float]:
    if shares is None or not len(shares):
        return [1.0] * len(sets)
    if len(shares) != len(sets) or not all(0 < share <= 1 for share in shares):
        raise UserError(f"shares {list(shares)}: expected {len(sets)} numbers above 0 and at most 1, one for each set")
    return [float(share) for share in shares]


def _part(data: Part, share: float, seed: int) -> Part:
    if share == 1.0:
        return data
    return data.select(np.sort(by_episodes(data, {"taken": share, "rest": 1 - share}, seed)["taken"]))


def _require_same_spaces(first: Part, other: Part) -> None:
    """Refuse sets whose observations or actions do not mean the same."""
    pairs = [("observations", first.observation_space.shape, other.observation_space.shape)]
    assumed = all("kind" in (data.provenance.get("assumed") or []) for data in (first, other))
    if not (assumed and first.discrete and other.discrete):
        pairs.append(("actions", first.action_space, other.action_space))
    for name, one, two in pairs:
        if one != two:
            raise UserError(f"{first.id} and {other.id} cannot be joined: their {name} have the spaces {one} and {two}")
    tables = [(data.table.observations, data.table.action) for data in (first, other) if data.table is not None]
    if len(tables) == 2 and tables[0] != tables[1]:
        raise UserError(
            f"{first.id} and {other.id} cannot be joined: their values or labels are encoded differently; read the "
            "second one with columns=first.table"
        )
    if first.env_id and other.env_id and first.env_id != other.env_id:
        raise UserError(f"{first.id} and {other.id} cannot be joined: they come from {first.env_id} and {other.env_id}")


def _observation_space(parts: Sequence[Part]) -> Any:
    """The common space of observations, else the Box that contains all of them."""
    from gymnasium.spaces import Box

    first = parts[0].observation_space
    if all(part.observation_space == first for part in parts):
        return first
    low = np.min([part.observation_space.low for part in parts], axis=0)
    high = np.max([part.observation_space.high for part in parts], axis=0)
    return Box(low, high, dtype=low.dtype.type)


def _action_space(parts: Sequence[Part]) -> Any:
    """The common space of actions; if discrete ones were only assumed, the space of all actions."""
    first = parts[0].action_space
    if all(part.action_space == first for part in parts):
        return first
    return spaces.action_space_for(np.concatenate([part.actions for part in parts]))


def _columns(parts: Sequence[Part]) -> dict[str, np.ndarray]:
    """The columns that all sets have, or whose meaning is clear if a set does not have them."""
    found = {}
    for name in dict.fromkeys(name for part in parts for name in part.columns):
        have = [part for part in parts if name in part.columns]
        if len(have) < len(parts) and name not in NEUTRAL:
            continue
        like = have[0].columns[name]
        columns = []
        for part in parts:
            rows = part.n_steps + (part.n_episodes if name == "action_mask" else 0)
            columns.append(part.columns.get(name, np.full((rows, *like.shape[1:]), NEUTRAL.get(name), like.dtype)))
        found[name] = np.concatenate(columns)
    return found


def _facts(parts: Sequence[Part]) -> dict[str, Any]:
    """What the provenance of the sets has in common, and their faults."""
    faults = [fault for part in parts for fault in part.provenance.get("faults", [])]
    found: dict[str, Any] = {"faults": faults} if faults else {}
    for name in ("left_out", "left_out_rewards"):
        counts = [int(part.provenance.get(name, 0)) for part in parts]
        found |= {name: sum(counts)} if any(counts) else {}
    for name in (
        "assumed",
        "evaluation_spec",
        "max_episode_steps",
        "raw_action_space",
        "raw_observation_space",
        "table",
    ):
        value = _common([part.provenance.get(name) for part in parts])
        found |= {name: value} if value is not None else {}
    return found


def _common(values: Sequence[Any]) -> Any:
    """The value that all have, else None."""
    return values[0] if all(value == values[0] for value in values) else None
