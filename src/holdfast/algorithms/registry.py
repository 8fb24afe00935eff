"""Algorithms by name. Adding one: write its file, add its row here, write its page in docs/algorithms."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, NamedTuple

from ..core.errors import unknown

if TYPE_CHECKING:
    from ..core.contract import Algorithm


class Row(NamedTuple):
    """What can be said of an algorithm without importing it."""

    module: str
    title: str
    paper: str  # BibTeX key in citations.py


ROWS: dict[str, Row] = {
    "awac": Row("awac", "Advantage-weighted actor-critic", "nair2020awac"),
    "bc": Row("bc", "Behaviour cloning", "pomerleau1989alvinn"),
    "filtered_bc": Row("filtered_bc", "Cloning of the best trajectories (%BC)", "chen2021decision"),
    "iql": Row("iql", "Implicit Q-learning", "kostrikov2021offline"),
    "sac": Row("sac", "Soft actor-critic", "haarnoja2018soft"),
    "td3_bc": Row("td3_bc", "TD3 with a cloning term", "fujimoto2021minimalist"),
}


def names() -> list[str]:
    """Every registered name."""
    return sorted(ROWS)


def get(name: str) -> Algorithm:
    """The algorithm of that name.

    Raises:
        UserError: the name is not registered; the nearest one is suggested.
    """
    if name not in ROWS:
        raise unknown("algorithm", name, ROWS)
    return importlib.import_module(f"{__package__}.{ROWS[name].module}").algorithm
