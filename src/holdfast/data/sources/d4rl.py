"""D4RL files: flat columns `observations actions rewards terminals`, with or without `timeouts` and
`next_observations`.

The transitions are those of D4RL's `qlearning_dataset` (see `data.flat`), with two differences on purpose: stored
`next_observations` close each episode, so that no row is left out (`use_next_observations=False` gives D4RL's own
rows); and where there are no `timeouts`, steps are counted from 0 in every episode, while D4RL's counter starts from 1
after a terminal.
"""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

import numpy as np

from ...core.errors import UserError
from .. import spaces
from ..arrays import FLAT_COLUMNS, STORED_COLUMNS
from ..dataset import Dataset
from ..references import d4rl_id, environment_of, reference_for, time_limit
from .files import opened

NEEDED = ("observations", "actions", "rewards", "terminals")
OPTIONAL = ("timeouts", "next_observations")
LOG_PROB = "infos/action_log_probs"  # what D4RL calls behaviour_log_prob


def load(
    path: Path,
    *,
    use_next_observations: bool = True,
    max_episode_steps: int | None = None,
    cut_jumps: bool | None = None,
    action_bounds: tuple[Any, Any] | None = None,
    id: str | None = None,
) -> Dataset:
    """A D4RL HDF5 file. Environment, references and (with no `timeouts`) the time limit follow from the file's name.

    Args:
        path: the file.
        use_next_observations: close episodes with the stored `next_observations`, where there are any.
        max_episode_steps: where there are no `timeouts`: cut episodes after that many steps.
        cut_jumps: end an episode wherever `next_observations` is not the following row.
        action_bounds: low and high of the actions, [-1, 1] where not given.
        id: name of the data set; the file's name where not given.

    Raises:
        UserError: a file that cannot be read, missing or unequal columns.
    """
    with opened(path) as file:
        flat = {k: file[k][()] for k in (*NEEDED, *OPTIONAL) if k in file and hasattr(file[k], "shape")}
        if LOG_PROB in file and file[LOG_PROB].shape == (len(file[LOG_PROB]),):
            flat["behaviour_log_prob"] = file[LOG_PROB][()]
        extra = {k: file[f"columns/{k}"][()] for k in STORED_COLUMNS if f"columns/{k}" in file}
        written = file["holdfast"][()] if "holdfast" in file else None
    meta = _metadata(written, path)
    data = from_flat(
        flat,
        path,
        use_next_observations=use_next_observations,
        max_episode_steps=max_episode_steps,
        cut_jumps=cut_jumps,
        action_bounds=action_bounds,
        id=id,
        meta=meta,
    )
    return dataclasses.replace(data, columns={**data.columns, **extra}) if extra else data


def from_flat(
    flat: dict[str, np.ndarray],
    path: Path,
    *,
    use_next_observations: bool = True,
    max_episode_steps: int | None = None,
    cut_jumps: bool | None = None,
    action_bounds: tuple[Any, Any] | None = None,
    id: str | None = None,
    meta: dict[str, Any] | None = None,
) -> Dataset:
    """Flat columns in D4RL's names, from a file of any kind at `path`; `meta` is what `convert` wrote beside them.

    Raises:
        UserError: missing or unequal columns, or actions outside a space that `meta` gives.
    """
    meta = meta or {}
    missing = [k for k in NEEDED if k not in flat]
    if missing:
        have = ", ".join(sorted(flat)) or "none of D4RL's columns"
        raise UserError(
            f"{path} has no {', '.join(missing)}; it has {have}; expected D4RL's columns {', '.join(NEEDED)}"
        )
    name = d4rl_id(path.stem)
    if max_episode_steps is None and "timeouts" not in flat:
        max_episode_steps = time_limit(name)
    observations = flat["observations"]
    env_spec = meta.get("env_spec") or environment_of(name, observations.shape[1:])
    env_id = json.loads(env_spec).get("id") if env_spec else None
    reference = meta.get("reference") or reference_for(name, env_id)
    return Dataset.from_arrays(
        observations,
        flat["actions"],
        flat["rewards"],
        flat["terminals"],
        flat.get("timeouts"),
        flat.get("next_observations") if use_next_observations else None,
        observation_space=meta.get("observation_space"),
        action_space=meta.get("action_space"),
        action_bounds=action_bounds,
        columns={k: flat[k] for k in FLAT_COLUMNS if k in flat},
        max_episode_steps=max_episode_steps,
        cut_jumps=cut_jumps,
        keep_last=False,
        id=id or meta.get("id") or name or path.stem,
        env_spec=env_spec,
        reference=(float(reference[0]), float(reference[1])) if reference else None,
        provenance={**meta.get("provenance", {}), "source": "d4rl", "path": str(path)},
    )


def _metadata(written: Any, path: Path) -> dict[str, Any]:
    """The metadata that `convert` keeps beside the columns: spaces, environment, references."""
    if written is None:
        return {}
    try:
        meta = json.loads(written)
        return {
            **meta,
            **{
                k: spaces.from_json(meta[k], f"{path}: {k}") for k in ("observation_space", "action_space") if k in meta
            },
        }
    except (ValueError, TypeError) as e:
        raise UserError(f"{path}: its 'holdfast' entry cannot be read ({e}); convert the set again") from e
