"""Values from networks: how many updates a horizon needs, and what remains of an estimate that still changes."""

import numpy as np
import pytest

import holdfast
from holdfast.algorithms import registry
from holdfast.core.errors import Diverged
from holdfast.data.dataset import Dataset
from holdfast.evaluation.ope import intervals
from holdfast.evaluation.ope.aim import Aim
from holdfast.evaluation.ope.estimate import estimate
from holdfast.evaluation.ope.model_values import Doubt, ModelValues
from holdfast.evaluation.ope.target import target_of
from holdfast.selection import neural
from holdfast.selection.arrival import FINE, MOST, RATES, fewest_updates, missing_share, rate_for
from support import policies
from support.valued import follower, gaussian_log


def test_the_missing_share_is_that_of_the_recursion():
    """The targets of the steps of an episode, updated by hand with a critic that fits at once and a reward of 1."""
    steps, discount, rate = 6, 0.9, 0.3
    target = np.zeros(steps + 1)  # the last one is 0: nothing follows
    whole = (discount ** np.arange(steps)).sum()
    for updates in range(25):
        share = 1 - target[0] / whole
        assert missing_share(updates, rate, discount, steps) == pytest.approx(share, abs=1e-12)
        target[:-1] += rate * (1 + discount * target[1:] - target[:-1])
    endless = 0.0
    for updates in range(25):
        assert missing_share(updates, rate, discount, None) == pytest.approx(1 - endless * (1 - discount), abs=1e-12)
        endless += rate * (1 + discount * endless - endless)


def test_the_target_follows_as_fast_as_the_horizon_needs():
    for name in neural.ALGORITHM.values():
        assert registry.get(name).presets[neural.PRESET].config.polyak == RATES[0]
    assert rate_for(neural.UPDATES, 1.0, 200) == RATES[0]  # enough updates: the slowest target
    assert rate_for(100, 1.0, 1000) == RATES[-1]  # not enough for any
    rates = [rate_for(neural.UPDATES, 1.0, steps) for steps in (10, 200, 500, 1000, 1500, 3000)]
    assert rates == sorted(rates)
    # the default number of updates is enough for the usual horizons
    for discount, horizon in ((1.0, 200), (1.0, 500), (1.0, 1000), (0.99, 1000), (0.99, None), (0.995, None)):
        rate = rate_for(neural.UPDATES, discount, horizon)
        assert missing_share(neural.UPDATES, rate, discount, horizon) <= FINE
    for discount, horizon in ((1.0, 1), (1.0, 200), (0.99, None)):
        least = fewest_updates(discount, horizon)
        assert missing_share(least, rate_for(least, discount, horizon), discount, horizon) <= FINE
        assert missing_share(least - 1, RATES[-1], discount, horizon) > FINE


@pytest.fixture
def log(monkeypatch) -> Dataset:
    monkeypatch.setattr(registry, "_registered", {"fake": policies.FAKE})
    return gaussian_log(60)


def constant(value: float, change: float) -> neural.Trained:
    """A model with one value everywhere, whose treated rewards have the unit of `test_...`."""
    return neural.Trained(
        lambda obs, action, step: np.full(len(obs), value),
        lambda obs, mask, step: np.full((len(obs), 1), value),
        policies.continuous(1, (-1.0,), (1.0,), normalized=False),
        change,
    )


def test_too_few_updates_are_refused_before_training(log, monkeypatch):
    trained = []

    def train(policy, dataset, mode, aim, kind, updates, rate):
        trained.append((updates, rate))
        return constant(1.0, 0.0)

    monkeypatch.setattr(neural, "_train", train)
    given = {"model": "neural", "estimators": ("fqe",), "horizon": 100}
    row = holdfast.ope(follower(log), log, updates=300, **given)["fqe"]
    assert trained == []
    assert row.value is None
    least = fewest_updates(1.0, 100)
    missing = missing_share(300, RATES[-1], 1.0, 100)
    assert missing > MOST
    assert row.refused == (
        f"after 300 updates {missing:.0%} of the values over 100 steps are missing: at least {least} are needed "
        "(--updates)",
    )
    forced = holdfast.ope(follower(log), log, updates=300, force=True, **given)["fqe"]
    assert trained == [(300, RATES[-1])] * 2
    assert forced.value is not None
    assert forced.refused == row.refused
    # a little is missing: a warning; nothing is: none
    some = next(n for n in range(least, 0, -1) if missing_share(n, RATES[-1], 1.0, 100) > 2 * FINE)
    warned = holdfast.ope(follower(log), log, updates=some, **given)["fqe"]
    assert warned.value is not None
    assert any(f"of the values over 100 steps are missing: {least} are enough" in text for text in warned.warnings)
    found = holdfast.ope(follower(log), log, updates=least, **given)
    assert not any("missing" in text for text in found["fqe"].warnings)
    assert found.model["target_rate"] == RATES[-1]
    assert found.model["missing"] <= FINE


def test_a_model_that_diverged_is_refused(log, monkeypatch):
    def train(*given):
        raise Diverged("fqe diverged at update 7")

    monkeypatch.setattr(neural, "_train", train)
    found = holdfast.ope(follower(log), log, model="neural", updates=2000, estimators=("fqe",))
    assert found["fqe"].refused == ("fqe diverged at update 7",)


def test_doubts_are_those_of_the_worse_half_in_raw_rewards(log, monkeypatch):
    scale = 1 / log.rewards.std()
    models = iter([constant(1.0 * scale, -0.02 * scale), constant(1.3 * scale, 0.01 * scale)])
    monkeypatch.setattr(neural, "_train", lambda *given: next(models))
    values = neural.neural_values(follower(log), log, "best", Aim(horizon=2), "neural", 2000)
    assert [doubt.amount for doubt in values.doubts] == pytest.approx([0.02, 0.15])
    assert values.facts["change"] == pytest.approx(0.02)
    assert values.facts["between_halves"] == pytest.approx(0.15)
    assert sorted(set(values.v.round(9))) == pytest.approx([1.0, 1.3])


def values_of(data: Dataset, doubt: float, spread: float = 0.1) -> ModelValues:
    """A model whose values differ by `spread`, and an error of the mean of them."""
    v = 1.0 + spread * np.random.default_rng(0).normal(size=len(data.observations))
    doubts = (Doubt("the values move", doubt, "wait"), Doubt("nothing happens", 0.0, "none"))
    return ModelValues("neural", np.ones(data.n_steps), v, {}, doubts=doubts)


def answer(data: Dataset, doubt: float, force: bool = False):
    """The estimate with a doubt, and its row."""
    aim = Aim(horizon=2, resamples=300, force=force)
    target = target_of(follower(data), data, "best")
    found = estimate(data, target, None, values_of(data, doubt), aim, ("fqe",))
    return found, found["fqe"]


def standard_error(data: Dataset) -> float:
    """Of the difference to the log, over the resamples of `answer`."""
    counts = intervals.unit_counts(None, data.n_episodes, 300, 0)
    first = values_of(data, 0.0).v[data.offsets[:-1] + np.arange(data.n_episodes)]
    return float((counts @ (first - data.returns()) / counts.sum(1)).std(ddof=1))


def test_an_interval_is_wider_by_a_doubt_that_matters(log):
    certain, plain = answer(log, 0.0)
    error = standard_error(log)
    spread = float(np.ptp(log.returns()))
    most = max(2 * error, 0.05 * spread)
    _, fine = answer(log, 0.49 * error)
    assert fine.to_dict() == plain.to_dict()
    doubt = 0.51 * error
    assert doubt < most
    wide, row = answer(log, doubt)
    assert row.refused == ()
    assert row.value == plain.value
    for name in ("interval", "difference"):
        before, after = getattr(plain, name), getattr(row, name)
        assert (after.low, after.high) == pytest.approx((before.low - doubt, before.high + doubt))
    assert row.method.endswith(f"wider by {doubt:.3g} on each side")
    assert row.warnings == (f"the values move by {doubt:.3g}, so the interval is wider: wait",)
    # and so is the difference of two policies
    one = certain.minus(certain, "fqe")
    two = wide.minus(certain, "fqe")
    assert (two.low, two.high) == pytest.approx((one.low - doubt, one.high + doubt))
    assert answer(log, 0.99 * most)[1].value == plain.value
    _, refused = answer(log, 1.01 * most)
    assert refused.value is None
    assert refused.refused == (f"the values move by {1.01 * most / spread:.0%} of the range of returns: wait",)
    _, forced = answer(log, 1.01 * most, force=True)
    assert forced.value == plain.value
    assert forced.refused == refused.refused


def test_few_episodes_allow_more_doubt_than_many(monkeypatch):
    """With 400 episodes 5 % of the range decides, with 20 twice the standard error does."""
    monkeypatch.setattr(registry, "_registered", {"fake": policies.FAKE})
    few = gaussian_log(20)
    many = gaussian_log(400)
    assert 2 * standard_error(few) > 0.05 * np.ptp(few.returns())
    assert 2 * standard_error(many) < 0.05 * np.ptp(many.returns())
    for data in (few, many):
        most = max(2 * standard_error(data), 0.05 * np.ptp(data.returns()))
        assert answer(data, 0.99 * most)[1].value is not None
        assert answer(data, 1.01 * most)[1].value is None
