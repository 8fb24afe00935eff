"""The ACA study: its measures, its rows, and a whole study of a tiny size."""

from __future__ import annotations

import csv

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import stats

from holdfast.algorithms import aca, aca_online
from holdfast.core.config import as_arrays
from holdfast.core.contract import Context
from holdfast.core.errors import UserError
from holdfast.core.noise import Noise
from holdfast.core.spec import Spec
from holdfast.studies import aca as study
from holdfast.studies import result
from holdfast.training import launch as training
from support.studies import run_of

SIZE = study.Size(
    data="bundled/pendulum-mixed", updates=60, align=40, steps=300, seeds=2, hidden=(8,), evaluations=20, episodes=2,
    candidates=2,
)  # fmt: skip


def test_rank_correlation():
    rng = np.random.default_rng(0)
    x, change = rng.normal(size=(2, 3, 12, 4))
    y = x + change
    found = study.rank_correlation(x, y)
    assert found.shape == (3, 4)
    for r, s in np.ndindex(found.shape):
        assert found[r, s] == pytest.approx(stats.spearmanr(x[r, :, s], y[r, :, s])[0])
    np.testing.assert_allclose(study.rank_correlation(x, np.exp(x)), 1)
    np.testing.assert_allclose(study.rank_correlation(x, -x), -1)


@pytest.mark.slow
def test_alignment_makes_the_critic_rank_as_the_policy():
    cfg = as_arrays(aca.ACA(hidden=(8,)))
    state = aca.init(cfg, Context(Spec((3,), 2)), Noise(jax.random.PRNGKey(0)))
    obs = jax.random.normal(jax.random.PRNGKey(1), (5, 3))
    key = jax.random.PRNGKey(2)
    log_prob, before = study.values(cfg, state, obs, key, 0)
    assert log_prob.shape == before.shape == (2 * study.DRAWS, 5)
    same, after = study.values(cfg, aca_online.enter(cfg, state, Context(Spec((3,), 2)), None), obs, key, 0)
    np.testing.assert_allclose(same, log_prob, rtol=1e-5)
    assert study.rank_correlation(*np.asarray([log_prob, after])).min() > 0.99
    assert study.rank_correlation(*np.asarray([log_prob, before])).mean() < 0.9
    # the first half are the policy's own draws: likelier than uniform ones
    assert jnp.median(log_prob[: study.DRAWS]) > jnp.median(log_prob[study.DRAWS :])


def test_there_is_a_row_for_each_stage():
    offline = run_of([[[0], [1], [2]], [[2], [3], [4]]], [12, 60, 100])
    online = run_of([[[3], [-5], [9]], [[3], [-7], [11]]], [0, 150, 300])
    found = study.Outcome(offline, online, {"offline": 0.1, "aligned": 0.9, "online": 0.8}, {})
    methods = {m.label: m for m in study.methods(SIZE)}
    rows = study.rows_of(methods[study.ACA], SIZE, found)
    assert [row[:4] for row in rows] == [
        ("ACA", "offline", 60, 2.0),
        ("ACA", "aligned", 100, 3.0),
        ("ACA", "lowest online", 150, -6.0),
        ("ACA", "online", 300, 10.0),
    ]
    assert [row[6] for row in rows] == [0.1, 0.9, "", 0.8]
    assert all(row[4] <= row[3] <= row[5] for row in rows)
    assert [row[1] for row in study.rows_of(methods[study.SAC], SIZE, found)] == ["offline", "lowest online", "online"]


def test_the_weight_of_the_prior_is_half_after_a_fifth_of_the_steps():
    (method, *_) = study.methods(SIZE)
    cfg = aca.ACA(**method.offline)
    assert aca_online.prior_weight(cfg, SIZE.steps // 5) == 0.5
    assert aca_online.prior_weight(cfg, SIZE.steps // 10) == 0.75


@pytest.mark.slow
def test_the_whole_study(tmp_path, monkeypatch):
    monkeypatch.setattr(study, "QUICK", SIZE)
    args = study.Args(runs=tmp_path / "runs")
    found = study.run(args)
    assert [row[:2] for row in found.rows if row[0] == study.ACA] == [
        (study.ACA, stage) for stage in ("offline", "aligned", "lowest online", "online")
    ]
    ranks = {row[1]: row[6] for row in found.rows if row[0] == study.ACA}
    assert ranks["aligned"] > 0.99 > ranks["offline"]
    starts = {row[0]: row[2:] for row in found.rows if row[1] == "offline"}
    assert starts[study.ACA] == starts[study.RAW]  # one offline run, two ways online
    trained = []
    monkeypatch.setattr(training, "start", lambda *a, **k: trained.append(a))
    again = study.run(args)
    assert again.rows == found.rows
    assert not trained
    with pytest.raises(UserError, match="steps 60 instead of 61"):
        study.run(study.Args(updates=61, runs=tmp_path / "runs"))
    pytest.importorskip("matplotlib")
    written = result.write(found, tmp_path / "out")
    assert [p.suffix for p in written] == [".json", ".csv", ".png"]
    with written[1].open(newline="") as file:
        assert len(list(csv.reader(file))) == 1 + len(found.rows)
