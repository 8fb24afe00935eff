"""A log that grows during training: only its written rows are drawn."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from holdfast.core.contract import Transitions
from holdfast.core.errors import UserError
from holdfast.data import load_dataset
from holdfast.data.feed import row_sources, sampler
from holdfast.data.feed.columns import prepare
from holdfast.data.feed.treatment import untreated
from holdfast.training.run import train
from support.logs import ENV
from support.small_runs import tiny


def test_only_written_rows_of_a_growing_log_are_drawn():
    data = load_dataset("bundled/pendulum-mixed").select([0])
    columns = jax.tree.map(jnp.asarray, prepare(data, untreated(data.observation_space, data.action_space), [], None))
    draw = jax.jit(
        lambda key, left, rate: (
            sampler.sample(
                {"data": row_sources.grown(columns, left, rate)}, {"data": 1.0}, 512, Transitions(), _Noise(key)
            ).obs
        ),
        static_argnums=2,
    )
    rows = data.observations[:-1].astype(np.float32)
    for left, rate, there in ((199, 1.0, 1), (150, 1.0, 50), (0, 1.0, 200), (10, 2.5, 175), (1000, 1.0, 1)):
        found = np.asarray(draw(jax.random.PRNGKey(0), left, rate))
        index = {int(np.abs(rows - x).sum(1).argmin()) for x in found}
        assert max(index) < there
        assert len(index) > 0.9 * there * (1 - np.exp(-512 / there)) - 1


class _Noise:
    def __init__(self, key):
        self.key = key

    def integers(self, name, shape, high):
        return jax.random.randint(self.key, shape, 0, high)


def test_growing_logs_are_refused_for_methods_that_read_the_whole_log(tmp_path):
    with pytest.raises(UserError, match="expected at most 33576 updates"):
        tiny(tmp_path / "a", growing=1.0, steps=33_577)
    with pytest.raises(UserError, match="reads the log as a whole"):
        tiny(tmp_path / "b", "plas", growing=1.0, config={"hidden": (8,), "vae_hidden": (8,)})
    with pytest.raises(UserError, match="--growing is -1"):
        tiny(tmp_path / "c", growing=-1.0)
    with pytest.raises(UserError, match="--growing needs a data set"):
        train("ddpg", env=ENV, growing=1.0, out=tmp_path / "d", steps=10)
    with pytest.raises(UserError, match="--keep-policies keeps"):
        tiny(tmp_path / "e", keep_policies=True, evaluate=False)
    assert not list(tmp_path.iterdir())
