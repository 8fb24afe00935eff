"""DQN: its updates against recorded ones."""

import pytest

from holdfast.algorithms import dqn
from support.q_learning import replay_d3rlpy


@pytest.mark.usefixtures("x64")
def test_recorded_updates():
    replay_d3rlpy(dqn.algorithm, "dqn_double", {})
