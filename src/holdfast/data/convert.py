"""Data sets written to disk: Minari's form, D4RL's HDF5, and one compressed NPZ (the form of the bundled sets).

Whatever is written reads back with the same fingerprint. It appears under its name only when it is complete, and
nothing is ever written over.
"""

from __future__ import annotations

import json
import os
import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from ..core.errors import UserError
from . import spaces
from .arrays import OBSERVATION_COLUMNS, take
from .dataset import Dataset

KNOWN = ("algorithm_name", "author", "code_permalink", "description")


def convert(dataset: Dataset, target: str | Path, id: str | None = None) -> Path:
    """Write a data set in the form that the target's ending names: `.hdf5`/`.h5` D4RL, `.npz`, anything else Minari.

    Args:
        dataset: what to write.
        target: a file; or for Minari a folder (`/...`, `./...`, `~/...`) or else a Minari id, kept where Minari looks.
        id: the name it is to have; for Minari it must end in `-v` and a number.

    Returns:
        Where it is.

    Raises:
        UserError: the target exists or cannot be written, or the form cannot hold this data set.
    """
    text = str(target)
    path = Path(text).expanduser()
    if path.suffix in (".hdf5", ".h5"):
        return _whole(path, lambda aside: _d4rl(dataset, aside, id or dataset.id))
    if path.suffix == ".npz":
        return _whole(path, lambda aside: _npz(dataset, aside, id or dataset.id))
    if not text.startswith(("/", "./", "../", "~")):
        from .sources.minari import root

        id, path = id or text, root() / text
        _make_namespace(text)
    id = id or path.name
    if not dataset.n_steps:
        raise UserError(f"{dataset.id} is empty: Minari's form needs at least one episode")
    return _whole(path, lambda aside: _minari(dataset, aside, _minari_id(id)))


def free(target: str | Path, id: str | None = None) -> None:
    """Refuse, before a data set is made, a target that `convert` would refuse afterwards.

    Raises:
        UserError: it exists, or is no Minari id.
    """
    text = str(target)
    path = Path(text).expanduser()
    if path.suffix not in (".hdf5", ".h5", ".npz"):
        _minari_id(id or (path.name if text.startswith(("/", "./", "../", "~")) else text))
    if not text.startswith(("/", "./", "../", "~")) and path.suffix not in (".hdf5", ".h5", ".npz"):
        from .sources.minari import root

        path = root() / text
    if path.exists():
        raise UserError(f"{path} exists already and is not written over; choose another name or remove it")


def metadata(dataset: Dataset, id: str) -> dict[str, Any]:
    """What is known beside the columns, JSON-ready: id, spaces, environment, references, provenance."""
    passing = ("faults", "left_out", "path", "source")  # these are about one reading of one file
    return {
        "id": id,
        "observation_space": spaces.to_json(dataset.observation_space),
        "action_space": spaces.to_json(dataset.action_space),
        "env_spec": dataset.env_spec,
        "reference": list(dataset.reference) if dataset.reference else None,
        "provenance": {
            **{k: v for k, v in dataset.provenance.items() if k not in passing},
            "converted_from": dataset.id,
        },
    }


def _npz(dataset: Dataset, aside: Path, id: str) -> None:
    names = ("observations", "actions", "rewards", "terminations", "truncations", "offsets")
    columns = {k: getattr(dataset, k) for k in names} | dict(dataset.columns)
    text = np.array(json.dumps(metadata(dataset, id)))
    with open(aside, "wb") as file:
        np.savez_compressed(file, metadata=text, **columns)
        file.flush()
        os.fsync(file.fileno())


def _d4rl(dataset: Dataset, aside: Path, id: str) -> None:
    import h5py

    last = np.zeros(dataset.n_steps, bool)
    last[dataset.offsets[1:] - 1] = True
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
    with h5py.File(aside, "w") as file:
        for name, column in columns.items():
            file.create_dataset(name, data=column, compression="gzip" if column.size else None)
        file["holdfast"] = json.dumps(metadata(dataset, id))


def _minari(dataset: Dataset, aside: Path, id: str) -> None:
    from gymnasium.envs.registration import EnvSpec
    from minari.data_collector import EpisodeBuffer
    from minari.dataset.minari_storage import MinariStorage

    data = aside / "data"
    data.mkdir(parents=True)
    storage = MinariStorage.new(
        data,
        observation_space=dataset.observation_space,
        action_space=dataset.action_space,
        env_spec=EnvSpec.from_json(dataset.env_spec) if dataset.env_spec else None,
        data_format="hdf5",
    )
    import minari

    meta = metadata(dataset, id)
    about = {k: v for k, v in meta["provenance"].items() if k in KNOWN}
    if "author" in about:
        about["author"] = (
            {about["author"]} if isinstance(about["author"], str) else set(about["author"])
        )  # Minari's form
    if dataset.reference:
        about |= {"ref_min_score": dataset.reference[0], "ref_max_score": dataset.reference[1]}
    storage.update_metadata(
        {"dataset_id": id, "minari_version": minari.__version__, "provenance": json.dumps(meta["provenance"]), **about}
    )
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
        for e, (a, b) in enumerate(zip(dataset.offsets[:-1].tolist(), dataset.offsets[1:].tolist(), strict=True))
    )


def _infos(dataset: Dataset, e: int, a: int, b: int) -> dict[str, np.ndarray]:
    """Optional columns as infos, which have T + 1 rows: a column of transitions repeats its last value."""
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
            f"'{id}' is no Minari id; expected a name ending in a version, like my/robot-v0 (--name NAME)"
        ) from e
    return id


def _make_namespace(id: str) -> None:
    """Minari wants each namespace of an id declared in its folder."""
    from minari import namespace

    parts = _minari_id(id).split("/")[:-1]
    if parts:
        try:
            if "/".join(parts) not in namespace.list_local_namespaces():
                namespace.create_namespace("/".join(parts))
        except OSError as e:
            raise UserError(f"{id} cannot be written: {e.strerror or e}; free space or choose another place") from e


def _whole(path: Path, write: Callable[[Path], None]) -> Path:
    """Write aside, then rename: what exists under `path` is complete."""
    if path.exists():
        raise UserError(f"{path} exists already and is not written over; choose another name or remove it")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=".holdfast-", dir=path.parent) as folder:
            aside = Path(folder) / path.name
            write(aside)
            shutil.copymode(path.parent, aside) if aside.is_dir() else None
            os.rename(aside, path)
    except OSError as e:
        raise UserError(f"{path} cannot be written: {e.strerror or e}; free space or choose another place") from e
    return path
