"""Every offline method on problems with traps: no value is believed without evidence; the best in the data is found.

In `trap` the reward rises toward actions that nobody tried and that fail. In `runaway` a learner that believes in such
actions has no fixed point at all. In `blind` the data do not say which way is up (see `environments.probes`). Learners
without a restraint fall into each. Rewards are of size 1, there is one state and, except in `blind`, one action
dimension.

Hand-moved hyperparameters: settings whose right value depends on such scales (the strength of a restraint, the width of
a kernel) are moved by hand in the tables below, for `trap` to a weak restraint, where the best action in the data is
wanted, and for `runaway` to a strong one, where only the bound is checked. These tests are evidence about the methods
with these settings, not about their presets.
"""

from __future__ import annotations

import functools

import numpy as np
import pytest

from holdfast.algorithms import registry
from holdfast.data.dataset import Dataset
from holdfast.environments import tabular
from holdfast.environments.probes import MARGIN, collect, get
from support.learned import DISCOUNT, Learned
from support.marks import quick

BEST = 1 / (1 - DISCOUNT)  # of `trap`, `runaway` and `blind`
BOUND = BEST + 0.5
SEEDS = (0, 1)

# Hand-moved: one action dimension of variance 1/12, where with beta .5 a decoder that ignores its latent is the best.
VAE = {"kl_weight": 0.01}
CLONED = {"behaviour_steps": 1500, "warm_start": 300}
MOVED_FOR_TRAP = {
    "awac": {"temperature": 0.1},
    "awr": {"temperature": 0.2, "max_weight": 1e6, "refresh_every": 300, "td_lambda": 0.0},  # later rewards are noise
    "bcq": VAE | {"phi": 0.25},  # latents are clipped, so decoded actions are in the middle of the data
    "bear": VAE | {"sigma": 1.0},  # the width of the data
    "brac_p": CLONED | {"alpha": 0.5},
    "brac_v": CLONED | {"alpha": 0.5},
    "cql": {"alpha": 0.1, "n_actions": 4, "cloning_steps": 300},
    "crr": {"temperature": 0.1},
    "diffusion_ql": {"eta": 1.0, "actor_polyak_start": 0, "actor_polyak_every": 1, "actor_polyak": 0.05},
    "fql": {"alpha": 1.0},
    "idql": {"actor_polyak": 0.01, "actor_dropout": 0.0},
    "ifql": {},
    "iql": {},
    "mcq": VAE | {"in_weight": 0.9},
    "plas": VAE,
    "rebrac": {"actor_penalty": 0.3},
    "spot": VAE | {"support_weight": 1.0},
    "td3_bc": {"alpha": 6.0},
    "uwac": VAE | {"sigma": 1.0},
    "xql": {"gumbel_temperature": 0.5},
}
MOVED_FOR_RUNAWAY = MOVED_FOR_TRAP | {
    "awac": {"temperature": 1 / 3},
    "brac_p": CLONED | {"alpha": 3.0},
    "crr": {"temperature": 1.0},
    "spot": VAE | {"support_weight": 3.0},
    "td3_bc": {"alpha": 1.0},  # with 2.5 it settles at nearly twice the best value
}
MOVED_FOR_DISCRETE = {
    "awac": {"discrete_temperature": 0.3},
    "awr": {"temperature": 0.2, "max_weight": 1e3, "refresh_every": 300, "td_lambda": 0.0},
    "crr": {"discrete_temperature": 1.0},
    "discrete_bcq": {"threshold": 0.3},
    "discrete_cql": {"alpha": 0.3},
    "iql": {},
}
QUICK = ("td3", "dqn", "td3_bc")
QUICK_DISCRETE = ("discrete_bcq",)


def each(names, chosen=QUICK):
    """A few in the quick run, the others in the slow one."""
    return pytest.mark.parametrize("name", quick(names, *(n for n in chosen if n in names)))


@functools.cache
def log(probe: str) -> dict:
    return collect(get(probe), 300 if get(probe).spec.discrete else 100, seed=1)


def learned(name: str, probe: str, steps: int, **settings) -> Learned:
    return Learned(name, Dataset.from_arrays(**log(probe)), steps, seeds=SEEDS, **settings)


def most_believed(found: Learned, probe: str) -> np.ndarray:
    """The largest value that each seed gives to one of its own actions or of the data's, [R]."""
    rows = log(probe)
    _, own = found.believed(np.unique(rows["observations"], axis=0))
    _, logged = found.believed(rows["observations"], rows["actions"])
    return np.maximum(own.max(1), logged.max(1))


FREE = ["sac", "td3", "ddpg"]
FREE_DISCRETE = ["dqn", "discrete_sac", "ensemble_dqn", "qr_dqn", "rem"]
ENSEMBLES = {"sac_n", "edac"}  # restrained only if critics differ, see the end of this file
ELSEWHERE = {
    *("aca", "cal_ql", "rlpd", "obac", "iql_concurrent", "iql_online"),  # they learn online
    *("tabular_bcq", "tabular_mabcq"),  # compared with exact solutions in their own tests
    *("mabcq", "omar", "omiga"),  # for teams, see their own tests
    *("bc", "filtered_bc", "flow_bc", "decision_transformer", "odt"),  # they have no values
    *("qc", "qc_fql"),  # they assign values to chunks of actions, see their tests
    *("algae_dice", "opti_dice"),  # their values are multipliers, which are not estimates of returns
    *("dice", "fqe", "fqe_quantile"),  # they evaluate another run's policy
}
SMALL_MODEL = {
    "members": 4, "elites": 3, "model_hidden": (32, 32), "rollout_batch": 500, "rollout_every": 250, "horizon": 1,
    "model_every": 250, "patience": 0,
}  # fmt: skip
MODELLED = {"mopo", "combo", "mobile", "morel", "rambo"}  # restrained within a learned model, see the end of this file


def test_every_method_is_in_a_table():
    faced = {*MOVED_FOR_TRAP, *MOVED_FOR_DISCRETE, *FREE, *FREE_DISCRETE, *ENSEMBLES, *ELSEWHERE, *MODELLED}
    assert faced == set(registry.names()), "add a new method to a table above"
    assert set(MOVED_FOR_RUNAWAY) == set(MOVED_FOR_TRAP)


# learners without a restraint


@pytest.mark.slow
@each(FREE)
def test_a_learner_without_restraint_has_no_bound(name):
    found = learned(name, "runaway", 800)
    once = most_believed(found, "runaway")
    assert (once > 2 * BEST).all()  # more than any policy in any problem with these rewards
    found.more(800)
    assert (most_believed(found, "runaway") > 2 * once).all()  # it keeps growing
    action, _ = found.believed(np.ones((1, 1)))
    assert (action > MARGIN).all()  # its policy fails


@pytest.mark.slow
@each(FREE_DISCRETE)
def test_a_discrete_learner_without_restraint_has_no_bound(name):
    """Ensembles and quantiles are in this test too: on their own they do not restrain."""
    found = learned(name, "runaway_discrete", 1000, heads=8, quantiles=8)
    once = most_believed(found, "runaway_discrete")
    best = get("runaway_discrete").value(get("runaway_discrete").features, DISCOUNT).max()
    assert (once > best + 2).all()
    found.more(1000)
    assert (most_believed(found, "runaway_discrete") > 1.5 * once).all()


# methods with a restraint


@each(MOVED_FOR_TRAP)
def test_the_trap(name):
    found = learned(name, "trap", 1500, **MOVED_FOR_TRAP[name])
    assert (most_believed(found, "trap") < BOUND).all()
    action, _ = found.believed(np.ones((1, 1)))
    worth = np.where(action <= MARGIN, 1 + np.minimum(action, 0), -5.0) / (1 - DISCOUNT)
    logged = 0.5 / (1 - DISCOUNT)
    if name == "uwac":
        # Its MMD is to decoded actions, whose latents are clipped: the middle of the data. A looser threshold makes the
        # dual variable swing, past the edge and back, and Q varies too little under dropout to hold it.
        assert (worth > logged - 0.3).all(), action.ravel()
    else:
        assert (worth > (logged + BEST) / 2).all(), action.ravel()  # more than half of the way to the best in the data


@pytest.mark.slow
@each(MOVED_FOR_RUNAWAY)
def test_nothing_runs_away(name):
    found = learned(name, "runaway", 1500, **MOVED_FOR_RUNAWAY[name])
    assert (most_believed(found, "runaway") < BOUND).all()


@pytest.mark.slow
@each(MOVED_FOR_DISCRETE, QUICK_DISCRETE)
def test_the_discrete_trap(name):
    probe = get("trap_discrete")
    best = tabular.solve(probe.mdp, DISCOUNT, probe.support)
    found = learned(name, "trap_discrete", 1500, **MOVED_FOR_DISCRETE[name])
    assert (most_believed(found, "trap_discrete") < best.q[probe.support].max() + 0.3).all()
    action, _ = found.believed(probe.features)
    logged = tabular.value(probe.mdp, probe.support / probe.support.sum(1, keepdims=True), DISCOUNT).v @ probe.mdp.start
    for own in action:
        assert probe.support[np.arange(8), own].all()
        got = tabular.value(probe.mdp, np.eye(4)[own], DISCOUNT).v @ probe.mdp.start
        assert got > (logged + best.v @ probe.mdp.start) / 2


@pytest.mark.slow
@each(MOVED_FOR_DISCRETE, QUICK_DISCRETE)
def test_nothing_discrete_runs_away(name):
    probe = get("runaway_discrete")
    found = learned(name, "runaway_discrete", 1500, **MOVED_FOR_DISCRETE[name])
    best = tabular.solve(probe.mdp, DISCOUNT, probe.support)
    assert (most_believed(found, "runaway_discrete") < best.q[probe.support].max() + 0.3).all()


# limits of the restraints


@pytest.mark.slow
@pytest.mark.parametrize("settings", [{"temperature": 0.05}, {"weight": "binary", "temperature": 1.0}])
def test_vanishing_weights_do_not_restrain(settings):
    """CRR clones nothing if an untried action looks better than the logged one by much more than its temperature.

    Then its policy stays as it was initialised, its targets grow, and the logged action looks even worse.
    """
    found = learned("crr", "runaway_discrete", 1500, **settings)
    assert (most_believed(found, "runaway_discrete") > 10).all()


@pytest.mark.slow
@pytest.mark.parametrize("name", ["sac_n", "edac"])
def test_critics_that_agree_do_not_restrain(name):
    """Ten critics that see one slope extrapolate it alike, and in one action dimension EDAC cannot turn gradients."""
    assert (most_believed(learned(name, "trap", 1500), "trap") > BOUND).all()


@pytest.mark.slow
@pytest.mark.parametrize("name", ["sac", "td3", "edac"])
def test_critics_that_differ_lower_untried_actions(name):
    """If the data show no slope, two critics may both guess upward in some direction; ten diverse ones do not."""
    found = learned(name, "blind", 3000)
    action, own = found.believed(np.ones((1, 1)))
    inside = (np.abs(action).max((1, 2)) < 0.3).tolist()
    if name == "edac":
        assert all(inside)
        assert (most_believed(found, "blind") < BOUND).all()
        assert (own > BEST - 1).all()
    else:
        assert not any(inside)


# learned models


@pytest.mark.slow
def test_a_learned_model_is_exploited_without_a_penalty():
    """The model continues the slope of the reward into actions that nobody tried. MOPO goes there unless it pays."""
    sweep = {"penalty_weight": [0.0, 100.0]}
    found = learned("mopo", "trap", 1000, sweep=sweep, penalty="distance", real_ratio=0.5, **SMALL_MODEL)
    action, value = found.believed(np.ones((1, 1)))
    free, paying = action[:2].ravel(), action[2:].ravel()
    assert (free > MARGIN).all(), free
    assert (value[:2] > BOUND).all()
    assert (paying <= MARGIN).all(), paying


@pytest.mark.slow
def test_the_conservative_critic_of_combo_restrains_a_learned_model():
    sweep = {"penalty_weight": [0.0, 2.0]}
    found = learned("combo", "trap", 1000, sweep=sweep, n_actions=4, penalty_states="model", **SMALL_MODEL)
    action, _ = found.believed(np.ones((1, 1)))
    free, paying = action[:2].ravel(), action[2:].ravel()
    assert (free > MARGIN).all(), free
    assert (paying <= MARGIN).all(), paying
