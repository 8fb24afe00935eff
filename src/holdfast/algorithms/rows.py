"""The table of the algorithms of this package."""

from __future__ import annotations

from typing import NamedTuple


class Row(NamedTuple):
    """What is known of an algorithm without importing it."""

    module: str
    title: str
    paper: str | None  # BibTeX key in citations.bib; None: no paper is known


ROWS: dict[str, Row] = {
    "aca": Row("aca", "Actor-critic alignment, offline to online", "yu2023actor"),
    "algae_dice": Row("algae_dice", "Policy gradient from any data, by duality", "nachum2019algaedice"),
    "awac": Row("awac", "Advantage-weighted actor-critic", "nair2020awac"),
    "awr": Row("awr", "Advantage-weighted regression", "peng2019advantage"),
    "bc": Row("bc", "Behaviour cloning", "pomerleau1989alvinn"),
    "bcq": Row("bcq", "Batch-constrained Q-learning, continuous", "fujimoto2019offpolicy"),
    "bear": Row("bear", "Bootstrapping error accumulation reduction", "kumar2019stabilizing"),
    "brac_p": Row("brac_p", "Behaviour-regularised actor-critic, policy penalty", "wu2019behavior"),
    "brac_v": Row("brac_v", "Behaviour-regularised actor-critic, value penalty", "wu2019behavior"),
    "cal_ql": Row("cal_ql", "Calibrated conservative Q-learning", "nakamoto2023calql"),
    "combo": Row("combo", "Conservative offline model-based policy optimisation", "yu2021combo"),
    "cql": Row("cql", "Conservative Q-learning", "kumar2020conservative"),
    "crr": Row("crr", "Critic-regularised regression", "wang2020critic"),
    "ddpg": Row("ddpg", "Deep deterministic policy gradient", "lillicrap2015continuous"),
    "decision_transformer": Row("decision_transformer", "Decision Transformer", "chen2021decision"),
    "diffusion_ql": Row("diffusion_ql", "Q-learning with a diffusion policy", "wang2022diffusion"),
    "dice": Row("dice", "Value of a policy by ratios of visits (DualDICE, GenDICE, BestDICE)", "yang2020offpolicy"),
    "discrete_bcq": Row("discrete_bcq", "Batch-constrained Q-learning, discrete actions", "fujimoto2019benchmarking"),
    "discrete_cql": Row("discrete_cql", "Conservative Q-learning, discrete actions", "kumar2020conservative"),
    "discrete_sac": Row("discrete_sac", "Soft actor-critic for discrete actions", "christodoulou2019soft"),
    "dqn": Row("dqn", "Deep Q-network", "mnih2015human"),
    "edac": Row("edac", "SAC-N with diversified critics", "an2021uncertainty"),
    "ensemble_dqn": Row("ensemble_dqn", "Average of the heads of a Q-network", "agarwal2020optimistic"),
    "filtered_bc": Row("filtered_bc", "Cloning of the best trajectories (%BC)", "chen2021decision"),
    "flow_bc": Row("flow_bc", "Behaviour cloning with a flow policy", "park2025flow"),
    "fqe": Row("fqe", "Fitted Q evaluation of a policy", "le2019batch"),
    "fqe_quantile": Row("fqe_quantile", "Fitted Q evaluation of the distribution of returns", "le2019batch"),
    "fql": Row("fql", "Flow Q-learning", "park2025flow"),
    "idql": Row("idql", "Implicit Q-learning with a diffusion policy", "hansenestruch2023idql"),
    "ifql": Row("ifql", "Implicit flow Q-learning", "park2025flow"),
    "iql": Row("iql", "Implicit Q-learning", "kostrikov2021offline"),
    "iql_concurrent": Row("iql_concurrent", "Implicit Q-learning on the replay buffer of SAC", "luo2024offline"),
    "iql_online": Row("iql_online", "Implicit Q-learning that collects its own data", "kostrikov2021offline"),
    "mabcq": Row("mabcq", "Batch-constrained Q-learning with teammates, continuous", "jiang2021offline"),
    "mcq": Row("mcq", "Mildly conservative Q-learning", "lyu2022mildly"),
    "mobile": Row("mobile", "Model-Bellman inconsistency penalised policy optimisation", "sun2023model"),
    "mopo": Row("mopo", "Model-based offline policy optimisation", "yu2020mopo"),
    "morel": Row("morel", "Model-based offline RL with a pessimistic model", "kidambi2020morel"),
    "obac": Row("obac", "Offline-boosted actor-critic", "luo2024offline"),
    "odt": Row("odt", "Online Decision Transformer", "zheng2022online"),
    "omar": Row("omar", "Conservative critics and a search for actions, for teams", "pan2022plan"),
    "omiga": Row("omiga", "Implicit regularisation of a team's value", "wang2023offline"),
    "opti_dice": Row("opti_dice", "Policy of the best stationary distribution", "lee2021optidice"),
    "plas": Row("plas", "Policy in the latent action space", "zhou2020plas"),
    "qc": Row("qc", "Q-learning on chunks of actions", "li2025reinforcement"),
    "qc_fql": Row("qc_fql", "Flow Q-learning on chunks of actions", "li2025reinforcement"),
    "qr_dqn": Row("qr_dqn", "Quantile regression DQN", "dabney2018distributional"),
    "rambo": Row("rambo", "Robust adversarial model-based offline RL", "rigter2022rambo"),
    "rebrac": Row("rebrac", "TD3+BC with separate penalties, deeper and normalised", "tarasov2023revisiting"),
    "rem": Row("rem", "Random ensemble mixture", "agarwal2020optimistic"),
    "rlpd": Row("rlpd", "Online learning with prior data", "ball2023efficient"),
    "sac": Row("sac", "Soft actor-critic", "haarnoja2018soft"),
    "sac_n": Row("sac_n", "Soft actor-critic with the minimum of N critics", "an2021uncertainty"),
    "spot": Row("spot", "Supported policy optimisation", "wu2022supported"),
    "tabular_bcq": Row("tabular_bcq", "Batch-constrained Q-learning, finite", "fujimoto2019offpolicy"),
    "tabular_mabcq": Row("tabular_mabcq", "Batch-constrained Q-learning with teammates, finite", "jiang2021offline"),
    "td3": Row("td3", "Twin delayed DDPG", "fujimoto2018addressing"),
    "td3_bc": Row("td3_bc", "TD3 with a cloning term", "fujimoto2021minimalist"),
    "uwac": Row("uwac", "Uncertainty weighted actor-critic", "wu2021uncertainty"),
    "xql": Row("xql", "Extreme Q-learning", "garg2023extreme"),
}
