"""Writes data sets to disk: in Minari's form, as D4RL's HDF5, as one compressed NPZ (the form of the bundled sets), or
as a folder of columns, which is mapped instead of read.

A written data set reads back with the same fingerprint. It appears under its name only when it is complete, and
no existing file is overwritten.
"""

from __future__ import annotations

import dataclasses
import itertools
import json
import os
import shutil
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ..core.errors import UserError, one_line
from ..core.files import expanded, parse_json
from . import spaces
from .arrays import OBSERVATION_COLUMNS, last_rows, take
from .dataset import Dataset
from .sources import FILES, folder, is_path

if TYPE_CHECKING:
    from gymnasium.envs.registration import EnvSpec

MINARI_FACTS = ("algorithm_name", "author", "code_permalink", "description")  # entries of Minari's own metadata

OF_ONE_FILE = ("faults", "left_out", "path", "source")  # entries of a provenance that say how a file was read


def convert(dataset: Dataset, target: str | Path, id: str | None = None) -> Path:
    """Write a data set. The suffix of the target chooses the form: `.hdf5`/`.h5` D4RL, `.npz`, `.columns` a folder of
    columns, otherwise Minari.

    Args:
        dataset: the data set to write.
        target: a file; for Minari a folder (`/...`, `./...`, `../...`, `~...`) or a Minari id, which is stored in
            Minari's own folder.
        id: name of the written data set; for Minari it must end in `-v` and a number.

    Returns:
        Path of the file or folder.

    Raises:
        UserError: the target exists or cannot be written, or the form cannot hold this data set.
    """
    text = str(target)
    path = expanded(text)
    if path.suffix in (".hdf5", ".h5"):
        return write_whole(path, lambda temporary: _d4rl(dataset, temporary, id or dataset.id))
    if path.suffix == ".npz":
        return write_whole(path, lambda temporary: _npz(dataset, temporary, id or dataset.id))
    if path.suffix == folder.SUFFIX:
        return write_whole(path, lambda temporary: _columns(dataset, temporary, id or dataset.id))
    if not is_path(text):
        path = _minari_root() / text
        id = id or text
        _make_namespace(text)
    id = id or path.name
    if not dataset.n_steps:
        raise UserError(f"{dataset.id} is empty: Minari's form needs at least one episode")
    return write_whole(path, lambda temporary: _minari(dataset, temporary, _minari_id(id)))


def require_free(target: str | Path, id: str | None = None) -> None:
    """Refuse a target that `convert` would refuse; call it before a data set is made.

    Raises:
        UserError: the target exists, or it is not a valid Minari id.
    """
    text = str(target)
    path = Path(text).expanduser()
    if path.suffix not in (*FILES, folder.SUFFIX):
        in_folder = is_path(text)
        _minari_id(id or (path.name if in_folder else text))
        path = path if in_folder else _minari_root() / text
    require_absent(path)


def metadata(dataset: Dataset, id: str) -> dict[str, Any]:
    """The facts stored with the columns, JSON-ready: id, spaces, environment, references, provenance."""
    return {
        "id": id,
        "observation_space": spaces.to_json(dataset.observation_space),
        "action_space": spaces.to_json(dataset.action_space),
        "env_spec": dataset.env_spec,
        "reference": list(dataset.reference) if dataset.reference else None,
        "provenance": copied(dataset.provenance, dataset.id),
    }


def copied(provenance: Mapping[str, Any], id: str) -> dict[str, Any]:
    """The provenance of a copy: without the entries that are true of the file that was read, and not of the copy.

    Args:
        provenance: that of the data set.
        id: name of the data set.
    """
    kept = {name: entry for name, entry in provenance.items() if name not in OF_ONE_FILE}
    return {**kept, "converted_from": id}


def _npz(dataset: Dataset, target: Path, id: str) -> None:
    names = ("observations", "actions", "rewards", "terminations", "truncations", "offsets")
    columns = {k: getattr(dataset, k) for k in names} | dict(dataset.columns)
    text = np.array(json.dumps(metadata(dataset, id)))
    with open(target, "wb") as file:
        np.savez_compressed(file, metadata=text, **columns)
        file.flush()
        os.fsync(file.fileno())


def _columns(dataset: Dataset, target: Path, id: str) -> None:
    target.mkdir()
    folder.write(dataset, target, json.dumps(metadata(dataset, id), indent=2).encode())


def _d4rl(dataset: Dataset, target: Path, id: str) -> None:
    import h5py

    last = last_rows(dataset.offsets)
    ends = dataset.terminations | dataset.truncations
    if (ends & ~last).any():
        raise UserError(f"{dataset.id}: D4RL's form cannot hold end flags inside an episode; add --cut-at-flags")
    rows = dataset.observation_rows
    columns = {
        "observations": take(dataset.observations, rows),
        "next_observations": take(dataset.observations, rows + 1),
        "actions": dataset.actions,
        "rewards": dataset.rewards,
        "terminals": dataset.terminations,
        "timeouts": dataset.truncations | (last & ~ends),
        **{f"columns/{k}": v for k, v in dataset.columns.items()},
    }
    with h5py.File(target, "w") as file:
        for name, column in columns.items():
            file.create_dataset(name, data=column, compression="gzip" if column.size else None)
        file["holdfast"] = json.dumps(metadata(dataset, id))


def _minari(dataset: Dataset, target: Path, id: str) -> None:
    import minari
    from minari.data_collector import EpisodeBuffer
    from minari.dataset.minari_storage import MinariStorage

    data = target / "data"
    data.mkdir(parents=True)
    storage = MinariStorage.new(
        data,
        observation_space=dataset.observation_space,
        action_space=dataset.action_space,
        env_spec=_env_spec(dataset),
        data_format="hdf5",
    )
    provenance = metadata(dataset, id)["provenance"]
    facts = {k: v for k, v in provenance.items() if k in MINARI_FACTS}
    if "author" in facts:  # Minari wants a set
        facts["author"] = {facts["author"]} if isinstance(facts["author"], str) else set(facts["author"])
    if dataset.reference:
        facts |= {"ref_min_score": dataset.reference[0], "ref_max_score": dataset.reference[1]}
    storage.update_metadata(
        {"dataset_id": id, "minari_version": minari.__version__, "provenance": json.dumps(provenance), **facts}
    )
    edges = dataset.offsets.tolist()
    storage.update_episodes(
        EpisodeBuffer(
            id=e,
            observations=take(dataset.observations, slice(a + e, b + e + 1)),
            actions=dataset.actions[a:b],
            rewards=dataset.rewards[a:b],
            terminations=dataset.terminations[a:b],
            truncations=dataset.truncations[a:b],
            infos=_infos(dataset, e, a, b),
        )
        for e, (a, b) in enumerate(itertools.pairwise(edges))
    )


def _env_spec(dataset: Dataset) -> EnvSpec | None:
    """The environment as Minari writes it: without entries that Gymnasium's current EnvSpec does not have."""
    from gymnasium.envs.registration import EnvSpec

    if dataset.env_spec is None:
        return None
    is_json = dataset.env_spec.lstrip().startswith("{")
    spec = parse_json(dataset.env_spec, f"{dataset.id}: env_spec") if is_json else {"id": dataset.env_spec}
    known = {field.name for field in dataclasses.fields(EnvSpec) if field.init}
    spec = {name: value for name, value in spec.items() if name in known}
    try:
        return EnvSpec.from_json(json.dumps({"additional_wrappers": [], **spec}))
    except Exception as e:  # Gymnasium has no common error type
        raise UserError(
            f"{dataset.id}: Gymnasium cannot read its environment spec ({one_line(e)[:200]}): write .npz or .hdf5"
        ) from e


def _infos(dataset: Dataset, e: int, a: int, b: int) -> dict[str, np.ndarray]:
    """The optional columns of episode e (transitions a to b) as Minari's infos.

    Infos have T + 1 rows: a column of transitions repeats its last value.
    """
    out = {}
    for name, column in dataset.columns.items():
        part = column[a + e : b + e + 1] if name in OBSERVATION_COLUMNS else column[a:b]
        out[name] = part if name in OBSERVATION_COLUMNS else np.concatenate([part, part[-1:]])
    return out


def _minari_id(id: str) -> str:
    from minari.dataset.minari_dataset import parse_dataset_id

    try:
        parse_dataset_id(id)
    except (ValueError, TypeError) as e:
        raise UserError(
            f"'{id}' is not a Minari id; expected a name ending in a version, like my/robot-v0 (--name NAME)"
        ) from e
    return id


def _make_namespace(id: str) -> None:
    """Declare the namespaces of an id in Minari's folder, as Minari requires."""
    from minari import namespace

    parts = _minari_id(id).split("/")[:-1]
    if parts:
        try:
            if "/".join(parts) not in namespace.list_local_namespaces():
                namespace.create_namespace("/".join(parts))
        except OSError as e:
            raise _cannot_write(id, e) from e


def _minari_root() -> Path:
    from .sources.minari import root

    return root()


def require_absent(path: Path) -> None:
    """Refuse to overwrite.

    Raises:
        UserError: the path exists.
    """
    if path.exists():
        raise UserError(f"{path} exists already and is not overwritten; choose another name or remove it")


def _cannot_write(target: str | Path, error: OSError) -> UserError:
    return UserError(f"{target} cannot be written: {error.strerror or error}; free space or choose another place")


def write_whole(path: Path, write: Callable[[Path], None]) -> Path:
    """Write to a temporary path and rename it, so that whatever exists at `path` is complete.

    Raises:
        UserError: the path exists, or it cannot be written.
    """
    require_absent(path)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=".holdfast-", dir=path.parent) as aside:
            temporary = Path(aside) / path.name
            write(temporary)
            if temporary.is_dir():
                shutil.copymode(path.parent, temporary)
            os.rename(temporary, path)
    except OSError as e:
        raise _cannot_write(path, e) from e
    return path
