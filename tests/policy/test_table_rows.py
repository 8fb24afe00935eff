"""A policy of a table takes rows and answers with labels, with the bits of training."""

import numpy as np
import polars as pl
import pytest

from holdfast.core.errors import UserError
from holdfast.data.sources import load_dataset
from holdfast.policy.policy import Policy
from holdfast.runs.settings import Settings
from holdfast.training.run import train

FRAME = pl.DataFrame(
    {
        "x": np.linspace(-1, 1, 60),
        "kind": ["a", "b", "c"] * 20,
        "item": ["left", "right"] * 30,
        "open": ["left", "left|right"] * 30,
        "pay": np.arange(60.0) % 7,
    }
)
ROLES = {
    "observations": {"x": {"missing": "mean"}, "kind": "one-hot"},
    "action": "item",
    "reward": "pay",
    "legal": "open",
}


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    folder = tmp_path_factory.mktemp("run")
    FRAME.write_parquet(folder / "log.parquet")
    options = {"columns": ROLES}
    return train(
        "bc",
        folder / "log.parquet",
        data_options=options,
        steps=2,
        config={"hidden": (8,)},
        out=folder / "run",
        progress=False,
    )


def test_rows_get_labels(run):
    policy = run.policy()
    data = load_dataset(FRAME, columns=policy.table)
    rows = data.observation_rows
    mask = data.columns["action_mask"][rows]
    expected = np.array(["left", "right"])[policy(data.observations[rows], mask=mask)]
    assert policy(FRAME).tolist() == expected.tolist()
    assert policy(FRAME.to_dicts()).tolist() == expected.tolist()
    assert policy(FRAME.to_dict(as_series=False)).tolist() == expected.tolist()
    assert policy(FRAME.row(1, named=True)) == expected[1]
    assert policy(FRAME.row(0, named=True)) == "left"  # the only legal one
    chances = policy.probabilities(FRAME.row(1, named=True))
    assert np.array_equal(chances, policy.probabilities(data.observations[rows[1]], mask=mask[1]))
    row = FRAME.row(1, named=True)
    np.testing.assert_allclose(policy.log_prob(row, "right"), np.log(chances[1]), atol=1e-6)
    assert policy({**row, "x": None}, mask=[True, False]) == "left"
    for changes, message in {
        "kind": ({"kind": "d"}, "the column 'kind' is 'd' in row 0, expected one of a, b, c"),
        "x": ({"x": "high"}, "the column 'x' is 'high' in row 0, expected a number"),
        "open": ({"open": "up"}, "unknown legal action"),
    }.values():
        with pytest.raises(UserError, match=message):
            policy({**row, **changes})
    with pytest.raises(UserError, match="unknown column of the rows 'kind'"):
        policy({"x": 1.0})
    with pytest.raises(UserError, match=r"the action in row 0 is 'up', expected an action of the training data"):
        policy.log_prob(row, "up")


def test_the_schema_is_saved_with_the_policy_and_the_run(run):
    policy = Policy.load(run.path)
    assert policy.table == load_dataset(FRAME, columns=ROLES).table
    assert Settings.read(run.path / "config.json").data_options["columns"]["reward"] == "pay"
