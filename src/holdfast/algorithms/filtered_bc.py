"""%BC: behaviour cloning on the trajectories of the highest returns (Chen et al. 2021, arXiv:2106.01345, section 5.1).

Two published rules choose them, and they keep different data where good trajectories are long:
"trajectories" keeps the best int(keep * number of trajectories), at least one (CORL);
"timesteps" takes trajectories from the best down while their steps together are within keep * all steps (DT), at
least one.
Returns are undiscounted sums of raw rewards. Ties keep the order of the data set.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from ..core.config import config, faults, static
from ..core.contract import Preset, Treatment
from . import bc


@config
class FilteredBC(bc.BC):
    keep: float = static(default=0.1)  # share of the data to keep; 0.1 in most tables
    rule: str = "trajectories"  # what keep is a share of: trajectories (CORL) or timesteps (DT)


def check(cfg: FilteredBC) -> list[str]:
    return faults(cfg, keep="in (0, 1]", rule="trajectories|timesteps", **bc.RULES)


def chosen(returns: np.ndarray, lengths: np.ndarray, keep: float, rule: str) -> np.ndarray:
    """Indices of the kept episodes, ascending. `returns` and `lengths` are [E]."""
    best = np.argsort(-returns, kind="stable")
    if rule == "trajectories":
        n = int(keep * len(best))
    else:
        n = int((np.cumsum(lengths[best]) <= keep * lengths.sum()).sum())
    return np.sort(best[: max(n, 1)])


def best_episodes(cfg: FilteredBC, dataset: Any) -> Any:
    """The part of the data set that is cloned."""
    return dataset.select(chosen(dataset.returns(), dataset.lengths, cfg.keep, cfg.rule))


def preset(kind: str, source: str, **settings: Any) -> Preset:
    return Preset(FilteredBC(kind=kind, **settings), Treatment(normalize_obs=1e-3), source)


PRESETS = {
    "mujoco": preset("deterministic", "CORL, algorithms/offline/any_percent_bc.py, frac 0.1"),
    "dt": preset("deterministic", "DT, gym/experiment.py, pct_traj 0.1", rule="timesteps"),
}

algorithm = bc.algorithm._replace(
    name="filtered_bc", Config=FilteredBC, presets=PRESETS, filter=best_episodes, episodes=True, check=check
)
