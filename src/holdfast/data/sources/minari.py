"""Minari data sets: by id where they lie locally (or are downloaded when asked), or as a folder.

Ids, download, spaces and environment specs are Minari's own; the episodes are read from the HDF5 file directly, one
pass over whole columns. Optional columns stand in `infos` under their names: action_mask, behaviour_log_prob, discount.
"""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import numpy as np

from ...core.errors import UserError, nearest
from .. import spaces
from ..arrays import OBSERVATION_COLUMNS, STORED_COLUMNS
from ..dataset import Dataset
from ..references import reference_for
from .files import opened

COLUMNS = ("observations", "actions", "rewards", "terminations", "truncations")


def root() -> Path:
    """Where Minari keeps its data sets: `MINARI_DATASETS_PATH`, else `~/.minari/datasets`. Creates nothing."""
    return Path(os.environ.get("MINARI_DATASETS_PATH") or Path.home() / ".minari" / "datasets")


def local_ids() -> dict[str, dict[str, Any]]:
    """Ids of the local Minari data sets and their metadata; folders that hold no readable set are passed over."""
    found = {}
    for path in sorted(root().glob("**/data/metadata.json")):
        try:
            found[path.parent.parent.relative_to(root()).as_posix()] = json.loads(path.read_text())
        except (OSError, ValueError):
            continue
    return found


def is_folder(path: Path) -> bool:
    """Whether a folder holds a Minari data set (`data/metadata.json`, or is that `data` folder itself)."""
    return (path / "data" / "metadata.json").is_file() or (path / "metadata.json").is_file()


def load_id(id: str, download: bool = False) -> Dataset:
    """The data set of a Minari id.

    Args:
        id: e.g. `mujoco/hopper/medium-v0`.
        download: fetch it with Minari (which shows its progress) where it is not local.

    Raises:
        UserError: it is not local and was not asked for, or the download failed.
    """
    folder = root() / id
    if not is_folder(folder):
        if not download:
            hint = nearest(id, local_ids()) or "; `holdfast data list` shows what is local"
            raise UserError(f"data set '{id}' is not in {root()}{hint}; --download fetches it from Minari's server")
        _download(id)
    return load_folder(folder, id)


def load_folder(folder: Path, id: str | None = None) -> Dataset:
    """The data set in a folder written by Minari.

    Raises:
        UserError: metadata or episodes that cannot be read, or spaces that are not supported.
    """
    data = folder / "data" if (folder / "data").is_dir() else folder
    meta = _metadata(data / "metadata.json")
    id = id or str(meta.get("dataset_id", folder.name))
    observation_space = spaces.from_json(meta["observation_space"], f"{id}: observation_space")
    action_space = spaces.from_json(meta["action_space"], f"{id}: action_space")
    spaces.require_supported(observation_space, action_space, id)
    columns: dict[str, np.ndarray] | None = None
    lengths: list[int] = []
    if meta.get("total_episodes") == 0:
        pass  # Minari leaves a file of no bytes
    elif meta.get("data_format", "hdf5") == "hdf5":
        columns, lengths = _read_hdf5(data / "main_data.hdf5")
    else:
        columns, lengths = _read_slowly(data)
    env_spec = meta.get("env_spec") or None
    env_id = json.loads(env_spec).get("id") if env_spec else None
    known = ("algorithm_name", "author", "code_permalink", "description", "minari_version", "dataset_id")
    if columns is None:
        columns = _nothing(observation_space, action_space)
    return Dataset(
        **{k: columns[k] for k in COLUMNS if k != "actions"},
        actions=columns["actions"],
        offsets=np.append(0, np.cumsum(lengths)),
        observation_space=observation_space,  # type: ignore[arg-type]
        action_space=action_space,  # type: ignore[arg-type]
        id=id,
        env_spec=env_spec,
        reference=_reference(meta) or reference_for(id, env_id),
        columns={k: columns[k] for k in STORED_COLUMNS if k in columns},
        provenance={
            **_provenance(meta),
            **{k: meta[k] for k in known if k in meta},
            "source": "minari",
            "path": str(folder),
        },
    )


def _read_hdf5(path: Path) -> tuple[dict[str, np.ndarray] | None, list[int]]:
    """Columns over all episodes, and the episodes' lengths."""
    with opened(path) as file:
        names = sorted(file, key=lambda name: int(name.rsplit("_", 1)[-1]) if name.rsplit("_", 1)[-1].isdigit() else -1)
        groups = [file[name] for name in names]
        for name, group in zip(names, groups, strict=True):
            missing = [c for c in COLUMNS if not hasattr(group, "keys") or c not in group]
            if missing:
                raise UserError(
                    f"{path}: {name} has no {', '.join(missing)}; expected a Minari file, write it again with Minari"
                )
            if hasattr(group["observations"], "keys") or hasattr(group["actions"], "keys"):
                raise UserError(f"{path}: {name} holds dictionaries, expected float vectors; flatten them first")
        if not groups:
            return None, []
        columns = {c: np.concatenate([group[c][()] for group in groups]) for c in COLUMNS}
        lengths = [len(group["actions"]) for group in groups]
        infos = [group.get("infos") for group in groups]
        for name in STORED_COLUMNS:
            if all(info is not None and name in info for info in infos):
                columns[name] = np.concatenate(
                    [_info(i[name][()], name, n) for i, n in zip(infos, lengths, strict=True)]
                )
    return columns, lengths


def _read_slowly(data: Path) -> tuple[dict[str, np.ndarray] | None, list[int]]:
    """The same through Minari's own reader, for its other formats (Arrow)."""
    try:
        from minari.dataset.minari_dataset import MinariDataset

        episodes = list(MinariDataset(data).iterate_episodes())
    except Exception as e:  # Minari raises what its back ends raise; whatever it is, the set cannot be read
        raise UserError(
            f"{data}: Minari cannot read this data set: {str(e).splitlines()[0] if str(e) else repr(e)}"
        ) from e
    if not episodes:
        return None, []
    columns = {c: np.concatenate([np.asarray(getattr(ep, c)) for ep in episodes]) for c in COLUMNS}
    return columns, [len(ep.rewards) for ep in episodes]


def _info(values: np.ndarray, name: str, steps: int) -> np.ndarray:
    """A column of infos, which Minari keeps with T + 1 rows: columns of transitions leave the last one out."""
    return values if name in OBSERVATION_COLUMNS else values[:steps]


def _metadata(path: Path) -> dict[str, Any]:
    try:
        meta = json.loads(path.read_text())
    except FileNotFoundError as e:
        raise UserError(f"{path} does not exist; expected the folder of a Minari data set") from e
    except (OSError, ValueError) as e:
        raise UserError(f"{path}: cannot be read ({e}); expected Minari's metadata, fetch the set again") from e
    missing = [
        k
        for k in ("observation_space", "action_space")
        if not isinstance(meta, dict) or not isinstance(meta.get(k), str)
    ]
    if missing:
        raise UserError(
            f"{path} has no {', '.join(missing)}; expected Minari's metadata, write the set again with Minari >= 0.5"
        )
    return meta


def _reference(meta: dict[str, Any]) -> tuple[float, float] | None:
    low, high = meta.get("ref_min_score"), meta.get("ref_max_score")
    return (float(low), float(high)) if low is not None and high is not None else None


def _provenance(meta: dict[str, Any]) -> dict[str, Any]:
    """What `convert` noted, where it wrote this set."""
    try:
        noted = json.loads(meta.get("provenance", "{}"))
    except (ValueError, TypeError):
        return {}
    return noted if isinstance(noted, dict) else {}


def _nothing(observation_space: Any, action_space: Any) -> dict[str, np.ndarray]:
    return {
        "observations": np.zeros((0, *observation_space.shape), np.float32),
        "actions": np.zeros((0, *action_space.shape), action_space.dtype),
        "rewards": np.zeros(0),
        "terminations": np.zeros(0, bool),
        "truncations": np.zeros(0, bool),
    }


def _download(id: str) -> None:
    import minari

    try:
        minari.download_dataset(id)
    except Exception as e:  # network, server and id errors have no common type
        reason = str(e).splitlines()[0] if str(e) else type(e).__name__
        raise UserError(f"data set '{id}' cannot be downloaded: {reason}; check the id and the network") from e
