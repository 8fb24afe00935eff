"""%BC: behaviour cloning of the trajectories of the highest returns (Chen et al. 2021, arXiv:2106.01345, section 5.1).

Notation (paper = code): X % = `keep`.
Two published rules choose the trajectories, and keep different data if good trajectories are long:
"trajectories" keeps the best int(keep * number of trajectories), at least one (CORL);
"timesteps" takes trajectories from the best down while their steps together are within keep * all steps (DT), at
least one.
Returns are sums of raw rewards, discounted by `return_discount`: CORL ranks by discounted returns, DT by undiscounted
ones. Ties keep the order of the data set. The cloning itself, its networks and its settings are those of `bc`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from ..core.config import Schedule, config, faults, static
from ..core.contract import Preset, Treatment
from . import bc

if TYPE_CHECKING:
    from ..data.dataset import Dataset


@config
class FilteredBC:
    keep: float = static(default=0.1)  # share of the data to keep; 0.1 in most tables
    rule: str = "trajectories"  # what keep is a share of: trajectories (CORL) or timesteps (DT)
    return_discount: float = static(default=0.99)  # discount of the returns that rank trajectories; 1 in DT
    kind: str = "deterministic"  # continuous policy: deterministic (mean squared error) or gaussian (likelihood)
    logit_penalty: float = 0.5  # discrete: weight of the mean squared log-probability, as in d3rlpy; 0 for none
    actor_lr: float = 3e-4  # Adam, CORL
    actor_decay_steps: Schedule = "constant"  # learning rate: constant, or a cosine over the run or N updates
    hidden: tuple[int, ...] = (256, 256)  # widths of the hidden layers, CORL
    batch_size: int = 256  # rows per update


def check(cfg: FilteredBC) -> list[str]:
    rules = {"kind": "deterministic|gaussian", "logit_penalty": "at least 0", "rule": "trajectories|timesteps"}
    return faults(cfg, keep="in (0, 1]", return_discount="in (0, 1]", **rules)


def chosen(returns: np.ndarray, lengths: np.ndarray, keep: float, rule: str) -> np.ndarray:
    """Indices of the kept episodes, ascending. `returns` and `lengths` are [E]."""
    best = np.argsort(-returns, kind="stable")
    if rule == "trajectories":
        n = int(keep * len(best))
    else:
        n = int((np.cumsum(lengths[best]) <= keep * lengths.sum()).sum())
    return np.sort(best[: max(n, 1)])


def best_episodes(cfg: FilteredBC, dataset: Dataset) -> Dataset:
    """The part of the data set that is cloned."""
    return dataset.select(chosen(dataset.returns(cfg.return_discount), dataset.lengths, cfg.keep, cfg.rule))


PRESETS = {
    "mujoco": Preset(
        FilteredBC(), Treatment(normalize_obs=1e-3), "CORL, algorithms/offline/any_percent_bc.py, configs/bc_10"
    ),
    "tuned_timesteps": Preset(
        FilteredBC(rule="timesteps", return_discount=1.0),
        Treatment(normalize_obs=1e-3),
        "ours, DT's rule (gym/experiment.py, pct_traj) with CORL's networks",
    ),
    "tuned_100k": Preset(
        FilteredBC(return_discount=1.0, actor_decay_steps="run"),
        Treatment(normalize_obs=1e-3),
        "ours, undiscounted returns and a rate that falls, for short logs",
    ),
}

algorithm = bc.algorithm._replace(
    name="filtered_bc", Config=FilteredBC, presets=PRESETS, filter=best_episodes, episodes=True, check=check
)
