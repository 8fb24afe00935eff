"""Probes: what they claim to be the answer is the answer."""

from __future__ import annotations

import itertools

import gymnasium
import numpy as np
import pytest

from holdfast.core.errors import UserError
from holdfast.data.dataset import Dataset
from holdfast.environments import tabular
from holdfast.environments.gym.adapter import make_env
from holdfast.environments.gym.matching import spec_of
from holdfast.environments.probes import PROBES, collect, get

DISCOUNT = 0.9
TABULAR = [name for name in PROBES if get(name).mdp is not None]


def rollout_value(name: str, steps: int, episodes: int, best: bool) -> tuple[np.ndarray, np.ndarray]:
    """Starts [n, d] and discounted returns [n] of the best or the logging policy, true ends only, by playing."""
    probe, rng = get(name), np.random.default_rng(0)
    start = obs = probe.start(rng, episodes)
    total, alive = np.zeros(episodes), np.ones(episodes)
    for t in range(steps):
        action = probe.best(obs) if best else probe.behave(rng, obs)
        obs, reward, ended = probe.step(rng, obs, action)
        total += DISCOUNT**t * reward * alive
        alive = alive * ~ended
    return start, total


@pytest.mark.parametrize("name", list(PROBES))
def test_the_value_is_what_the_best_policy_gets(name: str) -> None:
    start, total = rollout_value(name, 150, 4000, best=True)
    wanted = get(name).value(start, DISCOUNT)
    for one in np.unique(start, axis=0)[:8]:
        rows = (start == one).all(1)
        error = 4 * total[rows].std() / np.sqrt(rows.sum()) + 1e-5
        assert abs(total[rows].mean() - wanted[rows][0]) < error, one


@pytest.mark.parametrize("name", list(PROBES))
def test_the_logging_policy_is_worse_or_every_action_is_as_good(name: str) -> None:
    start, logged = rollout_value(name, 150, 2000, best=False)
    best = get(name).value(start, DISCOUNT).mean()
    if name in ("constant", "delayed", "limit", "blind"):
        np.testing.assert_allclose(logged.mean(), best, rtol=1e-5)
    else:
        assert logged.mean() < best - 0.05


@pytest.mark.parametrize("name", TABULAR)
def test_solve_finds_the_best_of_all_policies(name: str) -> None:
    probe = get(name)
    mdp, support = probe.mdp, probe.support
    assert mdp is not None
    assert support is not None
    np.testing.assert_allclose(mdp.transition.sum(2), 1)
    np.testing.assert_allclose(mdp.start.sum(), 1)
    found = tabular.solve(mdp, DISCOUNT, support)
    v = np.zeros(mdp.states)
    for _ in range(500):  # value iteration, written apart
        q = mdp.reward + DISCOUNT * (mdp.transition * ~mdp.terminal) @ v
        v = np.where(mdp.terminal, 0, np.where(support, q, -np.inf).max(1))
    np.testing.assert_allclose(found.v, v, atol=1e-10)
    np.testing.assert_allclose(found.q, q, atol=1e-10)
    assert (found.policy[~support] == 0).all()


def test_solve_against_every_policy_of_the_chain() -> None:
    mdp = get("chain").mdp
    assert mdp is not None
    found = tabular.solve(mdp, DISCOUNT)
    every = [tabular.value(mdp, np.eye(2)[list(c)], DISCOUNT).v for c in itertools.product((0, 1), repeat=5)]
    np.testing.assert_allclose(found.v, np.max(every, 0), atol=1e-12)


def test_values_of_a_policy_by_hand() -> None:
    # state 0 pays 1 and stays with probability 1/2, else ends: V = 1 + 0.9 / 2 V, whatever follows the end
    mdp = tabular.Tabular(
        np.array([[[0.5, 0.5]], [[1.0, 0]]]), np.array([[1.0], [5]]), np.array([False, True]), np.array([1.0, 0])
    )
    found = tabular.value(mdp, np.ones((2, 1)), DISCOUNT)
    np.testing.assert_allclose(found.v, [1 / 0.55, 0])
    np.testing.assert_allclose(found.q[0], 1 / 0.55)
    np.testing.assert_allclose(tabular.occupancy(mdp, np.ones((2, 1)), DISCOUNT), [[1 / 0.55], [0]])


@pytest.mark.parametrize("name", TABULAR)
def test_occupancy_gives_the_policys_value(name: str) -> None:
    mdp = get(name).mdp
    assert mdp is not None
    policy = np.random.default_rng(0).dirichlet(np.ones(mdp.actions), mdp.states)
    value = mdp.start @ tabular.value(mdp, policy, DISCOUNT).v
    np.testing.assert_allclose((tabular.occupancy(mdp, policy, DISCOUNT) * mdp.reward).sum(), value)


def test_closed_forms() -> None:
    one = np.ones((1, 1), np.float32)
    assert get("constant").value(one, 0.9)[0] == pytest.approx(10)
    assert get("trap").value(one, 0.9)[0] == pytest.approx(10)
    assert get("delayed").value(np.eye(2), 0.9).tolist() == [0.9, 1.0]
    assert get("limit").value(np.array([[1.0], [-1.0]]), 0.9).tolist() == pytest.approx([1, 10])
    assert get("arms").value(np.eye(2), 0.9).tolist() == [1, 0]


def test_the_traps_hide_what_lies_beyond_the_data() -> None:
    assert collect(get("trap"), 50)["actions"].max() <= 0
    probe, rng = get("trap"), np.random.default_rng(0)
    reward = probe.step(rng, np.ones((4, 1)), np.array([[-0.5], [0.0], [0.25], [0.26]]))[1]
    assert reward.tolist() == [0.5, 1, 1, -5]
    probe = get("trap_discrete")
    assert probe.support is not None
    assert probe.mdp is not None
    data = collect(probe, 100)
    states = np.abs(data["observations"] - probe.features.T).argmin(1)  # type: ignore[union-attr]
    shown = np.zeros_like(probe.support)
    shown[states, data["actions"]] = True
    np.testing.assert_array_equal(shown, probe.support)
    assert probe.mdp.reward[~probe.support].max() == -5


@pytest.mark.parametrize("name", list(PROBES))
def test_logs_are_whole_episodes(name: str) -> None:
    probe = get(name)
    log = collect(probe, 30, seed=1)
    ends = log["terminations"] | log["truncations"]
    assert not (log["terminations"] & log["truncations"]).any()
    assert ends.sum() == 30
    assert ends[-1]
    inner = ~ends[:-1]
    np.testing.assert_array_equal(log["next_observations"][:-1][inner], log["observations"][1:][inner])
    data = Dataset.from_arrays(**log, max_episode_steps=probe.time_limit)
    assert data.n_episodes == 30
    assert data.spec.obs == probe.spec.obs
    assert data.discrete == probe.spec.discrete
    assert all(np.array_equal(a, b) for a, b in zip(log.values(), collect(probe, 30, seed=1).values(), strict=True))
    assert not all(np.array_equal(a, b) for a, b in zip(log.values(), collect(probe, 30, seed=2).values(), strict=True))


@pytest.mark.parametrize("name", list(PROBES))
def test_probes_are_gymnasium_environments(name: str) -> None:
    from gymnasium.utils.env_checker import check_env

    probe = get(name)
    env = make_env(probe.env_id)
    assert spec_of(env) == probe.spec
    check_env(env.unwrapped, skip_render_check=True)
    again = gymnasium.make(probe.env_id)
    for e in (env, again):
        e.action_space.seed(0)
    log = []
    for e in (env, again):
        obs, _ = e.reset(seed=3)
        rows, over = [obs], False
        for _ in range(60):
            obs, reward, ended, cut, _ = e.step(e.action_space.sample())
            rows += [obs, [reward]]
            over = ended or cut
            if over:
                break
        assert over
        log.append(np.concatenate(rows))
    np.testing.assert_array_equal(*log)


def test_an_unknown_probe_suggests_the_nearest() -> None:
    with pytest.raises(UserError, match="did you mean 'chain'"):
        get("chian")
