"""OBAC: gate, losses and networks against numbers worked by hand; recorded updates (float64); a small online run."""

from __future__ import annotations

import types

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import stats

from holdfast.algorithms import obac
from holdfast.core.config import as_arrays
from holdfast.core.contract import Context
from holdfast.core.noise import Tape
from holdfast.core.spec import Spec
from holdfast.core.trained import Trained
from holdfast.core.tree import named_leaves
from holdfast.parts import nets, optimisers
from holdfast.parts.distributions import TanhNormal
from holdfast.training.run import train
from support import formulas
from support.formulas import NOISE, array, critics, linear, same
from support.marks import quick
from support.small_runs import rows
from support.tapes import Golden, common, replay

x64 = pytest.mark.usefixtures("x64")

TINY = {"hidden": (8, 8), "batch_size": 8, "warmup": 20}
SETTINGS = {"env": "Pendulum-v1", "steps": 60, "block": 30, "eval_episodes": 1, "eval_every": 60}
LOSSES = {
    "critic/loss": "critic_loss",
    "behaviour_critic/loss": "behaviour_critic_loss",
    "behaviour_value/loss": "value_loss",
    "actor/loss": "policy_loss",
    "temperature/loss": "alpha_loss",
    "gate/on": "gate",
    "gate/policy_value": "policy_q_mean",
    "gate/behaviour_value": "behaviour_q_data_mean",
}


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
    found, metrics = obac.open_gate(obac.OBAC(gate=gate), state(), rows, array([0.5, 0], [0, 0.5]))
    same(found, on)
    same(metrics["gate/policy_value"], values[0])
    same(metrics["gate/behaviour_value"], values[1])
    same(metrics["gate/difference"], values[1] - values[0])
    same(metrics["gate/on"], np.mean(on))


@x64
def test_equal_values_open_no_gate():
    alike = types.SimpleNamespace(critic=trained(critics([1, 2, 3])), behaviour_critic=trained(critics([1, 2, 3])))
    found, metrics = obac.open_gate(obac.OBAC(), alike, batch(), batch().action)
    same(found, [0, 0])
    assert metrics["gate/difference"] == 0


@x64
def test_densities_of_replayed_actions():
    mean, log_std = np.array([[0.2, -0.1], [0.2, 0.5]]), np.array([[-1.0, 0.3], [-4.0, -5.0]])
    action = np.array([[0.5, -0.9], [-0.9, 0.5]])
    dist = TanhNormal(jnp.asarray(mean), jnp.asarray(log_std))
    normal = stats.norm(mean, np.exp(log_std))
    first = normal.logpdf(action)[0]
    same(obac.log_density(dist, action, "raw"), [first.mean(), (-20 + 2) / 2])  # the second row is out of both bounds
    exact = (normal.logpdf(np.arctanh(action)) - np.log(1 - action**2)).sum(-1)
    same(obac.log_density(dist, jnp.asarray(action), "exact"), exact, 1e-10)


@x64
def test_the_policy_follows_its_critics_and_is_drawn_to_the_replay_by_weight():
    s, rows, eps, weight = state(), batch(), array([0.3, -1], [0.5, 2]), array(0, 0.4)
    mean, std = np.array([[0.1, -0.2], [0.2, -0.4]]), np.exp([[-0.5] * 2, [-1.0] * 2])
    u = mean + std * np.asarray(eps)
    log_prob = (stats.norm(mean, std).logpdf(u) - np.log(1 - np.tanh(u) ** 2)).sum(-1)
    q = np.minimum(2 * np.array([1, 2]) + np.tanh(u)[:, 0], 3 * np.array([1, 2]))
    density = stats.norm(mean, std).logpdf(np.asarray(rows.action)).mean(-1)
    given = (s.critic.net, weight, 0.7, rows, eps, "raw")
    found, metrics = obac.actor_loss(s.actor.net, *given)
    same(found, (0.7 * log_prob - q - np.array([0, 0.4]) * density).mean(), 1e-10)
    same(metrics["entropy"], -log_prob.mean(), 1e-10)


@pytest.mark.slow
@x64
@pytest.mark.parametrize("step", [0, 3])
def test_targets_weights_and_temperatures_of_an_update(step):
    cfg = obac.OBAC(gate="state", inverse_temperature=0.5, max_weight=1.1, constraint_weight=0.01, discount=0.5)
    draws = {"target_action": array([0.1, 0.2], [0, 0]), "actor_action": array([0.3, -1], [0.5, 2])}
    update = jax.jit(lambda c, s, b: obac.update(c, s, b, Tape(draws), step))
    after, metrics = update(as_arrays(cfg), state(), batch())

    alpha = 0.2 if step == 0 else 0.5
    mean, std = np.array([0.3, -0.6]), np.exp(-1.5)
    u = mean + std * np.array([0.1, 0.2])
    log_prob = (stats.norm(mean, std).logpdf(u) - np.log(1 - np.tanh(u) ** 2)).sum()
    soft = min(3, 1.5 + np.tanh(u)[1]) - alpha * log_prob
    same(metrics["critic/target"], (1 + 0.5 * soft + 2) / 2, 1e-10)  # the second row has ended
    same(metrics["behaviour_critic/target"], (1 + 0.5 * 2.2 * 3 + 2) / 2)

    u = np.array([2 - 2.2, 4 - 4.4])  # min of the target Q^mu less V^mu: both below 0
    same(metrics["behaviour_value/loss"], (0.1 * u**2).mean())
    policy = np.array([[0.1, -0.2], [0.2, -0.4]]) + np.exp([[-0.5] * 2, [-1.0] * 2]) * draws["actor_action"]
    on = np.array([2.2, 4.4]) > np.minimum([2, 4] + np.tanh(policy)[:, 0], [3, 6])
    same(metrics["gate/on"], on.mean())
    same(metrics["actor/weight"], (0.01 * on * np.minimum(np.exp(0.5 * u), 1.1)).mean(), 1e-10)
    same(metrics["temperature/alpha"], 0.5)
    assert after.temperature.net != jnp.log(0.5)


@pytest.mark.slow
@x64
def test_without_the_constraint_the_update_is_that_of_weight_0():
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


def test_initial_networks():
    ctx = Context(Spec((3,), 2))
    cfg = obac.OBAC(hidden=(64, 32))
    first = obac.init(as_arrays(cfg), ctx, NOISE)
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


@pytest.mark.slow
def test_obac_learns_in_an_environment_and_logs_its_gate(tmp_path):
    found = rows(train("obac", out=tmp_path / "run", config=TINY, **SETTINGS).path / "metrics.csv")
    for row in found:
        assert 0 <= float(row["gate/on"]) <= 1
        gap = float(row["gate/behaviour_value"]) - float(row["gate/policy_value"])
        assert float(row["gate/difference"]) == pytest.approx(gap, abs=1e-4)


def recorded(name):
    g = Golden(name)
    cfg = obac.OBAC(
        **common(
            g,
            "constraint_weight=bc_weight first_temperature=initial_alpha behaviour_value_lr=value_lr "
            "temperature_lr=alpha_lr expectile target_entropy actor_lr critic_lr behaviour_critic_lr",
        )
    )
    trunk = {"activation": "tanh elu", "norm": "first", "eps": g.setting("layernorm_eps")}

    def actor(root, suffix=""):
        low, high = g.setting("log_std_min"), g.setting("log_std_max")
        net = g.mlp(f"{root}/actor", suffix, **trunk)
        return nets.GaussianHeadsPolicy(net, low, high, floor=g.setting("tanh_eps"))  # theirs; ours is exact

    def critic(root, name, suffix=""):
        return g.critic(root, suffix, (f"{name}1", f"{name}2"), **trunk)

    def value(root, suffix=""):
        return nets.Value(g.mlp(f"{root}/behaviour_value", suffix, **trunk))

    state = obac.State(
        Trained.new(actor("params"), optimisers.adam(cfg.actor_lr)),
        Trained.new(critic("params", "critic"), optimisers.adam(cfg.critic_lr)),
        Trained.new(critic("params", "behaviour_critic"), optimisers.adam(cfg.behaviour_critic_lr)),
        Trained.new(value("params"), optimisers.adam(cfg.behaviour_value_lr)),
        critic("target", "critic"),
        critic("target", "behaviour_critic"),
        Trained.new(jnp.asarray(g["params/log_alpha"]), optimisers.adam(cfg.temperature_lr)),
    )

    def expected(state, suffix=None):
        if suffix is None:
            trained = (state.actor, state.critic, state.behaviour_critic, state.behaviour_value, state.temperature)
            return *(t.net for t in trained), state.target_critic, state.target_behaviour_critic
        at, slow = "expected/params", "expected/target"
        moved = actor(at, suffix), critic(at, "critic", suffix), critic(at, "behaviour_critic", suffix)
        log_alpha = jnp.asarray(g[f"{at}/log_alpha{suffix}"])
        slow = critic(slow, "critic", suffix), critic(slow, "behaviour_critic", suffix)
        return *moved, value(at, suffix), log_alpha, *slow

    return cfg, state, g, expected


@x64
@pytest.mark.parametrize("name", quick(["obac_gate_on", "obac_gate_off"], "obac_gate_on"))
def test_recorded_updates(name):
    cfg, state, g, expected = recorded(name)
    replay(obac.algorithm, cfg, state, g, expected, LOSSES)
