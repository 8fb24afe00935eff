"""OBAC, IQL-concurrent and IQL-online: gate, losses and networks against numbers worked by hand; small online runs."""

from __future__ import annotations

import csv
import dataclasses
import types

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import stats

from holdfast.algorithms import iql, iql_concurrent, iql_online, obac, sac
from holdfast.core.config import as_arrays
from holdfast.core.contract import Context
from holdfast.core.noise import Tape
from holdfast.core.spec import Seen, Spec
from holdfast.core.trained import Trained
from holdfast.core.tree import named_leaves
from holdfast.parts import layers, nets, optimisers
from holdfast.parts.distributions import TanhNormal
from holdfast.training.run import train
from support import formulas
from support.formulas import NOISE, array, critics, linear, same

SPEC = Spec((1,), 2)
x64 = pytest.mark.usefixtures("x64")


def trained(net):
    return Trained.new(net, optimisers.adam(1e-3))


def batch(**columns):
    return formulas.batch(**{"action": array([0.5, 0], [0, -0.5])} | columns)


def state(**parts):
    """Q^pi: 2s + a1, 3s. Q^mu: 3s + a1, 2s + 2 a2. V^mu: 2.2 s. Policy: mean (.1 s, -.2 s), deviation exp(-.5 s)."""
    usual = {
        "actor": nets.GaussianHeadsPolicy(linear([0.1], [-0.2], [-0.5], [-0.5])),
        "critic": critics([2, 1, 0], [3, 0, 0]),
        "behaviour_critic": critics([3, 1, 0], [2, 0, 2]),
        "behaviour_value": nets.Value(linear([2.2])),
        "target_critic": critics([1, 0, 0], [0.5, 0, 1]),
        "target_behaviour_critic": critics([2.5, 0, 0], [2, 0, 0]),
        "temperature": jnp.log(array(0.5)[0]),
    }
    found = usual | parts
    return obac.State(**{k: v if k.startswith("target") else trained(v) for k, v in found.items()})


# the gate


@x64
@pytest.mark.parametrize(
    ("gate", "second", "values", "on"),
    [
        # at the policy's actions (.5, 0) and (0, .5) Q^pi is (2.5, 4); at the replay's, Q^mu is (2, 3) or (3, 5)
        ("batch", 0.0, (3.25, 2.5), [0, 0]),
        ("batch", 0.5, (3.25, 4.0), [1, 1]),
        ("always", 0.0, (3.25, 2.5), [1, 1]),
        ("off", 0.5, (3.25, 4.0), [0, 0]),
        ("state", 0.0, (3.25, 3.3), [0, 1]),  # V^mu is (2.2, 4.4)
    ],
)
def test_the_gate(gate, second, values, on):
    rows = batch(action=array([0.5, second], [0, -0.5 + 2 * second]))
    found, told = obac.open_gate(obac.OBAC(gate=gate), state(), rows, array([0.5, 0], [0, 0.5]))
    same(found, on)
    same(told["gate/policy_value"], values[0])
    same(told["gate/behaviour_value"], values[1])
    same(told["gate/difference"], values[1] - values[0])
    same(told["gate/on"], np.mean(on))


@x64
def test_equal_values_open_no_gate():
    alike = types.SimpleNamespace(critic=trained(critics([1, 2, 3])), behaviour_critic=trained(critics([1, 2, 3])))
    found, told = obac.open_gate(obac.OBAC(), alike, batch(), batch().action)
    same(found, [0, 0])
    assert told["gate/difference"] == 0


# losses


@x64
def test_densities_of_replayed_actions():
    mean, log_std = np.array([[0.2, -0.1], [0.2, 0.5]]), np.array([[-1.0, 0.3], [-4.0, -5.0]])
    action = np.array([[0.5, -0.9], [-0.9, 0.5]])
    law = TanhNormal(jnp.asarray(mean), jnp.asarray(log_std))
    normal = stats.norm(mean, np.exp(log_std))
    first = normal.logpdf(action)[0]
    same(obac.log_density(law, action, "raw"), [first.mean(), (-20 + 2) / 2])  # the second row is out of both bounds
    exact = (normal.logpdf(np.arctanh(action)) - np.log(1 - action**2)).sum(-1)
    same(obac.log_density(law, jnp.asarray(action), "exact"), exact, 1e-10)


@x64
def test_the_policy_follows_its_critics_and_is_drawn_to_the_replay_by_weight():
    s, rows, eps, weight = state(), batch(), array([0.3, -1], [0.5, 2]), array(0, 0.4)
    mean, std = np.array([[0.1, -0.2], [0.2, -0.4]]), np.exp([[-0.5] * 2, [-1.0] * 2])
    u = mean + std * np.asarray(eps)
    log_prob = (stats.norm(mean, std).logpdf(u) - np.log(1 - np.tanh(u) ** 2)).sum(-1)
    q = np.minimum(2 * np.array([1, 2]) + np.tanh(u)[:, 0], 3 * np.array([1, 2]))
    density = stats.norm(mean, std).logpdf(np.asarray(rows.action)).mean(-1)
    given = (s.critic.net, weight, 0.7, rows, eps, "raw")
    found, told = obac.actor_loss(s.actor.net, *given)
    same(found, (0.7 * log_prob - q - np.array([0, 0.4]) * density).mean(), 1e-10)
    same(told["entropy"], -log_prob.mean(), 1e-10)


@x64
@pytest.mark.parametrize("step", [0, 3])
def test_targets_weights_and_temperatures_of_an_update(step):
    cfg = obac.OBAC(gate="state", inverse_temperature=0.5, max_weight=1.1, constraint_weight=0.01, discount=0.5)
    draws = {"target_action": array([0.1, 0.2], [0, 0]), "actor_action": array([0.3, -1], [0.5, 2])}
    update = jax.jit(lambda c, s, b: obac.update(c, s, b, Tape(draws), step))
    after, told = update(as_arrays(cfg), state(), batch())

    alpha = 0.2 if step == 0 else 0.5
    mean, std = np.array([0.3, -0.6]), np.exp(-1.5)
    u = mean + std * np.array([0.1, 0.2])
    log_prob = (stats.norm(mean, std).logpdf(u) - np.log(1 - np.tanh(u) ** 2)).sum()
    soft = min(3, 1.5 + np.tanh(u)[1]) - alpha * log_prob
    same(told["critic/target"], (1 + 0.5 * soft + 2) / 2, 1e-10)  # the second row has ended
    same(told["behaviour_critic/target"], (1 + 0.5 * 2.2 * 3 + 2) / 2)

    u = np.array([2 - 2.2, 4 - 4.4])  # min of the target Q^mu less V^mu: both below 0
    same(told["behaviour_value/loss"], (0.1 * u**2).mean())
    policy = np.array([[0.1, -0.2], [0.2, -0.4]]) + np.exp([[-0.5] * 2, [-1.0] * 2]) * draws["actor_action"]
    on = np.array([2.2, 4.4]) > np.minimum([2, 4] + np.tanh(policy)[:, 0], [3, 6])
    same(told["gate/on"], on.mean())
    same(told["actor/weight"], (0.01 * on * np.minimum(np.exp(0.5 * u), 1.1)).mean(), 1e-10)
    same(told["temperature/alpha"], 0.5)
    assert after.temperature.net != jnp.log(0.5)


@x64
def test_without_the_constraint_the_update_is_that_of_weight_nought():
    draws = {"target_action": array([0.1, 0.2], [0, 0]), "actor_action": array([0.3, -1], [0.5, 2])}
    update = jax.jit(lambda c, b: obac.update(c, state(), b, Tape(draws), 1)[0])
    off, free, held = (
        update(as_arrays(obac.OBAC(gate=gate, constraint_weight=weight)), batch())
        for gate, weight in (("off", 1.0), ("always", 0.0), ("always", 1.0))
    )
    for key, leaf in named_leaves(off).items():
        same(leaf, named_leaves(free)[key])
    assert not np.allclose(off.actor.net.net.layers[0].weight, held.actor.net.net.layers[0].weight, atol=1e-6)
    same(off.critic.net.nets.layers[0].weight, held.critic.net.nets.layers[0].weight)


# networks


@x64
def test_the_layers():
    x, w1, w2, w3 = (np.random.default_rng(i).normal(size=s) for i, s in enumerate([(3,), (3, 4), (4, 4), (4, 2)]))
    b1, b2, b3, scale, shift = (np.random.default_rng(9 + i).normal(size=n) for i, n in enumerate([4, 4, 2, 4, 4]))
    dense = tuple(layers.Linear(jnp.asarray(w), jnp.asarray(b)) for w, b in ((w1, b1), (w2, b2), (w3, b3)))
    norm = layers.LayerNorm(jnp.asarray(scale), jnp.asarray(shift), 1e-5)
    h = x @ w1 + b1
    h = np.tanh((h - h.mean()) / np.sqrt(h.var() + 1e-5) * scale + shift) @ w2 + b2
    h = np.where(h > 0, h, np.expm1(h)) @ w3 + b3
    same(layers.MLP(dense, (norm,), "tanh elu", "first")(jnp.asarray(x)), h)


def test_initial_networks():
    ctx = Context(Spec((3,), 2))
    cfg = obac.OBAC(hidden=(64, 32))
    first = jax.jit(lambda: obac.init(as_arrays(cfg), ctx, NOISE))()
    for net, outputs in ((first.actor.net.net, 2), (first.critic.net.nets, 1), (first.behaviour_value.net.net, 1)):
        assert len(net.norms) == 1
        assert net.norms[0].eps == 1e-5
        sizes = [layer.weight.shape[-2:] for layer in net.layers]
        for layer, (n_in, n_out) in zip(net.layers, [*sizes[:-1], (32, outputs)], strict=True):
            assert not np.any(layer.bias)
            bound = (6 / (n_in + n_out)) ** 0.5
            assert 0.9 * bound < np.abs(layer.weight).max() <= bound
    for other in (first.behaviour_critic.net, first.target_critic, first.target_behaviour_critic):
        for one, two in zip(jax.tree.leaves(first.critic.net), jax.tree.leaves(other), strict=True):
            assert np.array_equal(one, two)
    assert not np.array_equal(first.critic.net.nets.layers[0].weight[0], first.critic.net.nets.layers[0].weight[1])


# two learners in one state


def test_each_learner_updates_on_its_own_batch():
    cfg = as_arrays(iql_concurrent.IQLConcurrent(hidden=(8, 8)))
    rows = jax.tree.map(lambda x: x.astype(np.float32), batch())
    other = batch(obs=array([5], [6]), reward=array(-1, 3), action=array([-1, 1], [0.1, 0.2]))
    pair = jax.tree.map(lambda x, y: jnp.stack([x, y.astype(np.float32)]), rows, other)

    @jax.jit
    def both(pair):
        start = iql_concurrent.init(cfg, Context(SPEC), NOISE)
        apart = [jax.tree.map(lambda x, i=i: x[i], pair) for i in range(2)]
        one = sac.update(cfg, start.sac, apart[0], NOISE.sub("sac"), 0)
        two = iql.update(cfg, start.iql, apart[1], NOISE.sub("iql"), 0)
        return iql_concurrent.update(cfg, start, pair, NOISE, 0), one, two, start.iql.critic.net

    (after, told), one, two, critic = both(pair)
    for found, (wanted, metrics), name in ((after.sac, one, "sac"), (after.iql, two, "iql")):
        for key, leaf in named_leaves(wanted).items():
            np.testing.assert_allclose(named_leaves(found)[key], leaf, rtol=1e-6, atol=1e-7, err_msg=f"{name}: {key}")
        for key, value in metrics.items():
            assert told[f"{name}/{key}"] == pytest.approx(float(value), rel=1e-5), key
    value = critic(pair.obs[1], pair.action[1]).min(0).mean()
    assert told["gate/difference"] == pytest.approx(float(value - one[1]["actor/q"]), abs=1e-5)
    assert iql_concurrent.needs(cfg).batches == 2


def test_who_acts():
    small = iql_concurrent.IQLConcurrent(hidden=(8, 8))
    start = jax.jit(lambda: iql_concurrent.init(as_arrays(small), Context(SPEC), NOISE))()
    seen = Seen(jnp.linspace(-1, 1, 5)[:, None], jnp.zeros(5))

    def acts(module, state, mode, **play):
        cfg = iql_concurrent.IQLConcurrent(**play)
        return module.act(cfg, state, seen, (), NOISE, mode)[0]

    for play, module, inner in (("iql", iql, start.iql), ("sac", sac, start.sac)):
        for mode in ("best", "sample"):
            found = acts(iql_concurrent, start, mode, play=play)
            assert np.array_equal(found, acts(module, inner, mode)), (play, mode)
        assert np.array_equal(acts(iql_concurrent, start, "explore", play=play), acts(sac, start.sac, "explore"))
        law = iql_concurrent.dist(iql_concurrent.IQLConcurrent(play=play), start, seen, ())
        assert isinstance(law, TanhNormal) == (play == "sac")
        action = jnp.zeros((5, 2))
        believed = iql_concurrent.value(iql_concurrent.IQLConcurrent(play=play), start, seen.obs, action)
        assert np.array_equal(believed, inner.critic.net(seen.obs, action).min(0))
    assert not np.array_equal(acts(iql, start.iql, "best"), acts(sac, start.sac, "best"))


def test_settings_out_of_range_are_told_once():
    cfg = iql_concurrent.IQLConcurrent(play="both", actor_lr=-1.0, expectile=2.0, temperature_loss="off")
    faults = iql_concurrent.algorithm.check(cfg)
    assert sorted(f.split()[0] for f in faults) == ["actor_lr", "expectile", "play", "temperature_loss"]
    assert "expected one of relu, normed" in iql_online.check(iql_online.IQLOnline(trunk="wide"))[0]


def test_iql_online_takes_either_kind_of_layers():
    for trunk, norms, activation in (("relu", 0, "relu"), ("normed", 1, "tanh elu")):
        cfg = dataclasses.replace(iql_online.IQLOnline(), trunk=trunk, hidden=(8, 8))
        first = jax.jit(lambda c=cfg: iql_online.init(as_arrays(c), Context(SPEC), NOISE))()
        for net in (first.actor.net.net, first.value.net.net, first.critic.net.nets):
            assert (len(net.norms), net.activation) == (norms, activation)
        assert first.actor.net.squash == "mean"


# in an environment

TINY = {"hidden": (8, 8), "batch_size": 8, "warmup": 20}
SETTINGS = {"env": "Pendulum-v1", "steps": 60, "block": 30, "eval_episodes": 1, "eval_every": 60}


def rows(run, file):
    with (run.path / file).open(newline="") as opened:
        return list(csv.DictReader(opened))


def test_obac_learns_in_an_environment_and_logs_its_gate(tmp_path):
    found = rows(train("obac", out=tmp_path / "run", config=TINY, **SETTINGS), "metrics.csv")
    for row in found:
        assert 0 <= float(row["gate/on"]) <= 1
        gap = float(row["gate/behaviour_value"]) - float(row["gate/policy_value"])
        assert float(row["gate/difference"]) == pytest.approx(gap, abs=1e-4)


def test_whose_policy_is_played_changes_nothing_in_the_training(tmp_path):
    one, other = (
        train("iql_concurrent", out=tmp_path / play, config={**TINY, "play": play}, **SETTINGS)
        for play in ("iql", "sac")
    )
    assert rows(one, "metrics.csv") == rows(other, "metrics.csv")
    played = [[row["return"] for row in rows(run, "evaluations.csv")] for run in (one, other)]
    assert played[0] != played[1]
    shipped = [set(named_leaves(run.policy().state)) for run in (one, other)]
    assert shipped[0] == shipped[1]
    obs = np.ones(3, np.float32)
    assert one.policy()(obs) != other.policy()(obs)


def test_iql_collects_by_its_own_draws(tmp_path):
    found = rows(train("iql_online", out=tmp_path / "run", config=TINY, **SETTINGS), "metrics.csv")
    assert all(np.isfinite(float(row["actor/weight"])) for row in found)
