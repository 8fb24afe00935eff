"""OGBench's form: flat rows where `terminals` marks the last row of each trajectory and rewards are often missing.

Three layouts: as the files are (T + 1 rows a trajectory, the last one only closes it), compact (the same with `valids`,
0 on closing rows) and regular (T rows with `next_observations`). `masks` is 1 where a bootstrap is allowed; a 0 is a
true end. A trajectory that goes on after one is cut there: the transitions are the same, and no flag stands inside an
episode.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from ...core.errors import UserError
from ..arrays import flags
from ..dataset import Dataset

NEEDED = ("observations", "actions", "terminals")


def from_flat(
    flat: dict[str, np.ndarray],
    path: Path,
    *,
    rewards: Any = None,
    action_bounds: tuple[Any, Any] | None = None,
    id: str | None = None,
) -> Dataset:
    """Columns in OGBench's names.

    Args:
        flat: the arrays of the file.
        path: where they are from.
        rewards: one a row, or a function of the columns that gives them, where the file has none.
        action_bounds: low and high of the actions, [-1, 1] where not given.
        id: name of the data set; the file's name where not given.

    Raises:
        UserError: missing or unequal columns, no rewards.
    """
    id = id or path.stem
    missing = [k for k in NEEDED if k not in flat]
    if missing:
        raise UserError(
            f"{path} has no {', '.join(missing)}; it has {', '.join(sorted(flat))}; expected {', '.join(NEEDED)}"
        )
    n = len(flat["observations"])
    given = rewards(flat) if callable(rewards) else rewards
    given = flat.get("rewards") if given is None else np.asarray(given)
    if given is None:
        raise UserError(f"{path} has no rewards, like OGBench's reward-free files; pass rewards=, one a row")
    columns: dict[str, np.ndarray] = {
        "actions": flat["actions"],
        "rewards": given,
        **{k: flat[k] for k in ("terminals", "masks", "valids") if k in flat},
    }
    for name, column in columns.items():
        if len(column) != n:
            raise UserError(
                f"{path}: {name} has {len(column)} rows, observations {n}; expected one for each observation"
            )
    terminals = flags(flat["terminals"], f"{path}: terminals")
    bootstrap = flags(flat["masks"], f"{path}: masks") if "masks" in flat else np.ones(n, bool)
    if "next_observations" in flat:
        rows, following, ends = np.arange(n), flat["next_observations"], terminals
    else:
        closing = ~flags(flat["valids"], f"{path}: valids") if "valids" in flat else terminals
        closing = closing.copy()
        closing[-1:] = True  # nothing follows the file's last row
        rows = np.flatnonzero(~closing)
        following, ends = flat["observations"][rows + 1], closing[rows + 1]
    terminations = ~bootstrap[rows]
    return Dataset.from_arrays(
        flat["observations"][rows],
        flat["actions"][rows],
        np.asarray(given)[rows],
        terminations,
        ends & ~terminations,
        following,
        action_bounds=action_bounds,
        id=id,
        provenance={"source": "ogbench", "path": str(path)},
    )
