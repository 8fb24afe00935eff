"""Sources read files into a `Dataset`. They change no values; `data.checks` reports what is wrong with them."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from pathlib import Path
from typing import Any

from ...core.errors import UserError, unknown
from ...core.files import expanded
from ..dataset import Dataset

BUNDLED = Path(__file__).parent.parent / "bundled"
FILES = (".hdf5", ".h5", ".npz")


def is_path(text: str) -> bool:
    """Whether a name is written as a path. Other names without a known suffix are Minari ids."""
    return text.startswith(("/", "./", "../", "~"))


def bundled_names() -> list[str]:
    """Names of the data sets that ship inside the package: `bundled/pendulum-mixed`."""
    return [f"bundled/{path.stem}" for path in sorted(BUNDLED.glob("*.npz"))]


def load_dataset(name: str | Path, *, download: bool = False, **options: Any) -> Dataset:
    """Load a data set.

    Args:
        name: one of
            - a bundled name: `bundled/pendulum-mixed`,
            - a D4RL file (`.hdf5`, `.h5`),
            - an NPZ file: written by `convert`, or with OGBench's or D4RL's columns,
            - a folder with a Minari data set,
            - a Minari id: `mujoco/hopper/medium-v0`.
        download: download a Minari data set that is not local.
        options: for flat files (D4RL and OGBench): `action_bounds=(low, high)`, `max_episode_steps`, `cut_jumps`,
            `use_next_observations`, `form`, `rewards` (OGBench) and `id`; see `data.sources.npz.load`.

    Returns:
        The data set, unchanged: run `data.checks.check.check` to see its faults.

    Raises:
        UserError: no data set of that name, a file that cannot be read, or an option that the source does not have.
    """
    from . import d4rl, minari, npz

    text = str(name)
    path = expanded(text)
    if text.startswith("bundled/"):
        if text not in bundled_names():
            raise unknown("bundled data set", text, bundled_names())
        return _load_flat(npz.load, BUNDLED / f"{text.removeprefix('bundled/')}.npz", options)
    if path.suffix in (".hdf5", ".h5") and not path.is_dir():
        return _load_flat(d4rl.load, path, options)
    if path.suffix == ".npz":
        return _load_flat(npz.load, path, options)
    if options:
        raise UserError(f"{text}: a Minari data set takes no option {', '.join(sorted(options))}; leave them out")
    if path.is_dir():
        if minari.is_folder(path):
            return minari.load_folder(path)
        raise UserError(
            f"{text} is a folder without a Minari data set; expected data/metadata.json and data/main_data.hdf5 in it"
        )
    if path.exists():
        raise UserError(f"{text} is not a data set; expected one of {', '.join(FILES)}, a Minari folder or id")
    if is_path(text):
        raise UserError(f"{text} does not exist; expected a file ({', '.join(FILES)}), a Minari folder or a Minari id")
    return minari.load_id(text, download)


def _load_flat(load: Callable[..., Dataset], path: Path, options: dict[str, Any]) -> Dataset:
    known = list(inspect.signature(load).parameters)[1:]
    for option in options:
        if option not in known:
            raise unknown("option of a flat file", option, known)
    return load(path, **options)
