"""End flags of flat files: the names under which they are stored, and the columns that no reader reads."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Iterable, Mapping

import numpy as np

from ..arrays import flags
from ..checks.faults import Fault, Where
from ..dataset import Dataset

ALIASES = {"terminations": "terminals", "truncations": "timeouts"}  # Gymnasium's names and D4RL's
EPISODE_ENDS = "episode_terminals"  # d3rlpy 1.x: the last row of each episode, also of those cut by a time limit
OTHER_NAMES = (*ALIASES, EPISODE_ENDS)

_LOOKS_LIKE_END = re.compile(
    r"(^|_|/)(dones?|is_(first|last|done|end|terminal)|ends?|end_?flags?|resets?|valids|masks)($|_)"
    r"|terminal|terminat|time_?out|truncat|episode|traj(ectory)?(_|$)|trajector|session",
    re.IGNORECASE,
)


def named_ends(flat: Mapping[str, np.ndarray], where: str) -> dict[str, np.ndarray]:
    """The end flags as booleans under D4RL's names: `terminals`, and `timeouts` if there are any.

    Args:
        flat: the columns of the file; Gymnasium's names and d3rlpy's `episode_terminals` are renamed.
        where: name of the file in error messages.

    Raises:
        UserError: a column of flags with another shape or other values, or flags of unequal length.
    """
    ends = {}
    for own, name in [(name, name) for name in ALIASES.values()] + list(ALIASES.items()):
        if own in flat and name not in ends:
            ends[name] = flags(flat[own], f"{where}: {own}")
    last = flags(flat[EPISODE_ENDS], f"{where}: {EPISODE_ENDS}") if EPISODE_ENDS in flat else None
    if last is not None and "terminals" in ends and len(last) == len(ends["terminals"]):
        limits = last & ~ends["terminals"]
        known = ends.get("timeouts")
        ends["timeouts"] = limits if known is None or len(known) != len(limits) else known | limits
    return ends


def used_names(flat: Mapping[str, np.ndarray]) -> set[str]:
    """The names of the columns of end flags that `named_ends` reads."""
    return {own for own, name in ALIASES.items() if own in flat and name not in flat} | {EPISODE_ENDS}


def unread(names: Iterable[str], read: Iterable[str]) -> list[Fault]:
    """A warning about the columns that are not read although they look like end flags or numbers of episodes.

    Args:
        names: all columns of the file.
        read: the columns that were read.
    """
    missed = sorted(name for name in set(names) - set(read) if _LOOKS_LIKE_END.search(name))
    if not missed:
        return []
    text = f"{', '.join(missed)} looks like ends or numbers of episodes and is not read"
    fix = "store ends as terminations and truncations, one flag a row, if episodes are cut at the wrong rows"
    return [Fault("warn", "unread_ends", Where(column=missed[0]), len(missed), text, fix)]


def with_faults(dataset: Dataset, faults: Iterable[Fault]) -> Dataset:
    """The data set with more faults that its source found."""
    known = [*dataset.provenance.get("faults", []), *(fault.to_dict() for fault in faults)]
    return dataclasses.replace(dataset, provenance={**dataset.provenance, "faults": known})
