"""OGBench's form: flat rows in which `terminals` marks the last row of each trajectory. Rewards are often missing.

There are three layouts: that of OGBench's files (T + 1 rows a trajectory, the last one only closes it), compact (the
same with `valids`, which is 0 on closing rows), and regular (T rows with `next_observations`). `masks` is 1 if a
bootstrap is allowed; a 0 is a true end. A trajectory that continues after a true end is cut there: the transitions are
the same, and no end flag lies inside an episode.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np
from numpy.typing import ArrayLike

from ...core.errors import UserError
from .. import spaces
from ..arrays import as_actions, as_observations, flags, vector
from ..dataset import Dataset
from .d4rl import require_columns
from .ends import unread, with_faults

NEEDED = ("observations", "actions", "terminals")
FLAGS = ("terminals", "masks", "valids")
OBSERVED = ("observations", "next_observations")
Rewards = ArrayLike | Callable[[Mapping[str, np.ndarray]], ArrayLike]  # one a row, or a function of the columns


def from_flat(
    flat: Mapping[str, np.ndarray],
    path: Path,
    *,
    rewards: Rewards | None = None,
    action_bounds: spaces.Bounds | None = None,
    id: str | None = None,
) -> Dataset:
    """A data set from flat columns with OGBench's names.

    Args:
        flat: the columns, [N, ...] each.
        path: the file that they were read from.
        rewards: one a row [N], or a function that computes them from the columns; needed if the file has no rewards.
        action_bounds: low and high of the actions; None: [-1, 1].
        id: name of the data set; None: the file's name.

    Raises:
        UserError: missing or unequal columns, or no rewards.
    """
    require_columns(flat, NEEDED, path)
    paid = _rewards(flat, path, rewards)
    arrays: dict[str, np.ndarray] = {"actions": as_actions(flat["actions"], f"{path}: actions")}
    arrays |= {name: flags(flat[name], f"{path}: {name}") for name in FLAGS if name in flat}
    arrays |= {name: as_observations(flat[name], f"{path}: {name}") for name in OBSERVED if name in flat}
    for name, column in [*arrays.items(), ("rewards", paid)]:
        rows_ = len(arrays["observations"])
        if len(column) != rows_:
            raise UserError(
                f"{path}: {name} has {len(column)} rows, observations {rows_}; expected one for each observation"
            )
    rows, following, ends = _transitions(arrays)
    terminations = np.zeros(len(rows), bool)
    if "masks" in arrays:
        terminations = ~arrays["masks"][rows]
    data = Dataset.from_arrays(
        arrays["observations"][rows],
        arrays["actions"][rows],
        paid[rows],
        terminations,
        ends & ~terminations,
        following,
        action_bounds=action_bounds,
        id=id or path.stem,
        provenance={"source": "ogbench", "path": str(path)},
    )
    return with_faults(data, unread(flat, FLAGS))


def _rewards(flat: Mapping[str, np.ndarray], path: Path, rewards: Rewards | None) -> np.ndarray:
    """The given rewards, else those of the file: [N]."""
    given = rewards(flat) if callable(rewards) else rewards
    if given is None:
        given = flat.get("rewards")
    if given is None:
        raise UserError(f"{path} has no rewards, like OGBench's reward-free files; pass rewards=, one a row")
    return vector(given, f"{path}: rewards")


def _transitions(flat: Mapping[str, np.ndarray]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Of the n transitions: their rows [n], their next observations [n, *obs], whether they end a trajectory [n]."""
    terminals = flat["terminals"]
    if "next_observations" in flat:
        return np.arange(len(terminals)), flat["next_observations"], terminals
    closing = ~flat["valids"] if "valids" in flat else terminals.copy()
    closing[-1:] = True  # no row follows the last one
    rows = np.flatnonzero(~closing)
    return rows, flat["observations"][rows + 1], closing[rows + 1]
