"""Algorithms by name. To add one: write its file, add its row here, write its page in docs/algorithms."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, NamedTuple

from ..core.errors import unknown

if TYPE_CHECKING:
    from ..core.contract import Algorithm


class Row(NamedTuple):
    """What is known of an algorithm without importing it."""

    module: str
    title: str
    paper: str  # BibTeX key in citations.py


ROWS: dict[str, Row] = {
    "aca": Row("aca", "Actor-critic alignment, offline to online", "yu2023actor"),
    "awac": Row("awac", "Advantage-weighted actor-critic", "nair2020awac"),
    "awr": Row("awr", "Advantage-weighted regression", "peng2019advantage"),
    "bc": Row("bc", "Behaviour cloning", "pomerleau1989alvinn"),
    "bcq": Row("bcq", "Batch-constrained Q-learning, continuous", "fujimoto2019offpolicy"),
    "bear": Row("bear", "Bootstrapping error accumulation reduction", "kumar2019stabilizing"),
    "brac_p": Row("brac_p", "Behaviour-regularised actor-critic, policy penalty", "wu2019behavior"),
    "brac_v": Row("brac_v", "Behaviour-regularised actor-critic, value penalty", "wu2019behavior"),
    "cal_ql": Row("cal_ql", "Calibrated conservative Q-learning", "nakamoto2023calql"),
    "cql": Row("cql", "Conservative Q-learning", "kumar2020conservative"),
    "crr": Row("crr", "Critic-regularised regression", "wang2020critic"),
    "ddpg": Row("ddpg", "Deep deterministic policy gradient", "lillicrap2015continuous"),
    "discrete_bcq": Row("discrete_bcq", "Batch-constrained Q-learning, discrete actions", "fujimoto2019benchmarking"),
    "discrete_cql": Row("discrete_cql", "Conservative Q-learning, discrete actions", "kumar2020conservative"),
    "discrete_sac": Row("discrete_sac", "Soft actor-critic for discrete actions", "christodoulou2019soft"),
    "dqn": Row("dqn", "Deep Q-network", "mnih2015human"),
    "edac": Row("edac", "SAC-N with diversified critics", "an2021uncertainty"),
    "ensemble_dqn": Row("ensemble_dqn", "Average of the heads of a Q-network", "agarwal2020optimistic"),
    "filtered_bc": Row("filtered_bc", "Cloning of the best trajectories (%BC)", "chen2021decision"),
    "iql": Row("iql", "Implicit Q-learning", "kostrikov2021offline"),
    "iql_concurrent": Row("iql_concurrent", "Implicit Q-learning on the replay buffer of SAC", "luo2024offline"),
    "iql_online": Row("iql_online", "Implicit Q-learning that collects its own data", "kostrikov2021offline"),
    "mcq": Row("mcq", "Mildly conservative Q-learning", "lyu2022mildly"),
    "obac": Row("obac", "Offline-boosted actor-critic", "luo2024offline"),
    "plas": Row("plas", "Policy in the latent action space", "zhou2020plas"),
    "qr_dqn": Row("qr_dqn", "Quantile regression DQN", "dabney2018distributional"),
    "rebrac": Row("rebrac", "TD3+BC with separate penalties, deeper and normalised", "tarasov2023revisiting"),
    "rem": Row("rem", "Random ensemble mixture", "agarwal2020optimistic"),
    "rlpd": Row("rlpd", "Online learning with prior data", "ball2023efficient"),
    "sac": Row("sac", "Soft actor-critic", "haarnoja2018soft"),
    "sac_n": Row("sac_n", "Soft actor-critic with the minimum of N critics", "an2021uncertainty"),
    "spot": Row("spot", "Supported policy optimisation", "wu2022supported"),
    "tabular_bcq": Row("tabular_bcq", "Batch-constrained Q-learning, finite", "fujimoto2019offpolicy"),
    "td3": Row("td3", "Twin delayed DDPG", "fujimoto2018addressing"),
    "td3_bc": Row("td3_bc", "TD3 with a cloning term", "fujimoto2021minimalist"),
    "uwac": Row("uwac", "Uncertainty weighted actor-critic", "wu2021uncertainty"),
    "xql": Row("xql", "Extreme Q-learning", "garg2023extreme"),
}


def names() -> list[str]:
    """Every registered name."""
    return sorted(ROWS)


def get(name: str) -> Algorithm:
    """The algorithm with this name.

    Raises:
        UserError: the name is not registered. The message suggests the nearest name.
    """
    if name not in ROWS:
        raise unknown("algorithm", name, ROWS)
    return importlib.import_module(f"{__package__}.{ROWS[name].module}").algorithm
