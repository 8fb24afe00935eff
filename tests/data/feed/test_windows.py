"""Windows of steps that end at the drawn row, against a walk backwards over the rows."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from holdfast.core.contract import Transitions, Treatment, Windows
from holdfast.core.noise import Noise
from holdfast.core.spec import Batch, Spec
from holdfast.data import Dataset
from holdfast.data.feed import buffer, readers, row_sources, sampler, treatment
from holdfast.data.feed import columns as cols

SPEC = Spec((2,), 1)
LENGTHS = (4, 1, 6)
add = jax.jit(buffer.add)
windows = jax.jit(readers.windows, static_argnums=(2, 3))


def logged(extra=("timestep",)) -> cols.Columns:
    """Three episodes; observation t of episode e is (e, t)."""
    episodes = []
    for e, n in enumerate(LENGTHS):
        last = np.arange(n) == n - 1
        episodes.append(
            {
                "observations": np.stack([np.full(n + 1, float(e)), np.arange(n + 1.0)], 1),
                "actions": np.full((n, 1), e / 10, np.float32),
                "rewards": np.arange(n) + 10.0 * e,
                "terminations": last & (e != 2),
                "truncations": last & (e == 2),
            }
        )
    data = Dataset.from_episodes(episodes)
    return jax.tree.map(jnp.asarray, cols.prepare(data, treatment.fit(Treatment(), data), extra))


def require_window(batch, i, stream, t, length, held=None):
    """Row i of a batch of windows is the window of `stream` that ends at step t; `held`: its first step in the ring."""
    first = t
    while first > 0 and t - first < length - 1 and not stream[first - 1]["ended"] and (held is None or first > held):
        first -= 1
    count = t - first + 1
    wanted = [stream[first]["obs"]] * (length - count) + [row["obs"] for row in stream[first : t + 1]]
    assert np.asarray(batch.obs[i]).tolist() == [list(obs) for obs in wanted]
    assert np.asarray(batch.valid[i]).tolist() == [False] * (length - count) + [True] * count


@pytest.mark.parametrize("length", [1, 3, 8])
@pytest.mark.parametrize("view", [False, True])
def test_windows_of_logged_rows_are_cut_at_episode_starts(length, view):
    columns = logged()
    stream = [{"obs": (e, t), "ended": t == n - 1} for e, n in enumerate(LENGTHS) for t in range(n)]
    index = np.arange(len(stream))
    source = columns
    if view:  # the last two episodes
        index = np.arange(LENGTHS[0], len(stream))
        source = row_sources.View(columns, jnp.asarray(index))
    found = windows(source, jnp.arange(len(index)), length)
    for i, row in enumerate(index):
        require_window(found, i, stream, row, length)
    np.testing.assert_array_equal(found.timestep, np.asarray(found.obs)[..., 1])
    np.testing.assert_array_equal(found.reward[:, -1], columns.reward[index])
    assert found.next_obs.shape == (len(index), length, 2)


@pytest.mark.parametrize("source", ["columns", "ring"])
@pytest.mark.parametrize("anchor", ["first", "full"])
def test_windows_that_begin_at_the_drawn_row(anchor, source):
    """ "first" ends with the episode and is padded on the left; "full" moves back so that it is full if it can be."""
    length = 3
    columns = logged()
    given = columns
    if source == "ring":
        rows = jax.jit(row_sources.rows)(columns, jnp.arange(sum(LENGTHS)))
        row = jax.tree.map(lambda x: np.asarray(x)[0], rows)
        given = add(buffer.empty(row, 20), rows, np.ones(sum(LENGTHS), bool))
    found = windows(given, jnp.arange(sum(LENGTHS)), length, anchor)
    i = 0
    for e, n in enumerate(LENGTHS):
        for t in range(n):
            end = min(t + length, n)
            first = t if anchor == "first" else max(0, end - length)
            padding = length - (end - first)
            wanted = [first] * padding + [*range(first, end)]
            assert np.asarray(found.obs[i]).tolist() == [[e, step] for step in wanted], (e, t)
            assert np.asarray(found.valid[i]).tolist() == [False] * padding + [True] * (end - first), (e, t)
            i += 1
    np.testing.assert_array_equal(found.timestep, np.asarray(found.obs)[..., 1])


@pytest.mark.parametrize(("envs", "capacity", "steps"), [(1, 50, 30), (3, 24, 40), (3, 25, 60), (2, 5, 11), (1, 1, 4)])
@pytest.mark.parametrize("length", [1, 3, 7])
def test_windows_in_a_ring_equal_a_walk_with_and_without_wrap_around(envs, capacity, steps, length):
    rng = np.random.default_rng(capacity + length)
    streams = [[{"obs": (e, t), "kind": rng.choice(3, p=(0.75, 0.15, 0.1))} for t in range(steps)] for e in range(envs)]
    for stream in streams:
        for row in stream:
            row["ended"] = row["kind"] > 0
    ring = buffer.empty(buffer.blank_row(SPEC), capacity, envs)
    for t in range(steps):
        rows = [stream[t] for stream in streams]
        obs = np.array([row["obs"] for row in rows], np.float32)
        kind = np.array([row["kind"] for row in rows])
        zeros = np.zeros(envs, np.float32)
        new = Batch(obs, zeros[:, None], zeros, obs, (kind == 1).astype(np.float32), (kind == 2).astype(np.float32))
        ring = add(ring, new, np.ones(envs, bool))
    held = {tuple(row) for row in np.asarray(ring.rows.obs).astype(int)[: int(ring.size)].tolist()}
    oldest = [min((t for of, t in held if of == e), default=0) for e in range(envs)]
    found = windows(ring, jnp.arange(int(ring.size)), length)
    for i in range(int(ring.size)):
        e, t = np.asarray(found.obs[i, -1]).astype(int)
        require_window(found, i, streams[e], t, length, oldest[e])


@pytest.mark.parametrize("mix", [{"data": 0.5, "online": 0.5}, "proportional"])
@pytest.mark.parametrize("slices", [1, 2])
def test_windows_in_mixes(mix, slices):
    columns = logged(())
    ring = buffer.empty(buffer.blank_row(SPEC), 20)
    obs = np.stack([np.full(6, 9.0), np.arange(6.0)], 1).astype(np.float32)
    zeros = np.zeros(6, np.float32)
    ring = add(ring, Batch(obs, zeros[:, None], zeros, obs, zeros, zeros), np.ones(6, bool))
    needs = Windows(3, batches=slices)
    noise = Noise(jax.random.PRNGKey(0))
    batch = jax.jit(lambda s: sampler.sample(s, mix, 40, needs, noise))({"data": columns, "online": ring})
    lead = (40,) if slices == 1 else (slices, 40)
    assert batch.obs.shape == (*lead, 3, 2)
    assert batch.reward.shape == batch.valid.shape == (*lead, 3)
    steps = np.asarray(batch.obs)[..., 1]
    valid = np.asarray(batch.valid)
    np.testing.assert_array_equal(valid.sum(-1), np.minimum(steps[..., -1] + 1, 3))
    np.testing.assert_array_equal(np.diff(steps, axis=-1), valid[..., :-1])
    assert set(np.asarray(batch.obs)[..., 0].ravel()) == {0, 1, 2, 9}
    if mix != "proportional":
        online = batch.of("online")
        assert online.obs.shape == (*lead[:-1], 20, 3, 2)
        assert (np.asarray(online.obs)[..., 0] == 9).all()
        assert (np.asarray(batch.of("data").obs)[..., 0] != 9).all()


@pytest.mark.slow
def test_windows_of_a_growing_log_and_of_written_columns():
    columns = logged(())
    noise = Noise(jax.random.PRNGKey(0))
    sources = {"data": row_sources.grown(columns, 4, 1)}
    written = {"number": jnp.arange(sum(LENGTHS))}
    batch = sampler.sample(sources, {"data": 1.0}, 60, Windows(4), noise, written)
    number = np.asarray(batch.number)
    assert number.max() == sum(LENGTHS) - 5
    np.testing.assert_array_equal(np.diff(number, axis=1), np.asarray(batch.valid)[:, :-1])
    plain = sampler.sample(sources, {"data": 1.0}, 60, Transitions(), noise, written)
    np.testing.assert_array_equal(plain.number, number[:, -1])
    np.testing.assert_array_equal(plain.obs, np.asarray(batch.obs)[:, -1])
