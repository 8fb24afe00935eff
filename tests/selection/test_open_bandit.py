"""Two logs of one shop, by a uniform policy and by Thompson sampling.

`open_bandit.npz` has four columns of the small release of the Open Bandit Dataset, campaign "women" (ZOZO, CC BY 4.0;
Saito et al. 2020, arXiv:2008.07146): item, position, click and propensity of 10,000 impressions of each policy.
"""

from pathlib import Path

import numpy as np
import pytest

import holdfast
from holdfast.data.dataset import Dataset

ITEMS = 46
FILE = Path(__file__).parent / "open_bandit.npz"


@pytest.fixture(scope="module")
def columns() -> dict[str, np.ndarray]:
    with np.load(FILE) as file:
        return dict(file)


def log_of(columns: dict[str, np.ndarray], policy: str) -> Dataset:
    position = np.eye(3, dtype=np.float32)[columns[f"{policy}_position"] - 1]
    return Dataset.from_arrays(
        position,
        columns[f"{policy}_item"].astype(np.int64),
        columns[f"{policy}_click"].astype(float),
        np.ones(len(position), bool),
        next_observations=position,
        columns={"behaviour_log_prob": np.log(columns[f"{policy}_propensity"].astype(float))},
        id=policy,
    )


def thompson(columns: dict[str, np.ndarray]):
    """How often Thompson sampling showed each item at each position."""
    shares = np.zeros((3, ITEMS))
    np.add.at(shares, (columns["bts_position"] - 1, columns["bts_item"].astype(int)), 1)
    shares /= shares.sum(1, keepdims=True)
    return lambda obs: shares[obs.argmax(1)]


def test_the_value_of_one_policy_from_the_log_of_the_other(columns):
    data = log_of(columns, "random")
    policy = thompson(columns)
    found = holdfast.ope(policy, data, return_range=(0.0, 1.0))
    logged = columns["bts_click"].mean()
    weight = ITEMS * policy(data.observations[data.observation_rows])[np.arange(len(data)), data.actions]
    assert found["pdis"].value == pytest.approx((weight * data.rewards).mean(), rel=1e-5)
    assert found["wis"].value == pytest.approx((weight * data.rewards).sum() / weight.sum(), rel=1e-5)
    # OBP's InverseProbabilityWeighting and SelfNormalizedInverseProbabilityWeighting on the same rows
    assert found["pdis"].value == pytest.approx(0.005805691674810352, rel=1e-12)
    assert found["wis"].value == pytest.approx(0.005833036087191038, rel=1e-12)
    for name in ("pdis", "wis", "sn_pdis", "dr", "wdr"):
        assert found[name].interval.low < logged < found[name].interval.high, name
    low, high = found.guarantee
    assert 0 < low < logged < high < 0.1
    assert found.support.last > 500


def test_weights_that_rest_on_two_impressions_are_refused(columns):
    def uniform(obs):
        return np.full((len(obs), ITEMS), 1 / ITEMS)

    found = holdfast.ope(uniform, log_of(columns, "bts"))
    for name in ("pdis", "wis", "dr"):
        assert found[name].value is None
        assert "2.1 effective episodes of 10000" in found[name].refused[0]
    assert found["fqe"].value is not None
