"""Rows of several steps, from logs and from the ring, against a plain walk through the stream."""

import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from holdfast.core.contract import NStep, Transitions, Treatment
from holdfast.core.noise import Noise, Tape
from holdfast.core.spec import Batch, Spec
from holdfast.data.dataset import Dataset
from holdfast.data.feed import buffer, readers, row_sources, sampler, treatment
from holdfast.data.feed import columns as cols
from holdfast.parts import targets

DISCOUNT = 0.9
SPEC = Spec((2,), 1)
add = jax.jit(buffer.add)


def walked(stream, i, n):
    """Reward, next observation, end and bootstrap of the row at `i` of one environment's stream, step by step."""
    total, factor = 0.0, 1.0
    for j in range(i, min(i + n, len(stream))):
        row = stream[j]
        total += factor * row["reward"]
        factor *= DISCOUNT
        if row["terminated"] or row["truncated"]:
            break
    return total, row["next"], row["terminated"], factor * (1 - row["terminated"])


def streams(rng, envs, steps):
    """Rows of each environment, their observation telling environment and time; ends at random, of both kinds."""
    made = []
    for e in range(envs):
        rows = []
        for t in range(steps):
            ended, cut = rng.random() < 0.15, rng.random() < 0.1
            row = {"obs": [e, t], "next": [e, t + 1], "reward": float(rng.normal())}
            rows.append(row | {"terminated": bool(ended), "truncated": bool(cut and not ended)})
        made.append(rows)
    return made


@functools.partial(jax.jit, static_argnums=2)
def spans(source, index, n):
    """The spans that start at `index`, and their targets for a next value of 1."""
    found = readers.spans(source, index, n, DISCOUNT)
    return found, targets.td(found, jnp.ones(len(index)), DISCOUNT)


def require_walk(source, index, made, n):
    """The spans that start at `index` of the source equal a walk through the streams `made`."""
    found, y = spans(source, index, n)
    for i in range(len(index)):
        e, t = np.asarray(found.obs[i]).astype(int)
        total, following, terminated, bootstrap = walked(made[e], t, n)
        assert np.asarray(found.next_obs[i]).tolist() == following
        assert float(found.reward[i]) == pytest.approx(total, abs=1e-5)
        assert bool(found.terminated[i]) == terminated
        assert float(y[i]) == pytest.approx(total + bootstrap, abs=1e-5)


def step_rows(made, t):
    """The rows of all environments at one step, as the ring takes them."""
    rows = [env[t] for env in made]
    stack = lambda name: np.array([r[name] for r in rows], np.float32)  # noqa: E731
    action = np.zeros((len(rows), 1), np.float32)
    fields = (stack("obs"), action, stack("reward"), stack("next"), stack("terminated"), stack("truncated"))
    return Batch(*fields)


@pytest.mark.parametrize(("envs", "capacity", "steps"), [(1, 50, 30), (3, 24, 40), (3, 25, 60), (2, 5, 11), (1, 1, 4)])
@pytest.mark.parametrize("n", [1, 3, 7])
def test_spans_in_a_ring_equal_a_walk_with_and_without_wrap_around(envs, capacity, steps, n):
    rng = np.random.default_rng(envs * capacity + n)
    made = streams(rng, envs, steps)
    ring = buffer.empty(buffer.blank_row(SPEC), capacity, envs)
    for t in range(steps):
        ring = add(ring, step_rows(made, t), np.ones(envs, bool))
    require_walk(ring, np.arange(int(ring.size)), made, n)


def log(rng, lengths):
    episodes = []
    for e, length in enumerate(lengths):
        seen = np.stack([np.full(length + 1, float(e)), np.arange(length + 1.0)], 1)
        last = np.arange(length) == length - 1
        episodes.append(
            {
                "observations": seen,
                "actions": np.zeros((length, 1), np.float32),
                "rewards": rng.normal(size=length),
                "terminations": last & (e % 3 == 0),
                "truncations": last & (e % 3 == 1),  # and every third breaks off without a flag
            }
        )
    return Dataset.from_episodes(episodes, action_bounds=(-1.0, 1.0))


@pytest.mark.parametrize("n", [1, 2, 5])
def test_spans_in_a_log_equal_a_walk_and_stop_at_every_end(n):
    data = log(np.random.default_rng(n), (4, 1, 3, 9, 2, 6))
    columns = jax.tree.map(jnp.asarray, cols.prepare(data, treatment.fit(Treatment(), data), ("next_action",)))
    made = [[] for _ in range(data.n_episodes)]
    for i, e in enumerate(data.episode_of):
        t = len(made[e])
        row = {"reward": float(data.rewards[i]), "next": [float(e), t + 1.0]}
        made[e].append(row | {"terminated": bool(data.terminations[i]), "truncated": bool(data.truncations[i])})
    inside = np.flatnonzero(np.isin(data.episode_of, [1, 3, 4]))
    require_walk(columns, np.arange(data.n_steps), made, n)
    require_walk(row_sources.View(columns, jnp.asarray(inside)), np.arange(12), made, n)


@pytest.mark.slow
def test_a_logged_discount_enters_step_by_step():
    columns = cols.Columns(
        np.arange(5.0, dtype=np.float32)[:, None],
        np.arange(4, dtype=np.int32),
        np.zeros((4, 1), np.float32),
        np.array([1, 10, 100, 1000], np.float32),
        np.zeros(4, np.float32),
        np.zeros(4, np.float32),
        extra={"discount": np.array([0.5, 0.25, 1, 1], np.float32)},
    )
    found = readers.spans(jax.tree.map(jnp.asarray, columns), jnp.arange(2), 2, DISCOUNT)
    np.testing.assert_allclose(found.reward, [1 + 0.9 * 0.5 * 10, 10 + 0.9 * 0.25 * 100])
    y = targets.td(found, jnp.array([2.0, 2.0]), DISCOUNT)
    np.testing.assert_allclose(y, [5.5 + 0.9**2 * 0.125 * 2, 32.5 + 0.9**2 * 0.25 * 2], rtol=1e-6)


@pytest.mark.slow
def test_rows_of_one_step_are_the_plain_ones():
    ring = buffer.empty(buffer.blank_row(SPEC), 20)
    made = streams(np.random.default_rng(0), 1, 12)
    for t in range(12):
        ring = buffer.add(ring, step_rows(made, t), np.ones(1, bool))
    needs = NStep(1)
    tape = {"rows_online": np.arange(12)}
    one = sampler.sample({"online": ring}, {"online": 1.0}, 12, needs, Tape(tape), discount=DISCOUNT)
    plain = sampler.sample({"online": ring}, {"online": 1.0}, 12, Transitions(), Tape(tape))
    for name in ("obs", "reward", "next_obs", "terminated", "truncated"):
        np.testing.assert_array_equal(getattr(one, name), getattr(plain, name))
    np.testing.assert_array_equal(one.discount, 1)


def test_a_cut_ends_what_is_open_in_every_environment():
    ring = buffer.empty(buffer.blank_row(SPEC), 7, 2)
    made = streams(np.random.default_rng(3), 2, 5)
    for t in range(5):
        ring = add(ring, step_rows(made, t), np.ones(2, bool))
    before = np.asarray(ring.rows.truncated)
    after = np.asarray(jax.jit(buffer.cut)(ring).rows.truncated)
    newest = [(int(ring.cursor) - 1 - k) % 7 for k in range(2)]
    for slot in range(7):
        if slot in newest:
            assert after[slot] + float(ring.rows.terminated[slot]) == 1
        else:
            assert after[slot] == before[slot]


@pytest.mark.slow
def test_a_proportional_mix_draws_every_row_alike():
    ring = buffer.empty(buffer.blank_row(SPEC), 30)
    made = streams(np.random.default_rng(1), 1, 6)
    for t in range(6):
        ring = buffer.add(ring, step_rows(made, t), np.ones(1, bool))
    data = log(np.random.default_rng(2), (3, 3))
    columns = jax.tree.map(jnp.asarray, cols.prepare(data, treatment.fit(Treatment(), data)))
    sources = {"online": ring, "data": columns, "view": row_sources.View(columns, jnp.arange(2))}
    noise = Noise(jax.random.PRNGKey(0))
    batch = jax.jit(lambda s: sampler.sample(s, "proportional", 6000, Transitions(), noise))(sources)
    found = np.asarray(batch.reward)
    wanted = [*(row["reward"] for row in made[0]), *data.rewards]
    counts = [int(np.isclose(found, value, atol=1e-6).sum()) for value in wanted]
    assert sum(counts) == 6000
    assert min(counts) > 400  # 500 each, standard deviation 21
    assert max(counts) < 600
    empty = buffer.empty(buffer.blank_row(SPEC), 30)
    only = sampler.sample({"online": empty, "data": columns}, "proportional", 100, Transitions(), noise)
    assert all(np.isclose(data.rewards, value, atol=1e-6).any() for value in np.asarray(only.reward))


@pytest.mark.slow
@pytest.mark.parametrize("mix", [{"data": 0.5, "online": 0.5}, "proportional"])
def test_collected_rows_have_the_discount_1_where_the_log_has_its_own(mix):
    made = streams(np.random.default_rng(1), 1, 6)
    ring = buffer.empty(buffer.blank_row(SPEC), 6)
    for t in range(6):
        ring = buffer.add(ring, step_rows(made, t), np.ones(1, bool))
    data = log(np.random.default_rng(2), (3, 3))
    data = dataclasses.replace(data, columns={"discount": np.full(6, 0.25)})
    columns = jax.tree.map(jnp.asarray, cols.prepare(data, treatment.fit(Treatment(), data), ("discount",)))
    batch = sampler.sample({"data": columns, "online": ring}, mix, 40, Transitions(), Noise(jax.random.PRNGKey(0)))
    logged = np.isclose(np.asarray(batch.reward)[:, None], data.rewards[None], atol=1e-6).any(1)
    assert 0 < logged.sum() < 40
    np.testing.assert_array_equal(batch.discount, np.where(logged, 0.25, 1))


@pytest.mark.slow
def test_a_preloaded_ring_holds_the_rows_and_their_ends():
    data = log(np.random.default_rng(5), (3, 2, 4))
    columns = jax.tree.map(jnp.asarray, cols.prepare(data, treatment.fit(Treatment(), data)))
    index = np.array([0, 1, 2, 5, 6, 7, 8])  # the first and the last episode
    for stride in (1, 2):
        ring = row_sources.preload(buffer.empty(buffer.blank_row(data.spec), 9, stride), columns, index)
        assert int(ring.size) == 7
        np.testing.assert_allclose(np.asarray(ring.rows.reward)[:7], data.rewards[index], rtol=1e-6)
        ended = np.asarray(ring.rows.terminated + ring.rows.truncated)[:7]
        assert ended.max() == 1
        assert ended.tolist() == ([0, 0, 1, 0, 0, 0, 1] if stride == 1 else [1] * 7)
    few = row_sources.preload(buffer.empty(buffer.blank_row(data.spec), 4), columns, index)
    np.testing.assert_allclose(few.rows.reward, data.rewards[5:], rtol=1e-6)
