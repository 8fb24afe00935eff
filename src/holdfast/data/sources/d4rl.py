"""D4RL files: flat columns `observations actions rewards terminals`, with or without `timeouts` and
`next_observations`.

The transitions are those of D4RL's `qlearning_dataset` (see `data.flat`), with two deliberate differences. Stored
`next_observations` close each episode, so that no row is left out; `use_next_observations=False` gives D4RL's own rows.
If there are no `timeouts`, steps are counted from 0 in every episode; D4RL's counter starts from 1 after a terminal.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any, TypedDict, Unpack

import numpy as np

from ...core.errors import UserError
from ...core.files import object_in
from .. import spaces
from ..action_spaces import with_action_options
from ..arrays import FLAT_COLUMNS, STORED_COLUMNS, as_observations
from ..dataset import Dataset
from ..facts import provenance_in
from ..references import d4rl_id, env_id_of, environment_spec_for, reference_for, time_limit
from .ends import OTHER_NAMES, named_ends, unread, used_names, with_faults
from .files import Group, open_hdf5, require_one_agent, require_rows

NEEDED = ("observations", "actions", "rewards", "terminals")
OPTIONAL = ("timeouts", "next_observations")
READ = {*NEEDED, *OPTIONAL, *FLAT_COLUMNS, "discrete_action"}
LOG_PROB = "infos/action_log_probs"  # D4RL's name of behaviour_log_prob


class FlatOptions(TypedDict, total=False):
    """How to read flat columns with D4RL's names.

    Attributes:
        use_next_observations: close episodes with the stored `next_observations`, if there are any. Default: True.
        max_episode_steps: if there are no `timeouts`, cut episodes after that many steps.
        cut_jumps: end an episode wherever `next_observations` is not the following row.
        terminal_sessions: as in `Dataset.from_arrays`.
        action_bounds: low and high of the actions; None: [-1, 1].
        id: name of the data set; None: the file's name.
    """

    use_next_observations: bool
    max_episode_steps: int | None
    cut_jumps: bool | None
    terminal_sessions: bool | None
    action_bounds: spaces.Bounds | None
    id: str | None


def load(path: Path, **options: Unpack[FlatOptions]) -> Dataset:
    """Load a D4RL HDF5 file.

    The environment, the reference returns and (if there are no `timeouts`) the time limit follow from the file's name.

    Args:
        path: the file.
        options: see `FlatOptions`.

    Raises:
        UserError: a file that cannot be read, or missing or unequal columns.
    """
    with open_hdf5(path) as file:
        if "observations" not in file:
            require_one_agent(file, path)
        wanted = (*NEEDED, *OPTIONAL, *OTHER_NAMES)
        stored = {k: file[k] for k in wanted if k in file and hasattr(file[k], "shape")}
        require_rows(stored, path)
        flat = {k: column[()] for k, column in stored.items()}
        names = _names(file)
        if LOG_PROB in file and len(getattr(file[LOG_PROB], "shape", ())) == 1:
            flat["behaviour_log_prob"] = file[LOG_PROB][()]
        if "discrete_action" in file and getattr(file["discrete_action"], "shape", None) == ():
            flat["discrete_action"] = file["discrete_action"][()]
        extra = {k: file[f"columns/{k}"][()] for k in STORED_COLUMNS if f"columns/{k}" in file}
        written = file["holdfast"][()] if "holdfast" in file else None
    meta = _metadata(written, path)
    data = from_flat(flat, path, meta, **options)
    data = with_faults(data, unread(names - flat.keys(), ()))
    return dataclasses.replace(data, columns={**data.columns, **extra}) if extra else data


def _names(file: Group) -> set[str]:
    """The columns of an HDF5 file, also those of its group `infos`. Single numbers are left out."""
    infos = file.get("infos")
    inside = infos.column_names() if isinstance(infos, Group) else []
    return {*file.column_names(), *(f"infos/{name}" for name in inside)}


def require_columns(flat: Collection[str], needed: tuple[str, ...], path: Path) -> None:
    """Refuse a file that lacks one of the columns `needed`.

    Raises:
        UserError: the missing columns, the columns of the file and the expected ones.
    """
    missing = [name for name in needed if name not in flat]
    if missing:
        have = ", ".join(sorted(flat)) or "none of them"
        raise UserError(f"{path} has no {', '.join(missing)}; it has {have}; expected {', '.join(needed)}")


def from_flat(
    flat: Mapping[str, np.ndarray], path: Path, meta: dict[str, Any] | None = None, **options: Unpack[FlatOptions]
) -> Dataset:
    """A data set from flat columns with D4RL's names.

    Args:
        flat: the columns, [N, ...] each.
        path: the file that they were read from, of any kind.
        meta: the metadata that `convert` wrote with the columns, if it wrote the file.
        options: see `FlatOptions`.

    Raises:
        UserError: missing or unequal columns.
    """
    meta = meta or {}
    faults = unread(flat, READ | used_names(flat))
    ends = named_ends(flat, str(path))
    require_columns([*flat, *ends], NEEDED, path)
    flat = {**{k: flat[k] for k in flat if k in READ}, **ends}
    name = d4rl_id(path.stem)
    max_episode_steps = options.get("max_episode_steps")
    if max_episode_steps is None and "timeouts" not in flat:
        max_episode_steps = time_limit(name)
    action_bounds = options.get("action_bounds")
    observations = as_observations(flat["observations"], f"{path}: observations")
    env_spec = meta.get("env_spec") or environment_spec_for(name, observations.shape[1:])
    reference = meta.get("reference") or reference_for(name, env_id_of(env_spec))
    data = Dataset.from_arrays(
        observations,
        flat["actions"],
        flat["rewards"],
        flat["terminals"],
        flat.get("timeouts"),
        flat.get("next_observations") if options.get("use_next_observations", True) else None,
        observation_space=meta.get("observation_space"),
        action_space=meta.get("action_space"),
        action_bounds=action_bounds,
        columns={k: flat[k] for k in FLAT_COLUMNS if k in flat},
        max_episode_steps=max_episode_steps,
        cut_jumps=options.get("cut_jumps"),
        terminal_sessions=options.get("terminal_sessions"),
        keep_last=False,
        id=options.get("id") or meta.get("id") or name or path.stem,
        env_spec=env_spec,
        reference=reference,
        provenance={**provenance_in(meta, str(path)), "source": "d4rl", "path": str(path)},
    )
    data = with_faults(data, faults)
    kind = np.asarray(flat.get("discrete_action"))  # d3rlpy 1.x says which kind of actions a file has
    if kind.shape != () or kind.dtype.kind not in "biu" or meta.get("action_space") is not None:
        return data
    if action_bounds is not None:
        return data
    return with_action_options(data, "discrete" if kind else "continuous")


def _metadata(written: bytes | None, path: Path) -> dict[str, Any]:
    """The metadata that `convert` stores with the columns: spaces, environment, references."""
    if written is None:
        return {}
    try:
        meta = object_in(written if isinstance(written, str | bytes) else "", f"{path}: holdfast")
        names = [name for name in ("observation_space", "action_space") if name in meta]
        return {**meta, **{name: spaces.from_json(meta[name], f"{path}: {name}") for name in names}}
    except (ValueError, TypeError) as e:
        raise UserError(f"{path}: its 'holdfast' entry cannot be read ({e}); convert the set again") from e
