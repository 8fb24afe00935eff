"""Minari data sets, by id or as a folder.

Ids, downloads, spaces and environment specs are Minari's own. The episodes are read from the HDF5 file directly, one
pass, and the rows of each episode are counted. Optional columns are read from `infos`: action_mask, behaviour_log_prob,
discount.
"""

from __future__ import annotations

import functools
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike

from ...core.errors import UserError, nearest, one_line
from ...core.files import parse_json, read_json
from ...environments.gym.adapter import other_wrappers
from ...environments.gym.joint_actions import joint_space
from .. import spaces
from ..arrays import OBSERVATION_COLUMNS, STORED_COLUMNS, as_actions, as_observations, flags, stored, vector
from ..checks.faults import Fault, Where
from ..dataset import Dataset
from ..facts import provenance_in
from ..references import env_id_of, reference_for
from .ends import with_faults
from .files import Column, Group, open_hdf5

if TYPE_CHECKING:
    from gymnasium.spaces import Space

COLUMNS = ("observations", "actions", "rewards", "terminations", "truncations")
BLOCK_BYTES = 2**24  # episodes are joined when they take this much memory
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


def load_id(id: str, download: bool = False, skip_episodes: Sequence[int] = ()) -> Dataset:
    """Load the data set of a Minari id.

    Args:
        id: for example `mujoco/hopper/medium-v0`.
        download: download it with Minari (which shows its progress) if it is not local.
        skip_episodes: numbers of episodes to leave out.

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
    return load_folder(folder, id, skip_episodes)


def load_folder(folder: Path, id: str | None = None, skip_episodes: Sequence[int] = ()) -> Dataset:
    """Load the data set in a folder written by Minari.

    Args:
        folder: the data set's folder, or the folder `data` in it.
        id: name of the data set; None: the one in its metadata.
        skip_episodes: numbers of episodes to leave out, as the file has them.

    Raises:
        UserError: metadata or episodes that cannot be read, episodes whose columns do not have the same number of
            steps, or spaces that are not supported.
    """
    data = folder / "data" if (folder / "data").is_dir() else folder
    meta = _metadata(data / "metadata.json")
    id = id or str(meta.get("dataset_id", folder.name))
    observation_space = spaces.from_json(meta["observation_space"], f"{id}: observation_space")
    raw_space = observation_space
    observation_space = spaces.flattened(raw_space, id)
    action_space = spaces.from_json(meta["action_space"], f"{id}: action_space")
    spaces.require_supported(observation_space, joint_space(action_space, id), id)
    reader = _Reader(id, raw_space, action_space, frozenset(skip_episodes))
    if meta.get("total_episodes") == 0:  # Minari leaves an HDF5 file of no bytes
        pass
    elif meta.get("data_format", "hdf5") == "hdf5":
        _read_hdf5(data / "main_data.hdf5", reader)
    else:
        _read_with_minari(data, reader)
    columns, lengths = reader.joined()
    env_spec = meta.get("env_spec") or None
    evaluation = meta.get("eval_env_spec") or None
    columns = columns or _empty_columns(observation_space, action_space)
    data_set = Dataset(
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
            **({"raw_observation_space": spaces.to_json(raw_space)} if not hasattr(raw_space, "low") else {}),
            **({"evaluation_spec": evaluation} if isinstance(evaluation, str) and evaluation else {}),
            "source": "minari",
            "path": str(folder),
        },
    )
    return with_faults(data_set, [*_incomplete(meta, reader), *_wrappers(evaluation or env_spec)])


class _Reader:
    """Takes the columns of one episode after the other, and counts their rows."""

    def __init__(self, id: str, observation_space: Space, action_space: Space, skipped: frozenset[int]) -> None:
        """
        Args:
            id: name of the data set in error messages.
            observation_space: the space of the observations as they are stored; they are flattened.
            action_space: the space of the actions.
            skipped: numbers of the episodes to leave out.
        """
        self.id = id
        self.observation_space = observation_space
        self.action_space: Any = action_space
        self.skipped = skipped
        self.numbers: list[int] = []  # of all episodes
        self.lengths: list[int] = []  # of the episodes that are taken
        self.widths: dict[str, tuple[int, ...]] = {}  # shape of a row of each column, in the first episode
        self.parts: list[dict[str, np.ndarray]] = []  # episodes that are not joined yet
        self.waiting = 0  # their bytes
        self.blocks: list[dict[str, np.ndarray]] = []  # joined episodes
        self.faulty: dict[int, str] = {}  # what is wrong with an episode, by its number

    def add(self, number: int, read: Callable[[str], Any], infos: Mapping[str, ArrayLike]) -> None:
        """Take an episode, or note what is wrong with it.

        Args:
            number: the number of the episode.
            read: gives a column by its name.
            infos: the columns of `infos`.
        """
        self.numbers.append(number)
        if number in self.skipped:
            return
        try:
            part = self._arrays(number, read, infos)
        except UserError as e:
            self.faulty[number] = str(e)
        else:
            self.lengths.append(len(part["actions"]))
            self.widths = self.widths or {name: array.shape[1:] for name, array in part.items()}
            self.parts.append(part)
            self.waiting += sum(array.nbytes for array in part.values())
            if self.waiting > BLOCK_BYTES:
                self._join()

    def _arrays(self, number: int, read: Callable[[str], Any], infos: Mapping[str, ArrayLike]) -> dict[str, np.ndarray]:
        def where(name: str) -> str:
            return f"{name} of episode {number}"

        observed = read("observations")
        if not hasattr(self.observation_space, "low"):
            observed = spaces.flatten_rows(self.observation_space, observed, where("observations"))
        arrays = {
            "observations": as_observations(observed, where("observations")),
            "actions": as_actions(read("actions"), where("actions"), self.action_space),
            "rewards": vector(read("rewards"), where("rewards")),
            "terminations": flags(read("terminations"), where("terminations")),
            "truncations": flags(read("truncations"), where("truncations")),
        }
        steps = len(arrays["actions"])
        for name in STORED_COLUMNS:
            if name in infos:
                values = stored(name, infos[name], where(name))
                arrays[name] = values if name in OBSERVATION_COLUMNS else values[:steps]  # Minari stores T + 1 rows
        if not steps:
            raise UserError(f"episode {number} has no steps")
        for name, array in arrays.items():
            expected = steps + (name == "observations" or name in OBSERVATION_COLUMNS)
            if len(array) != expected:
                raise UserError(f"{where(name)} has {len(array)} rows, expected {expected} for {steps} actions")
            first = self.widths.get(name, array.shape[1:])
            if first != array.shape[1:]:
                raise UserError(f"{where(name)} has rows of shape {array.shape[1:]}, the first {first}")
        return arrays

    def _join(self) -> None:
        """Join the episodes read since the last call. Thousands of small arrays would keep their memory once freed."""
        self.blocks.append({name: np.concatenate([part[name] for part in self.parts]) for name in _common(self.parts)})
        self.parts = []
        self.waiting = 0

    def joined(self) -> tuple[dict[str, np.ndarray], list[int]]:
        """The columns over all episodes and the episodes' lengths; both are empty if there are no episodes.

        Raises:
            UserError: an episode is wrong, or there is none with a number that is to be left out.
        """
        missing = sorted(self.skipped - set(self.numbers))
        if missing:
            raise UserError(f"{self.id} has no episode {missing[0]} to skip; it has {len(self.numbers)} episodes")
        if self.faulty:
            numbers = sorted(self.faulty)
            more = f" (and {len(numbers) - 1} more such faults)" if len(numbers) > 1 else ""
            skip = " ".join(str(number) for number in sorted({*numbers[:10], *self.skipped}))
            raise UserError(
                f"{self.id}: {self.faulty[numbers[0]]}{more}; write the set again, or leave episodes out with "
                f"--skip-episodes {skip}{' ...' if len(numbers) > 10 else ''}"
            )
        if not self.lengths:
            return {}, []
        if self.parts:
            self._join()
        names = _common(self.blocks)
        return {name: np.concatenate([block.pop(name) for block in self.blocks]) for name in names}, self.lengths


def _common(parts: Sequence[Mapping[str, np.ndarray]]) -> list[str]:
    """The columns that all parts have."""
    return [*COLUMNS, *(name for name in STORED_COLUMNS if all(name in part for part in parts))]


def _read_hdf5(path: Path, reader: _Reader) -> None:
    """Read the episodes of an HDF5 file."""
    with open_hdf5(path) as file:
        for name in sorted(file, key=_episode_number):
            group = file[name]
            infos: Any = group.get("infos") if hasattr(group, "keys") else None
            found = {k: infos[k][()] for k in STORED_COLUMNS if hasattr(infos, "keys") and k in infos}
            reader.add(_episode_number(name), functools.partial(_column, group, f"{path}: {name}"), found)


def _column(group: Group, where: str, name: str) -> Any:
    """A column of an episode: an array, or arrays by name if the space is nested."""
    if name == COLUMNS[0]:  # the first one that is read
        _require_episode(group, where)
    item = group[name]
    if name == "actions" and isinstance(item, Group):
        raise UserError(f"{where} has dictionaries of actions, expected numbers; flatten them first")
    return _values(item)


def _values(item: Group | Column) -> Any:
    return _Nested(item) if isinstance(item, Group) else item[()]


class _Nested(Mapping[str, Any]):
    """The arrays of a group by name. One that is not used is not read."""

    def __init__(self, group: Group) -> None:
        self.group = group

    def __getitem__(self, name: str) -> Any:
        return _values(self.group[name])

    def __contains__(self, name: object) -> bool:
        return name in self.group

    def __iter__(self) -> Iterator[str]:
        return iter(self.group)

    def __len__(self) -> int:
        return len(self.group)


def _incomplete(meta: Mapping[str, Any], reader: _Reader) -> list[Fault]:
    """A warning if the metadata tell of other numbers of episodes and steps than the file holds."""
    have = {"total_episodes": len(reader.numbers)}
    if not reader.skipped:
        have["total_steps"] = sum(reader.lengths)
    wrong = [
        f"{k} {meta[k]}, the file has {n}" for k, n in have.items() if isinstance(meta.get(k), int) and meta[k] != n
    ]
    if not wrong:
        return []
    text = f"the metadata say {' and '.join(wrong)}: the set is incomplete, or its metadata are wrong"
    return [Fault("warn", "incomplete", Where(column="metadata"), len(wrong), text, "fetch or write the set again")]


def _wrappers(env_spec: str | None) -> list[Fault]:
    """A warning about wrappers of the environment that evaluations do not apply as the log's environment did."""
    other = other_wrappers(env_spec) if isinstance(env_spec, str) else []
    if not other:
        return []
    text = f"the environment's wrappers {', '.join(other)} are not applied as they were in the log's environment"
    fix = "register an environment that has them and name it with --env, or don't compare returns with the log's"
    return [Fault("warn", "wrappers", Where(column="env_spec"), len(other), text, fix)]


def _episode_number(name: str) -> int:
    """The number in a group's name (`episode_12`), so that episodes are read in order."""
    number = name.rsplit("_", 1)[-1]
    return int(number) if number.isdigit() else -1


def _require_episode(group: Group, where: str) -> None:
    has = set(group) if isinstance(group, Group) else set()
    missing = [name for name in COLUMNS if name not in has]
    if missing:
        raise UserError(f"{where} has no {', '.join(missing)}; expected a Minari file, write it again with Minari")


def _read_with_minari(data: Path, reader: _Reader) -> None:
    """As `_read_hdf5`, through Minari's own reader, for its other formats (Arrow)."""
    try:
        from minari.dataset.minari_dataset import MinariDataset

        for episode in MinariDataset(data).iterate_episodes():
            reader.add(int(episode.id), functools.partial(getattr, episode), {})
    except Exception as e:  # Minari's back ends have no common error type
        raise UserError(f"{data}: Minari cannot read this data set: {one_line(e)}; fetch it again") from e


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
        "observations": np.zeros(
            (0, *(observation_space.shape or ())), np.uint8 if observation_space.dtype == np.uint8 else np.float32
        ),
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
