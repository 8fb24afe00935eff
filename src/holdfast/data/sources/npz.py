"""NPZ files: in Holdfast's own form (written by `convert`, the bundled sets), or with OGBench's or D4RL's columns."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Unpack

import numpy as np

from ...core.errors import UserError
from ...core.files import object_in
from .. import spaces
from ..arrays import FLAT_COLUMNS
from ..dataset import Dataset
from ..facts import provenance_in
from . import d4rl, ogbench
from .ends import EPISODE_ENDS
from .files import read_npz, require_one_agent

NATIVE = ("observations", "actions", "rewards", "terminations", "truncations", "offsets", "metadata")


def load(
    path: Path,
    *,
    form: str | None = None,
    rewards: ogbench.Rewards | None = None,
    **options: Unpack[d4rl.FlatOptions],
) -> Dataset:
    """Load an NPZ file.

    The keys of the file say which form it has. `offsets`: Holdfast's own; `timeouts`: D4RL's; `masks`, `valids` or no
    rewards: OGBench's. Gymnasium's names (`terminations`, `truncations`) and d3rlpy's `episode_terminals` are read as
    D4RL's. A file with only `rewards` and `terminals` may have either form; then `form` is needed.

    Args:
        path: the file.
        form: `d4rl` (terminals are true ends) or `ogbench` (terminals close trajectories).
        rewards: OGBench: one a row, or a function of the columns.
        options: see `d4rl.FlatOptions`; `action_bounds` and `id` are for OGBench too, `id` for Holdfast's own form.

    Raises:
        UserError: a file that cannot be read, or whose form is not clear.
    """
    flat = read_npz(path)
    require_one_agent(flat, path)
    form = _form(flat, form, path, rewards is not None)
    if form == "holdfast":
        return _native(flat, path, options.get("id"))
    if form == "ogbench":
        bounds = options.get("action_bounds")
        return ogbench.from_flat(flat, path, rewards=rewards, action_bounds=bounds, id=options.get("id"))
    return d4rl.from_flat(flat, path, **options)


def _form(flat: Mapping[str, np.ndarray], form: str | None, path: Path, rewards: bool) -> str:
    if form not in (None, "d4rl", "ogbench"):
        raise UserError(f"form '{form}' is not known; expected d4rl or ogbench")
    if "offsets" in flat:
        return "holdfast"
    if form is not None:
        return form
    if "terminals" not in flat and "terminations" in flat:
        return "d4rl"
    if rewards or "masks" in flat or "valids" in flat or not {"rewards", "timeouts"} & flat.keys():
        return "ogbench"
    if {"timeouts", "truncations", EPISODE_ENDS} & flat.keys():
        return "d4rl"
    raise UserError(
        f"{path} may be in D4RL's form (terminals are true ends) or in OGBench's (terminals close trajectories); "
        "choose one: --form d4rl or --form ogbench"
    )


def _native(flat: Mapping[str, np.ndarray], path: Path, id: str | None) -> Dataset:
    missing = [k for k in NATIVE if k not in flat]
    if missing:
        raise UserError(
            f"{path} has no {', '.join(missing)}; expected a file written by `holdfast data convert`; write it again"
        )
    try:
        meta = object_in(str(flat["metadata"]), f"{path}: metadata")
        observation_space = spaces.from_json(meta["observation_space"], f"{path}: observation_space")
        action_space = spaces.from_json(meta["action_space"], f"{path}: action_space")
    except (ValueError, KeyError, TypeError) as e:
        raise UserError(f"{path}: its metadata cannot be read ({e!r}); write the file again") from e
    return Dataset(
        **{k: flat[k] for k in NATIVE[:-1]},
        observation_space=observation_space,  # type: ignore[arg-type]
        action_space=action_space,  # type: ignore[arg-type]
        id=id or meta.get("id", path.stem),
        env_spec=meta.get("env_spec"),
        reference=meta.get("reference"),
        columns={k: flat[k] for k in FLAT_COLUMNS if k in flat},
        provenance={**provenance_in(meta, str(path)), "source": "npz", "path": str(path)},
    )
