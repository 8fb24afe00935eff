"""The window over a large log: its rows follow from the step, and batches are uniform over them."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from holdfast.core.contract import NStep, Transitions
from holdfast.core.errors import UserError
from holdfast.core.noise import Noise
from holdfast.data import load_dataset
from holdfast.data.convert import convert
from holdfast.data.dataset import Dataset
from holdfast.data.feed import readers, row_sources, sampler
from holdfast.data.feed.columns import prepare
from holdfast.data.feed.treatment import untreated
from holdfast.data.feed.window import NotInMemory, Size, Wanted, Window
from holdfast.training.run import resume, train
from support.small_runs import TINY, Stops, require_same, tiny

EPISODES = 60
ROWS = 160  # of a window: 16 blocks of up to ten rows


def log() -> Dataset:
    """Episodes of 2 to 7 steps; the action and the observation tell the number of the transition."""
    made = []
    first = 0
    for e in range(EPISODES):
        n = 2 + e % 6
        number = np.arange(first, first + n)
        last = np.arange(n) == n - 1
        made.append(
            {
                "observations": np.append(number, first + n - 1 + 0.5)[:, None] / 1000,
                "actions": number[:, None] / 1000,
                "rewards": number.astype(float),
                "terminations": last,
                "truncations": last & False,
            }
        )
        first += n
    return Dataset.from_episodes(made)


def window(data: Dataset, columns=(), draws=1.0, batch=2, seed=0) -> Window:
    fitted = untreated(data.observation_space, data.action_space)
    return Window(data, Wanted(fitted, columns, 0.9), Size(ROWS, batch, draws), seed)


def there(view) -> np.ndarray:
    """The transitions of a view, by their rewards."""
    return np.asarray(view.columns.reward)[np.asarray(view.index)[: int(view.count)]].astype(int)


@pytest.fixture(scope="module")
def data():
    return log()


def test_a_window_has_whole_blocks_and_each_transition_once(data):
    seen = window(data)
    found = there(seen.at(0))
    assert len(set(found)) == len(found) <= ROWS
    inside = set(found.tolist())
    for e in range(EPISODES):
        steps = set(range(int(data.offsets[e]), int(data.offsets[e + 1])))
        assert steps <= inside or not steps & inside


def test_blocks_are_exchanged_one_after_another(data):
    seen = window(data)
    before = set(there(seen.at(0)).tolist())
    assert set(there(seen.at(seen.every - 1)).tolist()) == before
    after = set(there(seen.at(seen.every)).tolist())
    assert 0 < len(before - after) <= 10
    assert 0 < len(after - before) <= 10
    assert [*seen.pieces(1, 2 * seen.every + 1)] == [
        (1, seen.every), (seen.every, 2 * seen.every), (2 * seen.every, 2 * seen.every + 1)
    ]  # fmt: skip


def test_every_row_comes_once_a_pass(data):
    seen = window(data)
    passes = 3 * len(seen.blocks)
    numbers = [seen._block_of(i) for i in range(passes)]
    for k in range(3):
        one = numbers[k * len(seen.blocks) : (k + 1) * len(seen.blocks)]
        assert sorted(one, key=lambda b: b.start) == seen.blocks
    assert numbers[: len(seen.blocks)] != numbers[len(seen.blocks) : 2 * len(seen.blocks)]


def test_the_window_follows_from_the_step_alone(data):
    """A window that got there step by step, one that jumped, and one that went back."""
    walked, jumped = window(data), window(data)
    for step in range(0, 40 * walked.every, walked.every):
        found = walked.at(step)
        if step % (7 * walked.every) == 0:
            other = jumped.at(step)
            for one, two in zip(jax.tree.leaves(found), jax.tree.leaves(other), strict=True):
                np.testing.assert_array_equal(one, two)
    back = there(walked.at(3 * walked.every))
    np.testing.assert_array_equal(back, there(window(data).at(3 * walked.every)))
    assert set(there(window(data, seed=1).at(0)).tolist()) != set(there(window(data).at(0)).tolist())


def test_rows_have_their_own_columns(data):
    fitted = untreated(data.observation_space, data.action_space)
    names = ["mc_return", "next_action", "initial_obs", "timestep"]
    whole = prepare(data, fitted, names, 0.9)
    seen = window(data, names)
    for step in (0, 5 * seen.every):
        view = seen.at(step)
        found = row_sources.at(view, jnp.arange(int(view.count)))
        expected = row_sources.rows(jax.tree.map(jnp.asarray, whole), jnp.asarray(there(view)))
        for one, two in zip(jax.tree.leaves(found), jax.tree.leaves(expected), strict=True):
            np.testing.assert_array_equal(one, two)


def test_several_steps_do_not_reach_into_another_episode(data):
    view = window(data).at(0)
    fitted = untreated(data.observation_space, data.action_space)
    whole = jax.tree.map(jnp.asarray, prepare(data, fitted, (), 0.9))
    found = readers.spans(view, jnp.arange(int(view.count)), 3, 0.9)
    expected = readers.spans(whole, jnp.asarray(there(view)), 3, 0.9)
    np.testing.assert_allclose(found.reward, expected.reward, rtol=1e-6)
    np.testing.assert_array_equal(found.next_obs, expected.next_obs)


@pytest.mark.parametrize("needs", [Transitions(), NStep(2)])
def test_batches_are_uniform_over_the_window(data, needs):
    view = window(data).at(0)
    noise = Noise(jax.random.PRNGKey(0))
    batch = jax.jit(lambda v: sampler.sample({"data": v}, {"data": 1.0}, 20_000, needs, noise, discount=0.9))(view)
    count = np.bincount(np.rint(np.asarray(batch.action[:, 0]) * 1000).astype(int), minlength=data.n_steps)
    expected = 20_000 / int(view.count)
    assert set(np.flatnonzero(count)) == set(there(view).tolist())
    assert np.abs(count[count > 0] - expected).max() < 6 * np.sqrt(expected)


def test_small_logs_and_methods_that_read_the_whole_log_are_refused(tmp_path, data):
    with pytest.raises(UserError, match="less than 16 blocks of whole episodes"):
        tiny(tmp_path / "a", window=100_000)
    with pytest.raises(UserError, match="--window: filtered_bc reads the log as a whole"):
        tiny(tmp_path / "b", "filtered_bc", window=3200)
    with pytest.raises(UserError, match="reads all rows of the log before it starts"):
        NotInMemory("opti_dice").reward  # noqa: B018
    with pytest.raises(UserError, match="exclude each other"):
        tiny(tmp_path / "d", window=3200, growing=1.0)
    with pytest.raises(UserError, match="--window-draws is 0"):
        tiny(tmp_path / "e", window=3200, window_draws=0.0)
    with pytest.raises(UserError, match="--window needs a data set"):
        train("ddpg", env="Pendulum-v1", window=3200, out=tmp_path / "f", steps=10)
    assert not list(tmp_path.iterdir())


def test_a_run_with_a_window_resumes_to_the_same_bits(tmp_path):
    """400 steps an episode: 32 blocks of two episodes. The run stops between two exchanges."""
    values = {
        "steps": 240,
        "block": 70,
        "config": {**TINY},
        "window": 6400,
        "window_draws": 0.5,
        "seeds": 2,
        "eval_every": 120,
    }
    path = convert(load_dataset("bundled/pendulum-mixed"), tmp_path / "log.columns")
    whole = tiny(tmp_path / "whole" / "run", "bc", path, **values)
    with pytest.raises(KeyboardInterrupt):
        tiny(tmp_path / "cut" / "run", "bc", path, hooks=[Stops(2)], **values)
    resume(tmp_path / "cut" / "run", progress=False)
    require_same(tmp_path / "cut" / "run", whole.path)
