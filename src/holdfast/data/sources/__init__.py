"""Sources parse files into a `Dataset`; they repair nothing."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from ...core.errors import UserError, unknown
from ..dataset import Dataset

BUNDLED = Path(__file__).parent.parent / "bundled"
FILES = (".hdf5", ".h5", ".npz")


def bundled_names() -> list[str]:
    """Names of the data sets that ship inside the package: `bundled/pendulum-mixed`."""
    return [f"bundled/{path.stem}" for path in sorted(BUNDLED.glob("*.npz"))]


def load_dataset(name: str | Path, *, download: bool = False, **options: Any) -> Dataset:
    """Load a data set.

    Args:
        name: a bundled name (`bundled/pendulum-mixed`), a D4RL file (`.hdf5`, `.h5`), an NPZ file in OGBench's or
            D4RL's names, a folder with a Minari data set, or a Minari id.
        download: fetch a Minari id that is not local.
        options: for flat files: `action_bounds=(low, high)`, `max_episode_steps`, `cut_jumps`, `use_next_observations`,
            `rewards` (OGBench), `id`.

    Raises:
        UserError: nothing by that name, a file that cannot be read, or an option that the source does not have.
    """
    from . import d4rl, minari, npz

    text = str(name)
    path = Path(text).expanduser()
    if text.startswith("bundled/"):
        if text not in bundled_names():
            raise unknown("bundled data set", text, bundled_names())
        return _called(npz.load, BUNDLED / f"{text.removeprefix('bundled/')}.npz", options)
    if path.suffix in (".hdf5", ".h5") and not path.is_dir():
        return _called(d4rl.load, path, options)
    if path.suffix == ".npz":
        return _called(npz.load, path, options)
    if options:
        raise UserError(f"{text}: a Minari data set takes no option {', '.join(sorted(options))}; only flat files do")
    if path.is_dir():
        if minari.is_folder(path):
            return minari.load_folder(path)
        raise UserError(
            f"{text} is a folder without a Minari data set; expected data/metadata.json and data/main_data.hdf5 in it"
        )
    if path.exists():
        raise UserError(f"{text} is no data set; expected one of {', '.join(FILES)}, a Minari folder or id")
    if text.startswith(("/", "./", "../", "~")):
        raise UserError(f"{text} does not exist; expected a file ({', '.join(FILES)}), a Minari folder or a Minari id")
    return minari.load_id(text, download)


def _called(load: Any, path: Path, options: dict[str, Any]) -> Dataset:
    import inspect

    known = list(inspect.signature(load).parameters)[1:]
    for option in options:
        if option not in known:
            raise unknown("option of a flat file", option, known)
    return load(path, **options)
