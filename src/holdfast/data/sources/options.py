"""How to read a data set: one record, whose fields are the options of `load_dataset` and the flags of the commands."""

from __future__ import annotations

import dataclasses
from typing import Any, Literal


@dataclasses.dataclass(frozen=True)
class DataOptions:
    """How to read the data set. `max_episode_steps`, `cut_jumps`, `use_next_observations`, `terminal_sessions`, `form`
    and `id` are for flat files: D4RL, OGBench and NPZ."""

    download: bool = False
    """Download a Minari data set that is not on this machine."""
    action_bounds: tuple[float, float] | None = None
    """Lowest and highest action. None: those of the data or of --env, else -1 and 1."""
    action_kind: Literal["discrete", "continuous"] | None = None
    """Kind of the actions. None: that of the data or of --env; in a file without a space, integers are discrete."""
    action_start: int | None = None
    """The first discrete action. None: that of the data or of --env, else 0."""
    action_count: int | None = None
    """Number of discrete actions. None: that of the data or of --env, else up to the largest one in the log."""
    max_episode_steps: int | None = None
    """Cut episodes after this many steps if the file has no timeouts. None: do not."""
    cut_jumps: bool | None = None
    """End an episode wherever the next observation is not that of the following row."""
    use_next_observations: bool = True
    """Close episodes with stored next observations; --no-use-next-observations leaves their last rows out."""
    terminal_sessions: bool | None = None
    """Keep a session's last row that no next observation follows, as a true end. None: if all rewards are there."""
    form: Literal["d4rl", "ogbench"] | None = None
    """Form of an NPZ file, if its columns do not show it."""
    also: tuple[str, ...] = ()
    """More data sets, joined to the first one. They are read with the same options."""
    shares: tuple[float, ...] = ()
    """Share of the episodes of each data set, above 0 and at most 1. None given: all episodes."""
    skip_episodes: tuple[int, ...] = ()
    """Numbers of episodes to leave out, from 0; in a Minari data set those of the file."""
    columns: str | dict[str, Any] | None = None
    """Roles of the columns of a table (CSV, Parquet): a roles file, which `holdfast data schema` proposes."""
    part: str | None = None
    """The part of a table to read, by its column with the role split; all: every part."""
    id: str | None = None
    """Name of the data set. None: the name of the file."""

    def given(self) -> dict[str, Any]:
        """The options that differ from their defaults, as keyword arguments of `load_dataset`."""
        values = {field.name: getattr(self, field.name) for field in dataclasses.fields(self)}
        return {name: value for name, value in values.items() if value != getattr(DataOptions, name)}
