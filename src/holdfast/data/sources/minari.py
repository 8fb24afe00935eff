"""Minari data sets, by id or as a folder.

Ids, downloads, spaces and environment specs are Minari's own. The episodes are read from the HDF5 file directly, one
pass over whole columns. Optional columns are read from `infos`: action_mask, behaviour_log_prob, discount.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ...core.errors import UserError, nearest, one_line
from ...core.files import parse_json, read_json
from .. import spaces
from ..arrays import OBSERVATION_COLUMNS, STORED_COLUMNS
from ..dataset import Dataset
from ..facts import provenance_in
from ..references import env_id_of, reference_for
from .files import Group, open_hdf5

if TYPE_CHECKING:
    from gymnasium.spaces import Space

COLUMNS = ("observations", "actions", "rewards", "terminations", "truncations")
FACTS = ("algorithm_name", "author", "code_permalink", "description", "minari_version", "dataset_id")  # kept


def root() -> Path:
    """Minari's folder of data sets: `MINARI_DATASETS_PATH`, else `~/.minari/datasets`. It is not created."""
    return Path(os.environ.get("MINARI_DATASETS_PATH") or Path.home() / ".minari" / "datasets")


def local_ids() -> dict[str, dict[str, Any]]:
    """The metadata of the local Minari data sets, by id. Folders without a readable data set are skipped."""
    found = {}
    for path in sorted(root().glob("**/data/metadata.json")):
        try:
            found[path.parent.parent.relative_to(root()).as_posix()] = read_json(path)
        except UserError:
            continue
    return found


def is_folder(path: Path) -> bool:
    """Whether a folder holds a Minari data set: it has `data/metadata.json`, or it is that `data` folder."""
    return (path / "data" / "metadata.json").is_file() or (path / "metadata.json").is_file()


def load_id(id: str, download: bool = False) -> Dataset:
    """Load the data set of a Minari id.

    Args:
        id: for example `mujoco/hopper/medium-v0`.
        download: download it with Minari (which shows its progress) if it is not local.

    Raises:
        UserError: the data set is not local and `download` is False, or the download fails.
    """
    folder = root() / id
    if not is_folder(folder):
        if not download:
            hint = nearest(id, local_ids()) or "; `holdfast data list` shows what is local"
            raise UserError(
                f"data set '{id}' is not in {root()}{hint}; --download gets it from Minari's server, for example "
                f"holdfast data info {id} --download"
            )
        _download(id)
    return load_folder(folder, id)


def load_folder(folder: Path, id: str | None = None) -> Dataset:
    """Load the data set in a folder written by Minari.

    Args:
        folder: the data set's folder, or the folder `data` in it.
        id: name of the data set; None: the one in its metadata.

    Raises:
        UserError: metadata or episodes that cannot be read, or spaces that are not supported.
    """
    data = folder / "data" if (folder / "data").is_dir() else folder
    meta = _metadata(data / "metadata.json")
    id = id or str(meta.get("dataset_id", folder.name))
    observation_space = spaces.from_json(meta["observation_space"], f"{id}: observation_space")
    action_space = spaces.from_json(meta["action_space"], f"{id}: action_space")
    spaces.require_supported(observation_space, action_space, id)
    if meta.get("total_episodes") == 0:  # Minari leaves an HDF5 file of no bytes
        columns: dict[str, np.ndarray] = {}
        lengths: list[int] = []
    elif meta.get("data_format", "hdf5") == "hdf5":
        columns, lengths = _read_hdf5(data / "main_data.hdf5")
    else:
        columns, lengths = _read_with_minari(data)
    env_spec = meta.get("env_spec") or None
    columns = columns or _empty_columns(observation_space, action_space)
    return Dataset(
        **{name: columns[name] for name in COLUMNS},
        offsets=np.append(0, np.cumsum(lengths)),
        observation_space=observation_space,  # type: ignore[arg-type]
        action_space=action_space,  # type: ignore[arg-type]
        id=id,
        env_spec=env_spec,
        reference=_reference(meta) or reference_for(id, env_id_of(env_spec)),
        columns={k: columns[k] for k in STORED_COLUMNS if k in columns},
        provenance={
            **_provenance(meta),
            **{k: meta[k] for k in FACTS if k in meta},
            "source": "minari",
            "path": str(folder),
        },
    )


def _read_hdf5(path: Path) -> tuple[dict[str, np.ndarray], list[int]]:
    """The columns over all episodes and the episodes' lengths; both are empty if there are no episodes."""
    with open_hdf5(path) as file:
        names = sorted(file, key=_episode_number)
        groups = [file[name] for name in names]
        for name, group in zip(names, groups, strict=True):
            _require_episode(group, f"{path}: {name}")
        if not groups:
            return {}, []
        columns = {c: np.concatenate([group[c][()] for group in groups]) for c in COLUMNS}
        lengths = [len(group["actions"]) for group in groups]
        infos = [group.get("infos") for group in groups]
        for name in STORED_COLUMNS:
            if all(info is not None and name in info for info in infos):
                parts = [_info(i[name][()], name, n) for i, n in zip(infos, lengths, strict=True)]
                columns[name] = np.concatenate(parts)
    return columns, lengths


def _episode_number(name: str) -> int:
    """The number in a group's name (`episode_12`), so that episodes are read in order."""
    number = name.rsplit("_", 1)[-1]
    return int(number) if number.isdigit() else -1


def _require_episode(group: Group, where: str) -> None:
    missing = [name for name in COLUMNS if not hasattr(group, "keys") or name not in group]
    if missing:
        raise UserError(f"{where} has no {', '.join(missing)}; expected a Minari file, write it again with Minari")
    if hasattr(group["observations"], "keys") or hasattr(group["actions"], "keys"):
        raise UserError(f"{where} holds dictionaries, expected float vectors; flatten them first")


def _read_with_minari(data: Path) -> tuple[dict[str, np.ndarray], list[int]]:
    """As `_read_hdf5`, through Minari's own reader, for its other formats (Arrow)."""
    try:
        from minari.dataset.minari_dataset import MinariDataset

        episodes = list(MinariDataset(data).iterate_episodes())
    except Exception as e:  # Minari's back ends have no common error type
        raise UserError(f"{data}: Minari cannot read this data set: {one_line(e)}; fetch it again") from e
    if not episodes:
        return {}, []
    columns = {c: np.concatenate([np.asarray(getattr(ep, c)) for ep in episodes]) for c in COLUMNS}
    return columns, [len(ep.rewards) for ep in episodes]


def _info(values: np.ndarray, name: str, steps: int) -> np.ndarray:
    """A column of infos. Minari stores T + 1 rows; the last one is left out of a column of transitions."""
    return values if name in OBSERVATION_COLUMNS else values[:steps]


def _metadata(path: Path) -> dict[str, Any]:
    try:
        meta = read_json(path)
    except UserError as e:
        raise UserError(f"{e}; expected the metadata of a Minari data set") from e
    missing = [name for name in ("observation_space", "action_space") if not isinstance(meta.get(name), str)]
    if missing:
        raise UserError(
            f"{path} has no {', '.join(missing)}; expected Minari's metadata, write the set again with Minari >= 0.5"
        )
    return meta


def _reference(meta: dict[str, Any]) -> tuple[float, float] | None:
    low = meta.get("ref_min_score")
    high = meta.get("ref_max_score")
    return (low, high) if low is not None and high is not None else None


def _provenance(meta: dict[str, Any]) -> dict[str, Any]:
    """The provenance that `convert` wrote, if it wrote this data set."""
    try:
        noted = parse_json(str(meta.get("provenance", "{}")), "provenance")
    except UserError:
        return {}
    return provenance_in({"provenance": noted}, "provenance") if isinstance(noted, dict) else {}


def _empty_columns(observation_space: Space, action_space: Space) -> dict[str, np.ndarray]:
    return {
        "observations": np.zeros((0, *(observation_space.shape or ())), np.float32),
        "actions": np.zeros((0, *(action_space.shape or ())), action_space.dtype),
        "rewards": np.zeros(0),
        "terminations": np.zeros(0, bool),
        "truncations": np.zeros(0, bool),
    }


def _download(id: str) -> None:
    import minari

    try:
        minari.download_dataset(id)
    except Exception as e:  # network, server and id errors have no common type
        raise UserError(f"data set '{id}' cannot be downloaded: {one_line(e)}; check the id and the network") from e
