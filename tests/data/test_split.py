"""Splits by whole episodes: one rule for data sets, for views of a run and for tests."""

import numpy as np
import pytest

from holdfast.algorithms import registry
from holdfast.core.errors import UserError
from holdfast.data import load_dataset
from holdfast.data.split import by_episodes
from holdfast.runs.presets import resolve
from holdfast.runs.settings import Settings
from holdfast.training.plan import task


@pytest.fixture(scope="module")
def data():
    return load_dataset("bundled/pendulum-mixed")


def test_parts_are_whole_episodes_and_share_none(data):
    parts = by_episodes(data, {"train": 0.8, "holdout": 0.2}, seed=1)
    assert sorted([*parts["train"], *parts["holdout"]]) == list(range(data.n_episodes))
    assert len(parts["holdout"]) == round(0.2 * data.n_episodes)
    some = by_episodes(data, {"holdout": 0.2}, seed=1)["holdout"]
    assert len(some) == len(parts["holdout"])


def test_every_part_gets_an_episode_or_the_split_is_refused(data):
    few = data.select([0, 1, 2])
    parts = by_episodes(few, {"a": 0.01, "b": 0.98, "c": 0.01}, seed=0)
    assert [len(part) for part in parts.values()] == [1, 1, 1]
    with pytest.raises(UserError, match="1 episodes are too few to split into train, holdout"):
        by_episodes(data.select([0]), {"train": 0.8, "holdout": 0.2}, seed=0)
    for wrong in ({"a": 0.0}, {"a": 0.8, "b": 0.3}, {"a": -0.1, "b": 0.5}, {}):
        with pytest.raises(UserError, match="shares"):
            by_episodes(data, wrong, seed=0)


def test_the_data_set_and_the_views_of_a_run_have_the_same_parts(data):
    shares = {"train": 0.8, "holdout": 0.2}
    whole = data.split(shares, seed=3)
    episodes = by_episodes(data, shares, seed=3)
    for part, chosen in episodes.items():
        np.testing.assert_array_equal(whole[part].rewards, data.select(chosen).rewards)
    views = views_of(data, shares, 3)
    for part in shares:
        rows = np.isin(data.episode_of, episodes[part])
        np.testing.assert_array_equal(views[part].index, np.flatnonzero(rows))


def views_of(data, shares, seed):
    algorithm = registry.get("bc")
    cfg, treatment = resolve(algorithm, None, None, None)
    settings = Settings("bc", None, 10, {}, treatment._asdict())
    problem = task.task_of(settings, algorithm, cfg, data)
    return problem.sources(problem.columns(set(), None), shares, seed)
