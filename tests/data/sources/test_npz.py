"""NPZ files: the form follows from the keys, or must be given."""

import numpy as np
import pytest

from holdfast.core.errors import UserError
from holdfast.data import load_dataset
from support.datasets import (
    ogbench_trajectories,
    write_columns,
)


def test_an_unclear_npz_is_refused(tmp_path):
    path = write_columns(tmp_path / "a.npz", ogbench_trajectories() | {"rewards": np.zeros(7)})
    with pytest.raises(UserError, match="--form d4rl or --form ogbench"):
        load_dataset(path)
    assert load_dataset(path, form="ogbench").lengths.tolist() == [3, 2]
    assert load_dataset(path, form="d4rl").terminations.sum() == 1  # the file's last row is never used
