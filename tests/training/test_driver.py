"""The block loop: one long block and many short ones are the same training, and its checks see everything."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from holdfast import load_dataset
from holdfast.algorithms import bc, registry
from holdfast.core.config import to_dict
from holdfast.core.contract import Phase, Refreshed, Rows, Treatment
from holdfast.core.errors import Diverged, UserError
from holdfast.core.spec import Batch
from holdfast.runs.settings import Settings
from holdfast.training.driver import NotFinite, block_end, blocks, enter
from holdfast.training.plan.plan import plan
from holdfast.training.play import PlayResult
from support.small_runs import DATA

STEPS = 12
ROWS = 6  # that the refresh of `filling` writes


def prepared(monkeypatch, *phases, seeds=2):
    """The programs of a run of behaviour cloning with these phases."""
    made = bc.algorithm._replace(phases=lambda cfg: phases)
    real = registry.get
    monkeypatch.setattr(registry, "get", lambda name: made if name == "phased" else real(name))
    config = to_dict(bc.BC(hidden=(8,), batch_size=8))
    settings = Settings("phased", DATA, STEPS, config, Treatment()._asdict(), seeds=seeds, evaluate=False)
    return plan(settings, load_dataset(DATA)).programs


def counting(cfg, state, sources, ctx, noise, step):
    """Moves the weights, so that a refresh that is left out or called twice shows."""
    moved = jax.tree.map(lambda x: x + 0.01 if x.dtype.kind == "f" else x, state)
    return Refreshed(moved, metrics={"clock/step": jnp.float32(step)})


def filling(cfg, state, sources, ctx, noise, step):
    zeros = jnp.zeros(ROWS)
    obs = jnp.zeros((ROWS, *ctx.spec.obs))
    batch = Batch(obs, jnp.full((ROWS, ctx.spec.action), 0.25), zeros, obs, zeros, zeros + 1)
    return Refreshed(state, rows={"written": Rows(batch, jnp.ones(ROWS, bool))})


def leaves(carry):
    return [np.array(x) for x in jax.tree.leaves((carry.state, carry.rings))]


def test_one_long_block_and_many_short_ones_have_the_same_bits(monkeypatch):
    (program,) = prepared(monkeypatch, Phase(refresh=counting, every=5))
    ends = {}
    for size in (STEPS, 4, 1):
        carry = enter(program, None)
        seen = []
        for block in blocks(program, carry, 0, STEPS, lambda lo, size=size: lo + size):
            carry = block.carry
            seen.append((block.lo, block.hi, block.updates))
        ends[size] = leaves(carry)
        assert [lo for lo, _, _ in seen] == [0, *(hi for _, hi, _ in seen[:-1])]
        assert sum(updates for _, _, updates in seen) == STEPS
        if size == STEPS:  # a block ends where a refresh is due
            assert [hi for _, hi, _ in seen] == [5, 10, 12]
    for size in (4, 1):
        for one, other in zip(ends[STEPS], ends[size], strict=True):
            np.testing.assert_array_equal(one, other)


def test_metrics_of_a_refresh_are_in_its_block(monkeypatch):
    (program,) = prepared(monkeypatch, Phase(refresh=counting, every=5))
    found = [block.metrics for block in blocks(program, enter(program, None), 0, STEPS, lambda lo: lo + 4)]
    assert [metrics["clock/step"].tolist() if "clock/step" in metrics else None for metrics in found] == [
        None, [5.0, 5.0], None, [10.0, 10.0], None,
    ]  # fmt: skip
    assert all(metrics["actor/loss"].shape == (2,) for metrics in found)


def test_a_refresh_that_is_not_finite_stops_the_training(monkeypatch):
    def broken(cfg, state, sources, ctx, noise, step):
        return Refreshed(state, metrics={"holdout/loss": jnp.where(step < 10, 1.0, jnp.nan)})

    (program,) = prepared(monkeypatch, Phase(refresh=broken, every=5))
    with pytest.raises(NotFinite, match=r"holdout/loss of replica 0 is NaN or infinite at update 10") as caught:
        list(blocks(program, enter(program, None), 0, STEPS, lambda lo: STEPS))
    assert (caught.value.metric, caught.value.replica, caught.value.update) == ("holdout/loss", 0, 10)
    assert isinstance(caught.value, Diverged)


def test_a_metric_that_is_not_finite_names_the_first_update(monkeypatch):
    def update(cfg, state, batch, noise, step):
        state, metrics = bc.update(cfg, state, batch, noise, step)
        return state, {**metrics, "actor/loss": jnp.where(step < 7, metrics["actor/loss"], jnp.inf)}

    (program,) = prepared(monkeypatch, Phase(update=update))
    with pytest.raises(NotFinite, match="actor/loss of replica 0") as caught:
        list(blocks(program, enter(program, None), 0, STEPS, lambda lo: STEPS))
    assert caught.value.update == 7


def test_an_update_is_traced_once_for_its_metrics_and_its_program(monkeypatch):
    traced = []

    def update(cfg, state, batch, noise, step):
        traced.append(step)
        return bc.update(cfg, state, batch, noise, step)

    (program,) = prepared(monkeypatch, Phase(update=update))
    carry = program.shapes(None)
    assert "actor/loss" in program.metrics
    assert len(traced) == 1
    program.compile(carry)
    assert len(traced) == 1


@pytest.mark.slow
def test_replay_buffers_are_handed_to_the_next_phase(monkeypatch):
    first = Phase("first", steps=2, refresh=filling, every=10, rings={"written": 20})
    second = Phase("second", mix={"written": 1.0})
    programs = prepared(monkeypatch, first, second)
    carry = None
    for program in programs:
        carry = enter(program, carry)
        for block in blocks(program, carry, 0, 2, lambda lo: 2):
            carry = block.carry
    assert carry.rings["written"].size.tolist() == [ROWS, ROWS]


def test_an_empty_replay_buffer_is_refused(monkeypatch):
    def nothing(cfg, state, sources, ctx, noise, step):
        written = filling(cfg, state, sources, ctx, noise, step).rows["written"]
        return Refreshed(state, rows={"written": Rows(written.batch, jnp.zeros(ROWS, bool))})

    first = Phase("first", steps=2, refresh=nothing, every=10, rings={"written": 20})
    programs = prepared(monkeypatch, first, Phase("second", mix={"written": 1.0}))
    carry = enter(programs[1], enter(programs[0], None))
    with pytest.raises(UserError, match=r"phase second draws from 'written'"):
        next(blocks(programs[1], carry, 0, 2, lambda lo: 2))


@pytest.mark.slow
def test_stopped_replicas_end_the_phase(monkeypatch):
    (program,) = prepared(monkeypatch, Phase(until=lambda cfg, state: jnp.bool_(True)))
    found = list(blocks(program, enter(program, None), 0, STEPS, lambda lo: lo + 4))
    assert [block.hi for block in found] == [4]
    assert found[0].carry.done.all()


class Failing:
    """Collects until its environment fails."""

    exact = True

    def __init__(self, program, fails):
        self.program = program
        self.fails = fails

    def compile(self, carry, updates):
        self.program.compile(carry, updates)

    def run(self, carry, lo, hi):
        failure = UserError("the motor is hot") if hi > self.fails else None
        hi = min(hi, self.fails)
        carry, metrics = self.program.run(carry, lo, hi)
        return PlayResult(carry, metrics, {"collect/episodes": np.ones(2)}, hi - lo, hi, failure)


def test_a_failure_ends_with_the_whole_steps_before_it(monkeypatch):
    (program,) = prepared(monkeypatch, Phase())
    found = list(blocks(program, enter(program, None), 0, STEPS, lambda lo: lo + 4, Failing(program, 6)))
    assert [(block.lo, block.hi) for block in found] == [(0, 4), (4, 6)]
    assert found[0].failure is None
    assert "motor" in str(found[1].failure)
    assert found[1].metrics["collect/episodes"].tolist() == [1, 1]
    found = list(blocks(program, enter(program, None), 0, STEPS, lambda lo: lo + 4, Failing(program, 4)))
    assert [(block.lo, block.hi, block.updates) for block in found] == [(0, 4, 4), (4, 4, 0)]
    assert found[1].metrics == {}


@pytest.mark.parametrize(
    ("lo", "due", "stop", "expected"), [(0, 100, 12, 5), (0, 4, 12, 4), (4, 8, 12, 5), (5, 8, 12, 8), (10, 20, 12, 12)]
)
def test_where_a_block_ends(lo, due, stop, expected):
    assert block_end(Phase(refresh=counting, every=5), lo, due, stop) == expected
