"""Sources read files into a `Dataset`. They change no values; `data.checks` reports what is wrong with them."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ...core.errors import UserError, nearest, unknown
from ...core.files import expanded
from ...environments.gym.adapter import make_env, raw_action_space_of
from .. import spaces
from ..action_spaces import ASSUMED, Kind, with_action_options, with_action_space
from ..dataset import Dataset
from ..tables.frames import SUFFIXES, Frame, is_frame, is_table_file
from ..tables.roles import Roles
from ..tables.schema import Schema

if TYPE_CHECKING:
    import gymnasium

BUNDLED = Path(__file__).parent.parent / "bundled"
FILES = (".hdf5", ".h5", ".npz")
_MINARI_ID = re.compile(r"-v\d+$")


def is_path(text: str) -> bool:
    """Whether a name is written as a path. Other names without a known suffix are Minari ids."""
    return text.startswith(("/", "./", "../", "~"))


def bundled_names() -> list[str]:
    """Names of the data sets that ship inside the package: `bundled/pendulum-mixed`."""
    return [f"bundled/{path.stem}" for path in sorted(BUNDLED.glob("*.npz"))]


def load_dataset(
    name: str | Path | Frame,
    *,
    download: bool = False,
    also: Sequence[str | Path | Frame] = (),
    shares: Sequence[float] = (),
    skip_episodes: Sequence[int] = (),
    env: str | None = None,
    action_kind: Kind | None = None,
    action_start: int | None = None,
    action_count: int | None = None,
    action_bounds: spaces.Bounds | None = None,
    columns: str | Path | Roles | Schema | None = None,
    part: str | None = None,
    **options: Any,
) -> Dataset:
    """Load a data set.

    Args:
        name: one of
            - a bundled name: `bundled/pendulum-mixed`,
            - a D4RL file (`.hdf5`, `.h5`),
            - an NPZ file: written by `convert`, or with OGBench's or D4RL's columns,
            - a table: CSV (`.csv`, `.csv.gz`), Parquet (`.parquet`) or a data frame, with `columns`,
            - a folder of columns (`.columns`, written by `convert`), which is mapped and not read into memory,
            - a folder with a Minari data set,
            - a Minari id: `mujoco/hopper/medium-v0`.
        download: download a Minari data set that is not local.
        also: more data sets, joined to the first one (see `Dataset.concat`) and read with the same options.
        shares: share of the episodes of each data set, above 0 and at most 1; empty: all episodes.
        skip_episodes: numbers of episodes to leave out, from 0; in a Minari data set those of the file.
        env: environment whose action space the data have if the file has none: its id, or its EnvSpec as JSON.
        action_kind: "discrete" or "continuous", whatever the file says.
        action_start: the first discrete action.
        action_count: number of discrete actions.
        action_bounds: low and high of continuous actions, numbers or `[A]`.
        columns: for a table: the roles of its columns, as a roles file, a mapping, or the schema of another data set or
            of a policy (`Dataset.table`, `Policy.table`), so that its values and labels mean the same.
        part: for a table: the part to read, by its column with the role split; `all`: every part.
        options: for flat files (D4RL and OGBench): `max_episode_steps`, `cut_jumps`, `use_next_observations`, `form`,
            `rewards` (OGBench) and `id`; see `data.sources.npz.load`.

    Returns:
        The data set, unchanged: run `data.checks.check.check` to see its faults.

    Raises:
        UserError: no data set of that name, a file that cannot be read, or an option that the source does not have, or
            that does nothing for these actions.
    """
    if not isinstance(name, str | Path) and not is_frame(name):
        raise UserError(
            f"name has type {type(name).__name__}, expected the name or the path of a data set; Dataset.from_arrays "
            "makes one from the columns of a table"
        )
    if also and skip_episodes:
        raise UserError("--skip-episodes is for one data set: write a copy without them with `holdfast data convert`")
    options |= {} if columns is None else {"columns": columns}
    options |= {} if part is None else {"part": part}
    data = _read(name, download, skip_episodes, options)
    if data.table is not None and (action_kind, action_start, action_count, action_bounds) != (None,) * 4:
        raise UserError(f"{data.id} is a table, whose roles describe the actions: set kind, labels, low and high there")
    if also or shares:
        same = options if data.table is None else {**options, "columns": data.table}
        data = Dataset.concat([data, *(_read(other, download, (), same) for other in also)], shares=shares)
    if env is not None:
        data = with_environment(data, env)
    return with_action_options(data, action_kind, action_start, action_count, action_bounds)


def with_environment(dataset: Dataset, env: str, make: Callable[[str], gymnasium.Env] = make_env) -> Dataset:
    """The data set with the action space of an environment, if its own one is only assumed.

    Args:
        dataset: the data set.
        env: environment id, or EnvSpec as JSON.
        make: makes the environment.

    Raises:
        UserError: the environment cannot be made.
    """
    if ASSUMED not in dataset.provenance:
        return dataset
    made = make(env)
    try:
        if dataset.provenance[ASSUMED] == ["count"] and hasattr(made.action_space, "low"):
            return dataset  # the user says that actions are discrete
        return with_action_space(dataset, raw_action_space_of(made) or made.action_space)
    finally:
        made.close()


def _read(name: str | Path | Frame, download: bool, skip_episodes: Sequence[int], options: dict[str, Any]) -> Dataset:
    """The data set as its file has it."""
    from . import folder, minari

    if is_frame(name):
        return _load_table(name, options, skip_episodes)
    text = str(name)
    path = expanded(text)
    if is_table_file(path):
        if not path.exists():
            raise _missing(text, path)
        return _load_table(name, options, skip_episodes)
    for option in ("columns", "part"):
        if option in options:
            raise UserError(f"{text} is not a table ({', '.join(SUFFIXES)}), so it takes no {option}: leave it out")
    if text.startswith("bundled/"):
        if text not in bundled_names():
            raise unknown("bundled data set", text, bundled_names())
        return _load_flat(BUNDLED / f"{text.removeprefix('bundled/')}.npz", options, skip_episodes)
    if path.suffix in FILES and not path.exists():
        raise _missing(text, path)
    if path.suffix == ".npz" or (path.suffix in (".hdf5", ".h5") and not path.is_dir()):
        return _load_flat(path, options, skip_episodes)
    if folder.is_folder(path) and not options.keys() - {"id"}:
        return _skipped(folder.load(path, **options), text, skip_episodes)
    if options:
        raise UserError(f"{text}: a Minari data set takes no option {', '.join(sorted(options))}; leave them out")
    if path.is_dir():
        if minari.is_folder(path):
            return minari.load_folder(path, skip_episodes=skip_episodes)
        raise UserError(
            f"{text} is a folder without a data set; expected data/metadata.json and data/main_data.hdf5 (Minari), "
            "or metadata.json and offsets.npy (a folder of columns)"
        )
    if path.exists():
        raise UserError(
            f"{text} is not a data set; expected one of {', '.join((*FILES, *SUFFIXES))}, a Minari folder or id; other "
            "files: read the columns yourself and pass them to Dataset.from_arrays"
        )
    if is_path(text) or not _MINARI_ID.search(text):
        raise _missing(text, path)
    return minari.load_id(text, download, skip_episodes)


def _missing(text: str, path: Path) -> UserError:
    """The error for a name that is neither a file nor a Minari id, with the nearest one."""
    near = nearest(path.name, [p.name for p in path.parent.iterdir()] if path.parent.is_dir() else [])
    near = near or nearest(text, bundled_names())
    return UserError(
        f"{text} does not exist{near}; expected a file ({', '.join((*FILES, *SUFFIXES))}), a bundled name, a Minari "
        "folder or id (which ends in -v and a number)"
    )


def _load_flat(path: Path, options: dict[str, Any], skip_episodes: Sequence[int]) -> Dataset:
    from . import d4rl, npz

    known = list(d4rl.FlatOptions.__annotations__)
    load: Callable[..., Dataset] = d4rl.load
    if path.suffix == ".npz":
        known = ["form", "rewards", *known]
        load = npz.load
    for option in options:
        if option not in known:
            raise unknown("option of a flat file", option, known)
    return _skipped(load(path, **options), str(path), skip_episodes)


def _load_table(source: str | Path | Frame, options: dict[str, Any], skip_episodes: Sequence[int]) -> Dataset:
    from ..tables.load import load_table

    known = ("columns", "part", "id")
    for option in options:
        if option not in known:
            raise unknown("option of a table", option, known)
    data = load_table(source, options.get("columns"), options.get("part"), options.get("id"))
    return _skipped(data, data.id, skip_episodes)


def _skipped(data: Dataset, path: str, skip_episodes: Sequence[int]) -> Dataset:
    """The data set without some episodes."""
    wrong = [number for number in skip_episodes if not 0 <= number < data.n_episodes]
    if wrong:
        raise UserError(f"{path} has no episode {wrong[0]} to skip; expected 0 to {data.n_episodes - 1}")
    return data.select(~np.isin(np.arange(data.n_episodes), skip_episodes)) if len(skip_episodes) else data
