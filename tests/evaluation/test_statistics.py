"""Means, interquartile means and intervals against numbers worked by hand."""

from __future__ import annotations

import numpy as np

from holdfast.evaluation.statistics import Estimate, iqm, iqm_interval, iqm_name, mean_interval, two_stage_interval


def test_iqm_by_hand() -> None:
    assert (
        iqm(np.array([100.0, 1, 2, 3, 4, 5, 6, -50])) == (2 + 3 + 4 + 5) / 4
    )  # one quarter of eight is two at each end
    assert iqm(np.array([1.0, 2, 30])) == 11  # floor(3 / 4) = 0: nothing is left out
    assert iqm(np.array([9.0, 1, 2, 3, 4])) == 3  # floor(5 / 4) = 1
    assert iqm(np.array([[1.0, 2], [3, 100]])) == 2.5  # over runs and tasks together
    assert iqm(np.array([7.0])) == 7


def test_an_iqm_that_leaves_out_nothing_is_called_the_mean() -> None:
    assert [iqm_name(count) for count in (1, 3, 4, 9)] == ["mean", "mean", "IQM", "IQM"]


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
    scores = np.array([[0.0, 1000.0], [0.0, 1000.0]])
    assert iqm_interval(scores) == Estimate(500.0, 500.0, 500.0)
    # four runs of one task: floor(4 / 4) = 1 is cut at each end; the extremes come from drawing one run mostly
    low, high = iqm_interval(np.array([0.0, 1, 2, 3]))[1:]
    assert (low, high) == (0.0, 3.0) or (0.0 <= low < 1.0 and 2.0 < high <= 3.0)
