"""How to read a data set: one record, whose fields are the options of `load_dataset` and the flags of the commands."""

from __future__ import annotations

import dataclasses
from typing import Any, Literal


@dataclasses.dataclass(frozen=True)
class DataOptions:
    """How to read the data set. All options except `download` are for flat files: D4RL, OGBench and NPZ."""

    download: bool = False
    """Download a Minari data set that is not on this machine."""
    action_bounds: tuple[float, float] | None = None
    """Lowest and highest action. None: -1 and 1."""
    max_episode_steps: int | None = None
    """Cut episodes after this many steps if the file has no timeouts. None: do not."""
    cut_jumps: bool | None = None
    """End an episode wherever the next observation is not that of the following row."""
    use_next_observations: bool = True
    """Close episodes with stored next observations; --no-use-next-observations leaves their last rows out."""
    form: Literal["d4rl", "ogbench"] | None = None
    """Form of an NPZ file, if its columns do not show it."""
    id: str | None = None
    """Name of the data set. None: the name of the file."""

    def given(self) -> dict[str, Any]:
        """The options that differ from their defaults, as keyword arguments of `load_dataset`."""
        values = {field.name: getattr(self, field.name) for field in dataclasses.fields(self)}
        return {name: value for name, value in values.items() if value != getattr(DataOptions, name)}
