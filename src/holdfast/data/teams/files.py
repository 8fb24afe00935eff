"""Logs of teams in NPZ and HDF5 files. Both have the same keys, `AGENT/COLUMN`; in HDF5, an agent is a group.

An agent is everything that has `AGENT/observations`. Its columns are those of `Dataset.from_arrays`: observations,
actions, rewards, terminations (or terminals), truncations (or timeouts), next_observations and the optional ones. A
column of rewards or of ends without an agent is shared by all. `metadata` is a JSON text: `id`, `joint`, `env_spec`,
`reference`, and `action_spaces` with the space of each agent. `save` writes `AGENT/offsets` too, and observations with
the last one of each episode, as `Dataset` has them.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from ...core.errors import UserError
from ...core.files import expanded, object_in
from .. import spaces
from ..arrays import FLAT_COLUMNS
from ..convert import copied, metadata, require_absent, write_whole
from ..dataset import Dataset
from ..facts import provenance_in
from ..sources.files import agents_in, open_hdf5, read_npz
from .dataset import TeamDataset
from .vault import is_vault, load_vault

SUFFIXES = (".npz", ".hdf5", ".h5")
MAIN = ("observations", "actions", "rewards", "terminations", "truncations")
OTHER_NAMES = {"terminals": "terminations", "timeouts": "truncations"}  # D4RL's names
SHARED = ("rewards", "terminations", "truncations", *OTHER_NAMES)


def is_team(path: str | Path) -> bool:
    """Whether a file is the log of a team, or a folder a vault. Nothing but names is read."""
    place = expanded(str(path))
    if place.is_dir():
        return is_vault(place)
    if place.suffix not in SUFFIXES or not place.is_file():
        return False
    try:
        if place.suffix == ".npz":
            return bool(agents_in(read_npz(place)))
        with open_hdf5(place) as file:
            return bool(agents_in(file))
    except UserError:
        return False


def load_team(path: str | Path) -> TeamDataset:
    """Read the log of a team: a file with the keys above, or a vault of OG-MARL (see `vault`).

    Raises:
        UserError: no such file, no agents in it, or an agent that lacks a column.
    """
    place = expanded(str(path))
    if place.is_dir():
        return load_vault(place)
    if place.suffix not in SUFFIXES:
        raise UserError(f"{path} is not the log of a team: expected a file ({', '.join(SUFFIXES)})")
    if place.suffix == ".npz":
        return _made(dict(read_npz(place)), place)
    with open_hdf5(place) as file:
        arrays: dict[str, Any] = {name: file[name][()] for name in (*SHARED, "metadata") if name in file}
        for agent in agents_in(file):
            group = file[agent]
            arrays |= {f"{agent}/{name}": group[name][()] for name in group.column_names()}
    return _made(arrays, place)


def require_team_file(path: str | Path) -> None:
    """Refuse a file that `save_team` would refuse; call it before a log is made.

    Raises:
        UserError: it has another suffix, or it exists.
    """
    place = expanded(str(path))
    if place.suffix not in SUFFIXES:
        raise UserError(f"{path}: a log of a team is written as {' or '.join(SUFFIXES)}: name such a file")
    require_absent(place)


def require_no_options(options: Iterable[str], path: str) -> None:
    """Refuse options of how to read the log of one agent, for the log of a team.

    Args:
        options: names of the options that were given.
        path: the log.

    Raises:
        UserError: there is at least one.
    """
    flags = ", ".join(f"--{option.replace('_', '-')}" for option in sorted(options))
    if flags:
        raise UserError(f"{flags}: {path} is the log of a team, which says all of this itself: leave it out")


def save_team(team: TeamDataset, path: str | Path) -> Path:
    """Write a log of a team; the suffix chooses the form, `.npz` or `.hdf5`. It reads back with the same fingerprint.

    Raises:
        UserError: the file exists, has another suffix, or cannot be written.
    """
    require_team_file(path)
    place = expanded(str(path))
    facts = {
        "id": team.id,
        "joint": team.joint,
        "env_spec": team.env_spec,
        "reference": list(team.reference) if team.reference else None,
        "provenance": copied(team.provenance, team.id),
        "agents": {name: metadata(own, own.id) for name, own in team.agents.items()},
    }
    arrays: dict[str, np.ndarray] = {"metadata": np.array(json.dumps(facts))}
    for name, own in team.agents.items():
        columns = {k: getattr(own, k) for k in (*MAIN, "offsets")} | dict(own.columns)
        arrays |= {f"{name}/{column}": values for column, values in columns.items()}
    write = _write_npz if place.suffix == ".npz" else _write_hdf5
    return write_whole(place, lambda temporary: write(arrays, temporary))


def _write_npz(arrays: Mapping[str, np.ndarray], path: Path) -> None:
    with open(path, "wb") as file:
        np.savez_compressed(file, **arrays)  # type: ignore[arg-type]
        file.flush()
        os.fsync(file.fileno())


def _write_hdf5(arrays: Mapping[str, np.ndarray], path: Path) -> None:
    import h5py

    with h5py.File(path, "w") as file:
        for name, values in arrays.items():
            if values.dtype.kind == "U":
                file[name] = str(values)
            else:
                file.create_dataset(name, data=values, compression="gzip" if values.size else None)


def _made(arrays: Mapping[str, Any], path: Path) -> TeamDataset:
    """The log with these arrays by key."""
    agents = agents_in(arrays)
    if not agents:
        raise UserError(f"{path} is not the log of a team: it has no AGENT/observations; name one, or train one agent")
    facts = _facts(arrays.get("metadata"), path)
    for key in arrays:
        agent, slash, _ = key.partition("/")
        if slash and agent not in agents:
            raise UserError(f"{path} has {key}, but no {agent}/observations: add the observations of {agent}")
    order = [name for name in facts.get("agents", {}) if name in agents]
    order += [name for name in agents if name not in order]
    missing = [name for name in facts.get("agents", {}) if name not in agents]
    if missing:
        raise UserError(
            f"{path}: its metadata names the agent {missing[0]}, which has no columns: write the file again"
        )
    made = {name: _agent(arrays, name, facts, path) for name in order}
    joint = facts.get("joint")
    if joint is not None and not isinstance(joint, bool):
        raise UserError(f"{path}: joint in its metadata is {joint!r}, expected true or false")
    return TeamDataset.from_agents(
        made,
        joint=joint,
        id=str(facts.get("id", path.stem)),
        env_spec=facts.get("env_spec"),
        reference=facts.get("reference"),
        provenance={**provenance_in(facts, str(path)), "source": "team", "path": str(path)},
    )


def _facts(text: np.ndarray | str | bytes | None, path: Path) -> dict[str, Any]:
    """The metadata of a file; empty if it has none."""
    if text is None:
        return {}
    text = text.decode() if isinstance(text, bytes) else str(text)
    try:
        facts = object_in(text, f"{path}: metadata")
    except ValueError as fault:
        raise UserError(f"{path}: its metadata cannot be read ({fault}); write the file again") from fault
    agents = facts.get("agents", {})
    if not isinstance(agents, dict) or not all(isinstance(own, dict) for own in agents.values()):
        raise UserError(f"{path}: agents in its metadata are {type(agents).__name__}, expected objects by name")
    return facts


def _agent(arrays: Mapping[str, Any], name: str, facts: Mapping[str, Any], path: Path) -> Dataset:
    """The data set of one agent."""
    own = {key.removeprefix(f"{name}/"): values for key, values in arrays.items() if key.startswith(f"{name}/")}
    own = {**{key: arrays[key] for key in SHARED if key in arrays}, **own}
    own = {OTHER_NAMES.get(key, key): values for key, values in own.items()}
    needed = MAIN[:4] if "offsets" not in own else (*MAIN, "offsets")
    missing = [key for key in needed if key not in own]
    if missing:
        have = ", ".join(sorted(own))
        raise UserError(f"{path}: agent {name} has no {', '.join(missing)}; it has {have}: add the missing columns")
    meta = facts.get("agents", {}).get(name, {})
    where = f"{path}: agent {name}"
    found = {
        kind: spaces.from_json(meta[kind], f"{where}: {kind}") if meta.get(kind) else None
        for kind in ("observation_space", "action_space")
    }
    given: dict[str, Any] = {**found, "id": str(meta.get("id", f"{path.stem}/{name}"))}
    given["provenance"] = {**provenance_in(meta, where), "source": "team"}
    columns = {key: own[key] for key in FLAT_COLUMNS if key in own}
    if "offsets" in own:
        if None in found.values():
            raise UserError(f"{where} has offsets, but the metadata have no spaces for it: write the file again")
        return Dataset(**{key: own[key] for key in needed}, columns=columns, **given)
    return Dataset.from_arrays(
        own["observations"],
        own["actions"],
        own["rewards"],
        own["terminations"],
        own.get("truncations"),
        own.get("next_observations"),
        columns=columns,
        **given,
    )
