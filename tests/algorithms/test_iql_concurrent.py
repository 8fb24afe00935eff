"""IQL-concurrent: two learners in one state, and a small online run."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from holdfast.algorithms import iql, iql_concurrent, sac
from holdfast.core.config import as_arrays
from holdfast.core.contract import Context
from holdfast.core.spec import Seen, Spec
from holdfast.core.tree import named_leaves
from holdfast.parts.distributions import TanhNormal
from holdfast.training.run import train
from support import formulas
from support.formulas import NOISE, array
from support.small_runs import rows

SPEC = Spec((1,), 2)
TINY = {"hidden": (8, 8), "batch_size": 8, "warmup": 20}
SETTINGS = {"env": "Pendulum-v1", "steps": 60, "block": 30, "eval_episodes": 1, "eval_every": 60}


def pair_batch(**columns):
    return formulas.batch(**{"action": array([0.5, 0], [0, -0.5])} | columns)


@pytest.mark.slow
def test_each_learner_updates_on_its_own_batch():
    cfg = as_arrays(iql_concurrent.IQLConcurrent(hidden=(8, 8)))
    rows = jax.tree.map(lambda x: x.astype(np.float32), pair_batch())
    other = pair_batch(obs=array([5], [6]), reward=array(-1, 3), action=array([-1, 1], [0.1, 0.2]))
    pair = jax.tree.map(lambda x, y: jnp.stack([x, y.astype(np.float32)]), rows, other)

    @jax.jit
    def both(pair):
        start = iql_concurrent.init(cfg, Context(SPEC), NOISE)
        apart = [jax.tree.map(lambda x, i=i: x[i], pair) for i in range(2)]
        one = sac.update(cfg, start.sac, apart[0], NOISE.sub("sac"), 0)
        two = iql.update(cfg, start.iql, apart[1], NOISE.sub("iql"), 0)
        return iql_concurrent.update(cfg, start, pair, NOISE, 0), one, two, start.iql.critic.net

    (after, metrics), one, two, critic = both(pair)
    for found, (wanted, alone), name in ((after.sac, one, "sac"), (after.iql, two, "iql")):
        for key, leaf in named_leaves(wanted).items():
            np.testing.assert_allclose(named_leaves(found)[key], leaf, rtol=1e-6, atol=1e-7, err_msg=f"{name}: {key}")
        for key, value in alone.items():
            assert metrics[f"{name}/{key}"] == pytest.approx(float(value), rel=1e-5), key
    value = critic(pair.obs[1], pair.action[1]).min(0).mean()
    assert metrics["gate/difference"] == pytest.approx(float(value - one[1]["actor/q"]), abs=1e-5)
    assert iql_concurrent.needs(cfg).batches == 2


@pytest.mark.slow
def test_who_acts():
    small = iql_concurrent.IQLConcurrent(hidden=(8, 8))
    start = iql_concurrent.init(as_arrays(small), Context(SPEC), NOISE)
    seen = Seen(jnp.linspace(-1, 1, 5)[:, None], jnp.zeros(5))

    def acts(module, state, mode, **play):
        cfg = iql_concurrent.IQLConcurrent(**play)
        return module.act(cfg, state, seen, (), NOISE, mode)[0]

    for play, module, inner in (("iql", iql, start.iql), ("sac", sac, start.sac)):
        for mode in ("best", "sample"):
            found = acts(iql_concurrent, start, mode, play=play)
            assert np.array_equal(found, acts(module, inner, mode)), (play, mode)
        assert np.array_equal(acts(iql_concurrent, start, "explore", play=play), acts(sac, start.sac, "explore"))
        dist = iql_concurrent.dist(iql_concurrent.IQLConcurrent(play=play), start, seen, ())
        assert isinstance(dist, TanhNormal) == (play == "sac")
        action = jnp.zeros((5, 2))
        believed = iql_concurrent.value(iql_concurrent.IQLConcurrent(play=play), start, seen.obs, action)
        assert np.array_equal(believed, inner.critic.net(seen.obs, action).min(0))
    assert not np.array_equal(acts(iql, start.iql, "best"), acts(sac, start.sac, "best"))


def test_each_setting_out_of_range_is_reported_once():
    cfg = iql_concurrent.IQLConcurrent(play="both", actor_lr=-1.0, expectile=2.0, temperature_loss="off")
    faults = iql_concurrent.algorithm.check(cfg)
    assert sorted(f.split()[0] for f in faults) == ["actor_lr", "expectile", "play", "temperature_loss"]


@pytest.mark.slow
def test_whose_policy_is_played_changes_nothing_in_the_training(tmp_path):
    one, other = (
        train("iql_concurrent", out=tmp_path / play, config={**TINY, "play": play}, **SETTINGS)
        for play in ("iql", "sac")
    )
    assert rows(one.path / "metrics.csv") == rows(other.path / "metrics.csv")
    played = [[row["return"] for row in rows(run.path / "evaluations.csv")] for run in (one, other)]
    assert played[0] != played[1]
    shipped = [set(named_leaves(run.policy().state)) for run in (one, other)]
    assert shipped[0] == shipped[1]
    obs = np.ones(3, np.float32)
    assert one.policy()(obs) != other.policy()(obs)
