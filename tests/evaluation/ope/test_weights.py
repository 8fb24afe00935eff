"""Invariances, lengths, cuts, extreme weights and refusals."""

import dataclasses

import numpy as np
import pytest

from holdfast.core.errors import UserError
from holdfast.evaluation.ope import diagnostics, importance, intervals, kernels, metrics
from holdfast.evaluation.ope import doubly_robust as robust
from holdfast.evaluation.ope.log import Log, padded
from holdfast.evaluation.ope.marginal import states_of


def made(n: int = 30, steps: int = 5, seed: int = 0, lengths=None, cut=None) -> Log:
    rng = np.random.default_rng(seed)
    lengths = np.full(n, steps) if lengths is None else lengths
    alive = np.arange(steps) < lengths[:, None]
    model = rng.normal(size=(n, steps + 1))
    model[~np.concatenate([alive, np.zeros((n, 1), bool)], 1)] = 0
    return Log(
        reward=np.where(alive, rng.normal(size=(n, steps)), 0.0),
        lengths=lengths,
        discount=0.95,
        cut=np.zeros(n, bool) if cut is None else cut,
        log_ratio=np.where(alive, 0.2 * rng.normal(size=(n, steps)), 0.0),
        q=np.where(alive, rng.normal(size=(n, steps)), 0.0),
        v=model,
    )


ALL = [importance.tis, importance.pdis, importance.wis, importance.sn_pdis, robust.dr, robust.wdr, robust.magic]


def test_a_constant_added_to_rewards_moves_normalised_estimates_by_its_sum():
    log = made()
    moved = dataclasses.replace(log, reward=log.reward + 3)
    whole = 3 * log.powers[:-1].sum()
    one = np.ones((1, log.n))
    for estimator in (importance.wis, importance.sn_pdis):
        assert estimator(moved, one)[0] - estimator(log, one)[0] == pytest.approx(whole, abs=1e-12)
    assert abs(importance.tis(moved, one)[0] - importance.tis(log, one)[0] - whole) > 1e-3


@pytest.mark.parametrize("estimator", ALL)
def test_the_order_of_episodes_does_not_matter(estimator):
    log = made(lengths=np.random.default_rng(1).integers(1, 6, 30))
    order = np.random.default_rng(2).permutation(30)
    names = ("reward", "lengths", "cut", "log_ratio", "q", "v")
    other = dataclasses.replace(log, **{name: getattr(log, name)[order] for name in names})
    bounds = {"bounds": (-1.0, 1.0)} if estimator is robust.magic else {}
    one = np.ones((1, 30))
    assert estimator(other, one, **bounds)[0] == pytest.approx(estimator(log, one, **bounds)[0], abs=1e-10)


@pytest.mark.parametrize("estimator", ALL)
def test_counts_are_repetitions(estimator):
    log = made(n=12)
    count = np.array([2, 0, 1, 3, 1, 0, 1, 1, 1, 0, 1, 1])
    rows = np.repeat(np.arange(12), count)
    names = ("reward", "lengths", "cut", "log_ratio", "q", "v")
    other = dataclasses.replace(log, **{name: getattr(log, name)[rows] for name in names})
    value = estimator(log, count[None].astype(float))[0]
    bounds = {}
    if estimator is robust.magic:
        value = estimator(log, count[None].astype(float), (-1.0, 1.0))[0]
        shift = robust.wdr(other, np.ones((1, 12)))[0] - robust.wdr(log, np.ones((1, 12)))[0]
        bounds = {"bounds": (-1.0 + shift, 1.0 + shift)}
    assert estimator(other, np.ones((1, 12)), **bounds)[0] == pytest.approx(value, abs=1e-10)


def test_long_products_neither_overflow_nor_vanish():
    rng = np.random.default_rng(0)
    ratios = np.log(rng.choice([0.99, 1.01], (50, 1000)))
    log = Log(rng.normal(size=(50, 1000)), np.full(50, 1000), 1.0, np.zeros(50, bool), ratios)
    for estimator in (importance.tis, importance.pdis, importance.wis, importance.sn_pdis):
        assert np.isfinite(estimator(log, np.ones((1, 50)))).all()
    found = diagnostics.support_of(log)
    assert (found.effective > 1).all()
    huge = dataclasses.replace(log, log_ratio=np.full((50, 1000), 2.0))  # e^2000
    assert np.isfinite(importance.wis(huge, np.ones((1, 50)))).all()
    assert diagnostics.support_of(huge).effective[-1] == pytest.approx(50)


def test_weights_without_use_are_refused_with_numbers_in_place_of_nan():
    log = made()
    none = dataclasses.replace(log, log_ratio=np.full((30, 5), -np.inf))
    for estimator in (importance.wis, importance.sn_pdis, robust.wdr):
        assert np.isfinite(estimator(none, np.ones((1, 30)))).all()
    found = diagnostics.support_of(none)
    assert found.zero[-1] == 1
    assert "0.0 effective episodes of 30" in diagnostics.joined(diagnostics.weight_faults(found, 30, False))
    ratios = np.zeros((30, 5))
    ratios[3, 0] = 10
    faults = diagnostics.weight_faults(diagnostics.support_of(dataclasses.replace(log, log_ratio=ratios)), 30, True)
    assert any("one episode has 100% of all weight" in fault for fault in faults)
    ratios[3, 0] = np.inf
    faults = diagnostics.weight_faults(diagnostics.support_of(dataclasses.replace(log, log_ratio=ratios)), 30, True)
    assert faults[0] == "1 logged actions have the propensity 0"


def test_wrong_propensities_are_seen():
    log = made(n=200)
    wrong = dataclasses.replace(log, log_ratio=log.log_ratio - 0.5)
    assert diagnostics.weight_faults(diagnostics.support_of(wrong), 200, True)[-1].startswith("the mean weight differs")
    assert diagnostics.weight_faults(diagnostics.support_of(log), 200, True) == []
    assert diagnostics.propensity_faults(np.array([0.5, 1.2, 0.0]), True)[0].startswith(
        "2 propensities, the first one 1.2 in row 1, expected in (0, 1]"
    )


def test_the_evaluable_horizon():
    ratios = np.zeros((100, 6))
    ratios[:, 3:] = np.random.default_rng(0).normal(scale=1.5, size=(100, 3))
    log = Log(np.ones((100, 6)), np.full(100, 6), 1.0, np.zeros(100, bool), ratios)
    found = diagnostics.support_of(log)
    assert found.effective[2] == pytest.approx(100)
    assert found.horizon == 3
    assert importance.pdis(log.with_steps(found.horizon), np.ones((1, 100)))[0] == pytest.approx(3)


def test_cut_episodes_leave_the_averages():
    """Two of three episodes are cut after one step: the second step is that of the third episode."""
    reward = np.array([[1.0, 0], [1, 0], [1, 5]])
    log = Log(reward, np.array([1, 1, 2]), 1.0, np.array([True, True, False]), np.zeros((3, 2)))
    assert importance.sn_pdis(log, np.ones((1, 3)))[0] == pytest.approx(6)
    assert importance.pdis(log, np.ones((1, 3)))[0] == pytest.approx(8 / 3)
    model = dataclasses.replace(log, q=np.zeros((3, 2)), v=np.array([[0.0, 5, 0], [0, 5, 0], [0, 0, 0]]))
    assert robust.dr(model, np.ones((1, 3)))[0] == pytest.approx(6)
    ended = dataclasses.replace(log, cut=np.zeros(3, bool))
    assert importance.sn_pdis(ended, np.ones((1, 3)))[0] == pytest.approx(8 / 3)


def test_columns_become_padded_rows():
    column = np.arange(1, 7.0)
    found = padded(column, np.array([0, 1, 4, 6]), 2)
    np.testing.assert_array_equal(found, [[1, 0], [2, 3], [5, 6]])


def test_estimators_say_what_they_need():
    log = dataclasses.replace(made(), log_ratio=None, q=None)
    with pytest.raises(UserError, match="need the probabilities of the logged actions"):
        importance.tis(log, np.ones((1, 30)))
    with pytest.raises(UserError, match="needs the values of a model"):
        robust.dm(log, np.ones((1, 30)))


def test_a_table_of_states():
    states = np.repeat(np.eye(3), 20, 0)
    assert len(np.unique(states_of(states))) == 3
    assert states_of(np.random.default_rng(0).normal(size=(60, 3))) is None


# intervals


def coverage(bounds, repetitions: int, steps: int, n: int, seed: int = 0) -> float:
    """Share of one-sided 95 % lower bounds that hold: the value is 0.8, two actions, ratios 1.6 and 0.4."""
    rng = np.random.default_rng(seed)
    held = 0
    for _ in range(repetitions):
        action = rng.random((n, steps)) < 0.5
        ratios = np.where(action, 1.6, 0.4)
        terms = ratios.prod(1) * (rng.random(n) < np.where(action[:, -1], 0.9, 0.4))
        held += bounds(terms) <= 0.8 * 0.9 + 0.2 * 0.4
    return held / repetitions


def test_coverage_of_lower_bounds():
    betting = coverage(lambda terms: intervals.betting(terms, 0.05), 150, 3, 200)
    assert betting >= 0.95

    def t_bound(terms):
        return intervals.t_interval(terms.mean(), intervals.standard_error(terms), len(terms), 0.9)[0]

    assert 0.88 <= coverage(t_bound, 300, 3, 200) <= 0.99
    assert coverage(lambda terms: intervals.empirical_bernstein(terms, 0, 1.6**3, 0.05), 50, 3, 200) == 1.0


def test_the_betting_bound_is_near_and_below_the_mean():
    terms = np.random.default_rng(0).binomial(1, 0.6, 2000).astype(float)
    found = intervals.betting(terms, 0.05)
    assert 0.55 < found < terms.mean()
    assert intervals.betting(np.zeros(50), 0.05) == 0


def test_bootstrap_intervals_and_clusters():
    terms = np.random.default_rng(0).exponential(size=100)

    def statistic(counts):
        return counts @ terms / counts.sum(1)

    drawn = statistic(intervals.unit_counts(None, 100, 1000, 0))
    low, high = intervals.bca(statistic, terms.mean(), drawn, None, 100)
    plain = intervals.percentile(drawn)
    assert low > plain[0]  # skewed to the right: the corrected interval moves that way
    assert high > plain[1]
    assert (high - low) / 4 == pytest.approx(intervals.standard_error(terms), rel=0.15)
    cluster = np.repeat(np.arange(10), 10)
    repeated = np.repeat(terms[:10], 10)
    counts = intervals.unit_counts(cluster, 100, 500, 0)
    assert (counts.sum(1) == 100).all()
    assert (counts.reshape(500, 10, 10).std(2) == 0).all()
    by_cluster = intervals.standard_error(repeated, cluster)
    assert by_cluster == pytest.approx(intervals.standard_error(terms[:10]))
    assert by_cluster > 2 * intervals.standard_error(repeated)


# kernels and metrics


@pytest.mark.parametrize("kernel", ["gaussian", "epanechnikov"])
def test_kernels_have_mass_one_in_the_box_and_draw_from_it(kernel):
    low, high = np.array([-1.0]), np.array([3.0])
    grid = np.linspace(-1, 3, 4001)[:, None]
    centre = np.full_like(grid, 2.8)
    density = np.exp(kernels.log_kernel(centre, grid, low, high, 0.3, kernel))
    assert np.trapezoid(density, grid[:, 0]) == pytest.approx(1, abs=1e-3)
    found = kernels.draws(np.full((1, 1), 2.8), low, high, 0.3, kernel, 20_000, 0)[:, 0, 0]
    assert found.max() <= 3
    assert found.mean() == pytest.approx(np.trapezoid(density * grid[:, 0], grid[:, 0]), abs=0.01)


def test_metrics_of_a_ranking():
    true = np.array([1.0, 2, 3, 4, 5])
    assert metrics.rank_correlation(true, true**3) == pytest.approx(1)
    assert metrics.rank_correlation(true, np.array([1.0, 1, 2, 2, 3])) == pytest.approx(0.9486833)
    assert np.isnan(metrics.rank_correlation(true, np.zeros(5)))
    estimates = np.array([9.0, 1, 8, 7, 2])
    assert metrics.regret(true, estimates) == pytest.approx(1)
    assert metrics.regret(true, estimates, 3) == pytest.approx(0.25)
    assert metrics.error(true, true + 2) == pytest.approx(2)
    assert metrics.sharpe_ratio(true, estimates, 2.0, 2) == pytest.approx((3 - 2) / np.std([1, 3], ddof=1))
    assert metrics.unsafe_accepted(true, estimates, 3) == pytest.approx(0.5)
    assert metrics.safe_refused(true, estimates, 3) == pytest.approx(1 / 3)
