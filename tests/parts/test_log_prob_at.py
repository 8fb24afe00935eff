"""Densities at a number of deviations from the mean, against numbers worked by hand."""

import math

import pytest

from holdfast.parts.distributions import Normal, TanhNormal
from support.formulas import array, normal_density, same

pytestmark = pytest.mark.usefixtures("x64")


def test_densities_by_deviations_from_the_mean(run):
    dist, squashed = Normal(array(0.2), array(math.log(0.5))), TanhNormal(array(0.2), array(math.log(0.5)))
    for eps in (-3.0, 0.0, 2.0):
        u = 0.2 + 0.5 * eps
        same(run(lambda dist, e: dist.log_prob_at(e), dist, eps), normal_density(u, 0.2, 0.5))
        wanted = normal_density(u, 0.2, 0.5) - math.log(1 - math.tanh(u) ** 2)
        same(run(lambda dist, e: dist.log_prob_at(e), squashed, eps), wanted)
    action, log_prob = run(lambda dist, e: dist.sample_and_log_prob(e), dist, array(2.0))
    same(action, [1.0])  # 1.2, clipped; the density is that of what was clipped
    same(log_prob, normal_density(1.0, 0.2, 0.5))
