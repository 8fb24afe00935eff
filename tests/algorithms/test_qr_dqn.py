"""QR-DQN: its loss against numbers worked by hand, its updates against recorded ones."""

import pytest

from holdfast.algorithms import qr_dqn
from support.formulas import array, near
from support.q_learning import replay_d3rlpy


def test_the_quantile_loss():
    # z = (0, 1), one row, targets (0, 3); taus .25, .75. Huber: 0 of 0, 2.5 of 3, .5 of 1, 1.5 of 2
    # z_0: u = 0, 3: weights .25: (0 + .25 * 2.5) / 2 = .3125
    # z_1: u = -1, 2: weights |.75 - 1|, .75: (.25 * .5 + .75 * 1.5) / 2 = .625
    near(qr_dqn.quantile_loss(array([0, 1]), array([0, 3])), 0.9375)


@pytest.mark.usefixtures("x64")
def test_recorded_updates():
    replay_d3rlpy(qr_dqn.algorithm, "qr_dqn", {})
