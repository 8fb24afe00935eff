"""Means, interquartile means and intervals against numbers worked by hand."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from holdfast.evaluation.aggregates import optimality_gap, performance_profile, probability_of_improvement
from holdfast.evaluation.statistics import (
    MOST_DRAWN,
    Estimate,
    average,
    average_name,
    difference,
    iqm,
    iqm_interval,
    mean_interval,
    two_stage_interval,
)


def test_iqm_by_hand() -> None:
    assert (
        iqm(np.array([100.0, 1, 2, 3, 4, 5, 6, -50])) == (2 + 3 + 4 + 5) / 4
    )  # one quarter of eight is two at each end
    assert iqm(np.array([1.0, 2, 30])) == 11  # floor(3 / 4) = 0: nothing is left out
    assert iqm(np.array([9.0, 1, 2, 3, 4])) == 3  # floor(5 / 4) = 1
    assert iqm(np.array([[1.0, 2], [3, 100]])) == 2.5  # over runs and tasks together
    assert iqm(np.array([7.0])) == 7


def test_mean_interval_of_two_numbers() -> None:
    # resampled means are 0, 1/2 and 1 with probabilities 1/4, 1/2, 1/4: the 2.5 % and 97.5 % points are 0 and 1
    assert mean_interval(np.array([0.0, 1.0])) == Estimate(0.5, 0.0, 1.0)
    # and the 30 % and 70 % points are both 1/2
    assert mean_interval(np.array([0.0, 1.0]), level=0.4) == Estimate(0.5, 0.5, 0.5)


def test_mean_interval_of_many_numbers_is_that_of_the_normal_distribution() -> None:
    sample = np.random.default_rng(0).normal(3.0, 2.0, 400)
    found = mean_interval(sample, resamples=20_000)
    half = 1.96 * sample.std() / 20
    np.testing.assert_allclose([found.low, found.high], [sample.mean() - half, sample.mean() + half], atol=0.01)


def test_intervals_are_seeded() -> None:
    sample = np.random.default_rng(0).normal(size=10)
    assert mean_interval(sample, seed=1) == mean_interval(sample, seed=1)
    assert mean_interval(sample, seed=1) != mean_interval(sample, seed=2)


def test_one_number_has_no_interval() -> None:
    assert mean_interval(np.array([3.0])) == Estimate(3.0, None, None)
    assert iqm_interval(np.array([3.0])) == Estimate(3.0, None, None)
    assert str(Estimate(3.0, None, None)) == "3.0"
    assert str(Estimate(3.0, 1.0, 5.0)) == "3.0 [1.0, 5.0]"


def test_two_stages_see_the_spread_between_replicas() -> None:
    # each replica alone has no spread at all, the two differ by 2: resampled means are -1, 0, 1
    sample = np.array([[-1.0] * 50, [1.0] * 50])
    assert two_stage_interval(sample) == Estimate(0.0, -1.0, 1.0)
    pooled = mean_interval(sample.reshape(-1))
    assert pooled.high is not None
    assert pooled.high < 0.3
    assert two_stage_interval(sample[:1] * 3) == mean_interval(sample[0] * 3)


def test_iqm_interval_resamples_runs_within_each_task() -> None:
    # two runs, two tasks on scales far apart: a resample that mixed tasks would give means far below 1000 / 2
    scores = [np.array([0.0, 0.0]), np.array([1000.0, 1000.0])]
    assert iqm_interval(scores) == Estimate(500.0, 500.0, 500.0)
    # four runs of one task: floor(4 / 4) = 1 is cut at each end; the extremes come from drawing one run mostly
    low, high = iqm_interval(np.array([0.0, 1, 2, 3]))[1:]
    assert (low, high) == (0.0, 3.0) or (0.0 <= low < 1.0 and 2.0 < high <= 3.0)


def test_the_average_of_few_runs_is_the_mean() -> None:
    assert [average_name(n) for n in (1, 2, 3, 4, 5, 8)] == ["mean", "mean", "mean", "IQM", "IQM", "IQM"]
    three = np.array([[0.0, 2], [10, 12], [50, 58]])
    assert average(three) == two_stage_interval(three)
    assert average(three).value == 22
    four = np.array([[0.0, 2], [10, 12], [50, 58], [-90, -70]])  # run means 1, 11, 54, -80
    assert average(four) == iqm_interval(np.array([1.0, 11, 54, -80]))
    assert average(four).value == 6


def test_the_iqm_is_that_of_scipy() -> None:
    scores = np.random.default_rng(0).normal(size=11)
    assert iqm(scores) == pytest.approx(stats.trim_mean(scores, 0.25))


def test_differences_of_two_runs_by_hand() -> None:
    # one episode each: the resampled means of `one` are 0, 1, 2 (1/4, 1/2, 1/4), those of `other` are 10, 11, 12
    one = np.array([[0.0], [2.0]])
    other = np.array([[10.0], [12.0]])
    assert difference(other, one, paired=True) == Estimate(10.0, 10.0, 10.0)  # every pair differs by 10
    # not paired: -2, 2 have probability 1/16 each, more than 2.5 %
    assert difference(other, one) == Estimate(10.0, 8.0, 12.0)
    assert difference(one, other) == Estimate(-10.0, -12.0, -8.0)


def test_differences_of_four_runs_are_those_of_the_iqm() -> None:
    one = np.array([[1.0], [2.0], [3.0], [400.0]])  # IQM 2.5
    assert difference(one + 7, one, paired=True) == Estimate(7.0, 7.0, 7.0)
    assert difference(one, np.zeros((4, 1))).value == 2.5
    assert difference(one, np.zeros((3, 1))).value == 101.5  # three runs: both are means


def test_differences_to_a_number() -> None:
    one = np.array([[0.0, 1.0]])
    assert difference(one, np.array([[3.0]])) == Estimate(-2.5, -3.0, -2.0)
    assert difference(one[:, :1], np.array([[3.0]])) == Estimate(-3.0, None, None)


def test_the_mean_of_many_numbers_is_not_resampled() -> None:
    clicks = np.zeros(40 * MOST_DRAWN)
    clicks[: len(clicks) // 100] = 1
    found = mean_interval(clicks)
    half = 1.96 * clicks.std() / len(clicks) ** 0.5
    assert found.value == pytest.approx(0.01)
    np.testing.assert_allclose([found.low, found.high], [0.01 - half, 0.01 + half], atol=0.05 * half)


def test_the_optimality_gap_by_hand() -> None:
    # 100 - mean(50, 100, 30, 100) = 30: scores above 100 count as 100
    found = optimality_gap([np.array([50.0, 180.0]), np.array([30.0, 100.0])])
    assert found.value == 30
    assert found.low is not None
    assert found.high is not None
    # the largest gap draws 50 and 30 twice each, with probability 1/16; the smallest draws none of them
    assert (found.low, found.high) == (0.0, 60.0)


def test_the_performance_profile_by_hand() -> None:
    found = performance_profile([np.array([1.0, 2.0]), np.array([3.0, 4.0])], np.array([0.0, 2.0, 3.5, 4.0]))
    assert found.share.tolist() == [1.0, 0.5, 0.25, 0.0]
    assert found.low.tolist() == [1.0, 0.5, 0.0, 0.0]  # both runs of the second task are above 2 in every resample
    assert found.high.tolist() == [1.0, 0.5, 0.5, 0.0]


def test_the_probability_of_improvement_by_hand() -> None:
    # pairs of task 1: 1 > 0, 1 = 1, 3 > 0, 3 > 1: 3.5 of 4; of task 2: none of 2
    one = [np.array([1.0, 3.0]), np.array([5.0])]
    other = [np.array([0.0, 1.0]), np.array([6.0, 7.0])]
    assert probability_of_improvement(one, other).value == (3.5 / 4 + 0) / 2
    x = np.random.default_rng(0).normal(size=6).round(1)
    y = np.random.default_rng(1).normal(0.5, size=9).round(1)
    u = stats.mannwhitneyu(x, y, alternative="greater").statistic
    assert probability_of_improvement([x], [y]).value == pytest.approx(u / 54)
    low, high = probability_of_improvement([np.array([1.0, 2.0])], [np.array([0.0, 3.0])])[1:]
    assert (low, high) == (0.0, 1.0)
    assert probability_of_improvement([x], [x]).value == 0.5
    assert probability_of_improvement([x[:1]], [y[:1]]).low is None
