"""The study of policies on a log with two groups of actions."""

import numpy as np
import pytest

from holdfast import UserError
from holdfast.studies import multimodal


def test_the_energy_distance():
    """Of {0, 2} and {1, 3} on a line: 2 (1 + 3 + 1 + 1) / 4 - 2 - 2; of equal sets it is not positive."""
    x, y = np.array([[0.0], [2.0]]), np.array([[1.0], [3.0]])
    assert multimodal.energy_distance(x, y) == pytest.approx(2 * 6 / 4 - 2 - 2)
    rng = np.random.default_rng(0)
    same = multimodal.energy_distance(rng.normal(size=(400, 2)), rng.normal(size=(400, 2)))
    other = multimodal.energy_distance(rng.normal(size=(400, 2)), 1 + rng.normal(size=(400, 2)))
    assert abs(same) < 0.02 < 0.5 < other


def test_the_log_has_two_groups():
    data = multimodal.log(multimodal.Args(rows=400))
    state = data.observations[data.observation_rows, 0]
    along = (data.actions * multimodal.centre(state)).sum(1) / multimodal.RADIUS
    assert np.abs(np.abs(along) - multimodal.RADIUS).max() < 0.4
    assert (along > 0).mean() == pytest.approx(multimodal.SHARE, abs=0.07)


def test_what_is_compared():
    """Draws of the truth have a distance near 0; a policy in the middle is in the valley."""
    rng = np.random.default_rng(0)
    truth = np.stack([multimodal.draws(np.full(200, s), rng) for s in multimodal.STATES])
    distance, valley, positive = multimodal.compared(truth, rng)
    assert abs(distance) < 0.05
    assert valley < 0.01
    assert positive == pytest.approx(multimodal.SHARE, abs=0.05)
    distance, valley, _ = multimodal.compared(0.1 * rng.normal(size=truth.shape), rng)
    assert distance > 0.3
    assert valley > 0.95


@pytest.mark.slow
def test_flows_and_diffusion_keep_both_groups(tmp_path):
    found = multimodal.multimodal(multimodal.Args(seeds=1))
    at = {row[0]: row for row in found.rows}
    gaussian = at["Gaussian (bc)"]
    for label in ("flow (flow_bc)", "diffusion (idql)"):
        assert at[label][2] < gaussian[2] / 3
        assert at[label][3] < gaussian[3] / 3


def test_mistakes():
    with pytest.raises(UserError, match="rows is 5, expected at least 100; samples is 1"):
        multimodal.multimodal(multimodal.Args(rows=5, samples=1))
