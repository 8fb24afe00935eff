"""Batches drawn from columns: the right neighbours, uniformly, from views and mixes."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import stats

from holdfast.core.contract import Transitions, Treatment
from holdfast.core.errors import UserError
from holdfast.core.noise import Noise, Tape
from holdfast.data.dataset import Dataset
from holdfast.data.feed import columns as cols
from holdfast.data.feed import treatment
from holdfast.data.feed.row_sources import View, rows, size
from holdfast.data.feed.sampler import sample, shares

LENGTHS = (3, 1, 4)  # the second episode is one step long
NOISE = Noise(np.array([0, 3], np.uint32))


def made(base: float = 0.0, masked: bool = True) -> cols.Columns:
    """Three episodes; observation t of episode e is (base + 10 e + t, e), so each row identifies itself."""
    episodes = []
    for e, n in enumerate(LENGTHS):
        seen = np.stack([base + 10.0 * e + np.arange(n + 1), np.full(n + 1, float(e))], 1)
        mask = np.zeros((n + 1, 3), bool)
        mask[np.arange(n + 1), np.arange(n + 1) % 3] = True
        last = np.arange(n) == n - 1
        episodes.append(
            {
                "observations": seen,
                "actions": (np.arange(n) + e) % 3,
                "rewards": base + 10.0 * e + np.arange(n),
                "terminations": last & (e != 2),
                "truncations": last & (e == 2),
                **({"action_mask": mask} if masked else {}),
            }
        )
    data = Dataset.from_episodes(episodes)
    fitted = treatment.fit(Treatment(), data)
    return jax.tree.map(jnp.asarray, cols.prepare(data, fitted, ("timestep", "next_action")))


def consistent(batch, base: float = 0.0) -> None:
    """Every row is a step of one episode: the observation after is the one that was logged after."""
    obs, following = np.asarray(batch.obs), np.asarray(batch.next_obs)
    np.testing.assert_array_equal(following[..., 0], obs[..., 0] + 1)
    np.testing.assert_array_equal(following[..., 1], obs[..., 1])
    np.testing.assert_array_equal(batch.reward, obs[..., 0])
    e = obs[..., 1].astype(int)
    t = (obs[..., 0] - base).astype(int) - 10 * e
    np.testing.assert_array_equal(batch.timestep, t)
    last = t == np.array(LENGTHS)[e] - 1
    np.testing.assert_array_equal(batch.action, (t + e) % 3)
    np.testing.assert_array_equal(batch.next_action, (np.where(last, t, t + 1) + e) % 3)
    np.testing.assert_array_equal(batch.terminated, last & (e != 2))
    np.testing.assert_array_equal(batch.truncated, last & (e == 2))
    if batch.mask is not None:
        np.testing.assert_array_equal(np.asarray(batch.mask).argmax(-1), t % 3)
        np.testing.assert_array_equal(np.asarray(batch.next_mask).argmax(-1), (t + 1) % 3)


@pytest.mark.parametrize("jit", [False, True])
def test_every_row_by_hand(jit):
    columns = made()
    assert size(columns) == 8
    get = jax.jit(rows) if jit else rows
    batch = get(columns, jnp.arange(8))
    # across the ends: 2 -> 3, then 10 -> 11 (one step), then 20 -> 21: never 2 -> 10
    assert batch.obs[:, 0].tolist() == [0, 1, 2, 10, 20, 21, 22, 23]
    assert batch.next_obs[:, 0].tolist() == [1, 2, 3, 11, 21, 22, 23, 24]
    assert batch.terminated.tolist() == [0, 0, 1, 1, 0, 0, 0, 0]
    assert batch.truncated.tolist() == [0, 0, 0, 0, 0, 0, 0, 1]
    consistent(batch)
    consistent(get(columns, jnp.asarray([[7, 0], [3, 3]])))


def test_without_masks():
    batch = rows(made(masked=False), jnp.arange(8))
    assert batch.mask is None
    assert batch.next_mask is None


def test_rows_are_drawn_uniformly_with_replacement():
    columns = made()
    draw = jax.jit(lambda n: sample({"data": columns}, {"data": 1.0}, 8000, Transitions(), n))
    batch = draw(NOISE)
    consistent(batch)
    start = np.asarray(batch.obs[:, 0]).astype(int)
    seen = np.bincount(start, minlength=24)[[0, 1, 2, 10, 20, 21, 22, 23]]
    assert seen.sum() == 8000
    assert stats.chisquare(seen).pvalue > 1e-3
    # successive draws have nothing to do with each other: 64 cells, equally full
    pairs = np.bincount(np.searchsorted([0, 1, 2, 10, 20, 21, 22, 23], start).reshape(-1, 2) @ [8, 1], minlength=64)
    assert stats.chisquare(pairs).pvalue > 1e-3
    assert not np.array_equal(draw(NOISE.fold(1)).obs, batch.obs)
    np.testing.assert_array_equal(draw(NOISE).obs, batch.obs)


def test_slices():
    columns = made()
    batch = jax.jit(lambda noise: sample({"data": columns}, {"data": 1.0}, 6, Transitions(batches=4), noise))(NOISE)
    assert batch.obs.shape == (4, 6, 2)
    assert batch.reward.shape == (4, 6)
    assert batch.mask.shape == (4, 6, 3)
    assert batch.timestep.shape == (4, 6)
    consistent(batch)
    assert len({tuple(row) for row in np.asarray(batch.reward).tolist()}) == 4  # the slices differ


def test_a_view_gives_its_own_episodes_only():
    columns = made()
    view = View(columns, jnp.asarray([0, 1, 2, 4, 5, 6, 7]))  # without episode 1
    assert size(view) == 7
    batch = jax.jit(lambda v, n: sample({"train": v}, {"train": 1.0}, 500, Transitions(), n))(view, NOISE)
    consistent(batch)
    assert set(np.asarray(batch.obs[:, 1]).tolist()) == {0.0, 2.0}
    assert len(set(np.asarray(batch.reward).tolist())) == 7  # and all of them
    one = sample({"v": View(columns, jnp.asarray([3]))}, {"v": 1.0}, 5, Transitions(), NOISE)
    assert one.obs[:, 0].tolist() == [10] * 5


@pytest.mark.parametrize("slices", [1, 3])
def test_a_mix_keeps_its_parts(slices):
    offline, online = made(), made(100.0)
    sources = {"data": offline, "online": View(online, jnp.asarray([0, 1, 2])), "unused": offline}
    draw = jax.jit(lambda s, n: sample(s, {"data": 3.0, "online": 1.0}, 8, Transitions(batches=slices), n))
    batch = draw(sources, NOISE)
    assert batch.parts == (("data", 0, 6), ("online", 6, 8))
    lead = () if slices == 1 else (slices,)
    assert batch.reward.shape == (*lead, 8)
    first, second = batch.of("data"), batch.of("online")
    assert first.obs.shape == (*lead, 6, 2)
    assert second.obs.shape == (*lead, 2, 2)
    assert second.mask.shape == (*lead, 2, 3)
    consistent(first)
    consistent(second, 100.0)
    assert (np.asarray(first.reward) < 100).all()
    assert (np.asarray(second.reward) >= 100).all()
    assert (np.asarray(second.reward) < 103).all()
    np.testing.assert_array_equal(np.concatenate([first.reward, second.reward], -1), batch.reward)
    with pytest.raises(KeyError, match="no rows of 'unused'"):
        batch.of("unused")


def test_sources_draw_apart():
    same = made()
    both = jax.jit(lambda noise: sample({"a": same, "b": same}, {"a": 1, "b": 1}, 400, Transitions(), noise))(NOISE)
    a, b = np.asarray(both.of("a").reward), np.asarray(both.of("b").reward)
    assert (a == b).mean() < 0.3  # 1 in 8 by chance


def test_a_recorded_draw():
    tape = Tape({"rows_data": np.array([2, 7])})
    batch = sample({"data": made()}, {"data": 1.0}, 2, Transitions(), tape)
    assert batch.next_obs[:, 0].tolist() == [3, 24]
    assert not tape.unused()


@pytest.mark.parametrize(
    ("mix", "batch_size", "wanted"),
    [
        ({"a": 1.0}, 256, {"a": 256}),
        ({"a": 0.5, "b": 0.5}, 256, {"a": 128, "b": 128}),
        ({"a": 0.5, "b": 0.5}, 5, {"a": 3, "b": 2}),  # 2.5 and 2.5: the first named
        ({"a": 2.0, "b": 1.0}, 10, {"a": 7, "b": 3}),  # 6.67 and 3.33
        ({"a": 0.95, "b": 0.05}, 256, {"a": 243, "b": 13}),  # 243.2 and 12.8
        ({"a": 1, "b": 1, "c": 1}, 4, {"a": 2, "b": 1, "c": 1}),
        ({"a": 0.99, "b": 0.01}, 10, {"a": 9, "b": 1}),  # .1 of a row: one
        ({"a": 0.9, "b": 0.06, "c": 0.04}, 10, {"a": 8, "b": 1, "c": 1}),
        ({"a": 0.9, "b": 1.3, "c": 1.8}, 4, {"a": 1, "b": 1, "c": 2}),  # .9, 1.3, 1.8: floors 0, 1, 1, then a and c
        ({"a": 1e-9, "b": 1.5, "c": 1.5}, 3, {"a": 1, "b": 1, "c": 1}),
        ({"a": 1.0, "b": 0.0}, 7, {"a": 7}),  # nothing of what has no share
        ({"a": 1.0, "b": 1.0, "c": 1.0}, 3, {"a": 1, "b": 1, "c": 1}),
    ],
)
def test_shares_by_largest_remainder(mix, batch_size, wanted):
    assert shares(mix, batch_size) == wanted


def test_shares_always_fill_the_batch():
    rng = np.random.default_rng(0)
    for _ in range(300):
        n = int(rng.integers(1, 6))
        mix = dict(zip("abcde", rng.dirichlet(np.full(n, 0.5)), strict=False))
        batch = int(rng.integers(n, 40))
        found = shares(mix, batch)
        assert sum(found.values()) == batch
        assert min(found.values()) >= 1
        exact = {k: v * batch for k, v in mix.items()}
        if min(exact.values()) >= 1:  # largest remainder never strays a whole row
            assert all(abs(found[k] - exact[k]) < 1 for k in mix)


def test_a_batch_smaller_than_its_mix_is_refused():
    with pytest.raises(UserError, match=r"batch_size is 1, but the mix has 2 sources \(a, b\)"):
        shares({"a": 0.5, "b": 0.5}, 1)
    assert shares({"a": 0.5, "b": 0.0}, 1) == {"a": 1}
