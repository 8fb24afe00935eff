"""Learning on the probes, whose answers are known: values are correct, and actions outside the data are not preferred.

The lists at the top say which algorithm is tested on which probe.
"""

from __future__ import annotations

import functools

import jax.numpy as jnp
import numpy as np
import pytest
from scipy import optimize

from holdfast.algorithms import registry
from holdfast.core.spec import Seen
from holdfast.data.dataset import Dataset
from holdfast.environments import tabular
from holdfast.environments.probes import MARGIN, collect, get
from support.learned import DISCOUNT, Learned, settings
from support.marks import quick

# Methods that learn from data alone. Online methods without restraint are left out: they fail the traps.
CRITICS = ["awac", "iql", "td3_bc"]  # action values
WEIGHTED = ["awac", "iql"]  # cloning with weights on advantages
CLONERS = ["bc", "filtered_bc"]
NAMES = CRITICS + CLONERS
EXPECTILE = [n for n in CRITICS if "expectile" in settings(n)]
FILTERED = [n for n in NAMES if registry.get(n).filter is not None]


def takes(kind: str, names: list[str]) -> list[str]:
    return [n for n in names if kind in registry.get(n).actions]


def some(kind: str, names: list[str]) -> list:
    """IQL in the quick run, the others in the slow one."""
    return quick(takes(kind, names), "iql")


def log(name: str, episodes: int) -> dict:
    return collect(get(name), episodes, seed=1)


def dataset(rows: dict, **options) -> Dataset:
    return Dataset.from_arrays(**rows, **options)


@functools.cache
def learned(name: str, probe: str, steps: int, episodes: int) -> Learned:
    return Learned(name, dataset(log(probe, episodes)), steps)


def side_by_side(logs: list[dict]) -> dict:
    """Several logs as one problem: each has its own part of the observation, zeros elsewhere, and a 1 that names it."""
    widths = [log["observations"].shape[1] + 1 for log in logs]
    found = []
    for i, one in enumerate(logs):
        before, after = sum(widths[:i]), sum(widths[i + 1 :])
        wide = dict(one)
        for column in ("observations", "next_observations"):
            named = np.concatenate([one[column], np.ones((len(one[column]), 1), np.float32)], 1)
            wide[column] = np.pad(named, ((0, 0), (before, after)))
        found.append(wide)
    return {k: np.concatenate([one[k] for one in found]) for k in found[0]}


# values: three probes as one problem, learned once

VALUES = {"constant": 20, "limit": 200, "delayed": 100}


@functools.cache
def values(name: str) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """For each probe its observations and the learned values of what was done there."""
    logs = {probe: log(probe, episodes) for probe, episodes in VALUES.items()}
    rows = side_by_side(list(logs.values()))
    q = Learned(name, dataset(rows, cut_jumps=False), 1500).q(rows["observations"], rows["actions"])
    ends = np.cumsum([len(one["rewards"]) for one in logs.values()])
    return {
        probe: (one["observations"], part)
        for (probe, one), part in zip(logs.items(), np.split(q, ends[:-1]), strict=True)
    }


@pytest.mark.slow
@pytest.mark.parametrize("name", some("continuous", CRITICS))
def test_values_of_a_constant_reward(name):
    obs, q = values(name)["constant"]
    assert get("constant").value(obs, DISCOUNT)[0] == pytest.approx(5)  # 1 / (1 - .8)
    np.testing.assert_allclose(q, 5, atol=0.3)


@pytest.mark.parametrize("name", some("continuous", CRITICS))
def test_an_end_cuts_the_bootstrap_and_a_time_limit_does_not(name):
    obs, q = values(name)["limit"]
    ended = obs[:, 0] > 0
    assert 0 < ended.sum() < len(ended)
    np.testing.assert_allclose(q[ended], 1, atol=0.3)
    np.testing.assert_allclose(q[~ended], 5, atol=0.3)
    np.testing.assert_allclose(q, get("limit").value(obs, DISCOUNT), atol=0.3)


@pytest.mark.parametrize("name", some("continuous", CRITICS))
def test_a_later_reward_is_discounted_once_per_step(name):
    obs, q = values(name)["delayed"]
    first = obs[:, 0] > 0
    assert get("delayed").value(np.eye(2), DISCOUNT).tolist() == [DISCOUNT, 1.0]
    np.testing.assert_allclose(q[first].mean(), DISCOUNT, atol=0.06)
    np.testing.assert_allclose(q[~first].mean(), 1, atol=0.06)
    np.testing.assert_allclose(q, np.where(first, DISCOUNT, 1), atol=0.2)


# policies: two probes as one problem


@functools.cache
def aimed(name: str) -> Learned:
    return Learned(name, dataset(side_by_side([log("bandit", 1000), log("aim", 2000)])), 2000)


@pytest.mark.parametrize("name", [*quick(CRITICS), "bc"])
def test_bandit(name):
    best, middle = np.array([0.5, -0.25]), np.zeros(2)
    action = aimed(name).act([[1, 1, 0, 0, 0]])[0]
    if name in CLONERS:
        assert np.abs(action - middle).max() < 0.15  # the mean of what was done
    else:
        assert np.linalg.norm(action - best) < 0.25 < np.linalg.norm(middle - best)


@pytest.mark.parametrize("name", [*quick(CRITICS), "bc"])
def test_the_policy_reads_the_observation(name):
    obs = np.random.default_rng(3).uniform(-1, 1, (200, 2)).astype(np.float32)
    action = aimed(name).act(np.concatenate([np.zeros((200, 2)), obs, np.ones((200, 1))], 1))
    error = np.square(action - 0.8 * obs[:, ::-1]).sum(1).mean()
    if name in CLONERS:
        assert error > 0.3  # acting alike everywhere gives .43 at best
    else:
        assert error < 0.12
        for i in range(2):
            assert np.corrcoef(action[:, i], obs[:, 1 - i])[0, 1] > 0.9


@pytest.mark.parametrize("name", [*some("discrete", CRITICS), "bc"])
@pytest.mark.slow
def test_arms(name):
    rows = log("arms", 900)
    found = learned(name, "arms", 800, 900)
    obs = np.array([[1.0, 0.0]], np.float32)
    if name in CRITICS:
        np.testing.assert_allclose(found.q(np.repeat(obs, 3, 0), np.arange(3)), [0, 1, 0.5], atol=0.1)
        assert found.act(obs).tolist() == [1]
    else:
        seen = Seen(jnp.asarray(obs), jnp.zeros(1))
        p = np.exp(found.algorithm.dist(found.cfg, found.replica(), seen, ()).log_probs())[0]
        np.testing.assert_allclose(p, np.bincount(rows["actions"]) / 900, atol=0.06)


@pytest.mark.parametrize("name", some("discrete", WEIGHTED))
@pytest.mark.slow
def test_chain(name):
    probe = get("chain")
    inner = probe.features[1:4]
    found = spread(name) if name in EXPECTILE else learned(name, "chain", 2000, 400)
    assert found.act(inner).tolist() == probe.best(inner).tolist()


# actions outside the data


def true_value(action: float) -> float:
    """Of always doing `action` in the trap: 1 + a without end, or -5 beyond the margin above 0."""
    return (1 + min(action, 0) if action <= MARGIN else -5.0) / (1 - DISCOUNT)


@pytest.mark.slow
@pytest.mark.parametrize("name", some("continuous", CRITICS))
def test_the_trap(name):
    rows = log("trap", 100)
    found = learned(name, "trap", 2000, 100)
    action = float(found.act(np.ones((1, 1)))[0, 0])
    logged, best = true_value(-0.5), true_value(0.0)
    if name in WEIGHTED:  # weights so sharp that they pick the best: a = -1/20
        assert true_value(action) > best - 0.15 * (best - logged) - 0.3
    assert true_value(action) > logged + 0.1 * (best - logged)
    q = found.q(rows["observations"], rows["actions"])
    assert q.max() < best + 0.3
    assert np.corrcoef(q, rows["actions"][:, 0])[0, 1] > 0.9


@pytest.mark.parametrize("name", [n for n in CRITICS if "alpha" in settings(n)])
@pytest.mark.slow
def test_a_learner_without_restraint_fails_the_trap(name):
    """The same learner with almost no weight on the data fails, so the test above can fail."""
    rows = log("trap", 100)
    found = Learned(name, dataset(rows), 2000, alpha=1e3, critic_layer_norm=False)  # which restrains by itself
    assert true_value(float(found.act(np.ones((1, 1)))[0, 0])) < 0
    assert found.q(rows["observations"], rows["actions"]).max() > true_value(0.0) + 0.3


@pytest.mark.slow
@pytest.mark.parametrize("name", some("discrete", WEIGHTED))
def test_the_discrete_trap(name):
    probe = get("trap_discrete")
    best = tabular.solve(probe.mdp, DISCOUNT, probe.support)
    found = learned(name, "trap_discrete", 2500, 200)
    action = found.act(probe.features)
    assert probe.support[np.arange(8), action].all()
    got = tabular.value(probe.mdp, np.eye(4)[action], DISCOUNT).v @ probe.mdp.start
    assert got > best.v @ probe.mdp.start - 0.15
    rows = log("trap_discrete", 50)
    state = np.abs(rows["observations"] - probe.features.T).argmin(1)
    q = found.q(rows["observations"], rows["actions"])
    assert (q < best.q[state, rows["actions"]] + 0.3).all()


# expectiles of values


def exact_expectiles(probe, behaviour: np.ndarray, tau: float) -> np.ndarray:
    """V(s) = the tau-expectile of Q(s, a) over the logged actions, Q = r + discount P V: by fixed-point iteration."""
    mdp, v = probe.mdp, np.zeros(probe.mdp.states)
    for _ in range(200):
        q = mdp.reward + DISCOUNT * (mdp.transition * ~mdp.terminal) @ v
        for s in range(mdp.states):

            def defect(m, q=q, s=s):
                d = q[s] - m
                return (behaviour[s] * np.where(d < 0, 1 - tau, tau) * d).sum()

            lo, hi = q[s].min() - 1e-9, q[s].max() + 1e-9
            v[s] = 0.0 if mdp.terminal[s] else optimize.brentq(defect, lo, hi)
    return v


TAUS = (0.1, 0.5, 0.9)


@functools.cache
def spread(name: str) -> Learned:
    """The chain at three expectiles, in one program."""
    return Learned(name, dataset(log("chain", 1500)), 2500, {"expectile": list(TAUS)})


@pytest.mark.slow
@pytest.mark.parametrize("name", takes("discrete", EXPECTILE))
def test_expectiles_order_values_and_one_half_is_the_logging_policy(name):
    probe = get("chain")
    found = spread(name)
    inner = probe.features[1:4]
    v = np.stack([found.v(inner, i) for i in range(3)])
    assert (np.diff(v, axis=0) > 0.02).all()
    behaviour = np.full((5, 2), 0.5)
    policy = tabular.value(probe.mdp, behaviour, DISCOUNT).v
    np.testing.assert_allclose(exact_expectiles(probe, behaviour, 0.5), policy, atol=1e-6)
    np.testing.assert_allclose(v[1], policy[1:4], atol=0.05)
    # elsewhere the critic sees one outcome at a time, but averages them before V takes its expectile
    for i in (0, 2):
        np.testing.assert_allclose(v[i], exact_expectiles(probe, behaviour, TAUS[i])[1:4], atol=0.07)


# choosing what to clone


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["continuous", "discrete"])
@pytest.mark.parametrize("name", FILTERED)
def test_cloning_the_best_trajectories_beats_cloning_all(name, kind):
    rng = np.random.default_rng(0)
    obs = rng.uniform(-1, 1, (600, 2)).astype(np.float32)
    good = rng.random(600) < 0.3
    aim = np.where(good[:, None], 0.8 * obs[:, ::-1], -0.8 * obs[:, ::-1])
    if kind == "continuous":
        action = np.clip(aim + 0.1 * rng.normal(size=aim.shape), -1, 1).astype(np.float32)
        reward = -np.square(action - 0.8 * obs[:, ::-1]).sum(1)
    else:
        action = (aim[:, 0] > 0).astype(int)
        reward = (action == (obs[:, 1] > 0)).astype(float)
    ends = np.ones(600, bool)
    data = Dataset.from_arrays(
        obs, action, reward, ends, ~ends, obs, action_bounds=(-1.0, 1.0) if kind == "continuous" else None
    )
    test = rng.uniform(-1, 1, (300, 2)).astype(np.float32)

    def score(found: Learned) -> float:
        a = found.act(test)
        if kind == "continuous":
            return -float(np.square(a - 0.8 * test[:, ::-1]).sum(1).mean())
        return float((a == (test[:, 1] > 0)).mean())

    plain = [n for n in CLONERS if n not in FILTERED and set(settings(n)) < set(settings(name))]
    assert plain
    some = score(Learned(name, data, 1000, keep=0.25))
    assert some > (-0.05 if kind == "continuous" else 0.9)
    for other in plain:
        assert some > score(Learned(other, data, 1000)) + 0.3
