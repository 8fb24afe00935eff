"""Data sets that the tests in this folder share."""

import pytest

from holdfast.data.dataset import Dataset
from support.datasets import masked_dataset, pendulum_dataset, two_episodes


@pytest.fixture(scope="module")
def pendulum() -> Dataset:
    return pendulum_dataset()


@pytest.fixture
def masked() -> Dataset:
    return masked_dataset()


@pytest.fixture
def log() -> Dataset:
    return two_episodes()
