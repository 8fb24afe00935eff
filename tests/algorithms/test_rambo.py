"""RAMBO: the mixture density, the advantage and the adversary's loss by hand, and which way the model is moved."""

from __future__ import annotations

import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from holdfast.algorithms import rambo
from holdfast.core.noise import Noise
from holdfast.dynamics import adversary, ensemble
from support.formulas import Fixed, array, batch, critics, normal_density, same

pytestmark = pytest.mark.usefixtures("x64")


class Known(ensemble.Gaussian):
    """Members with means 0, 1 and 5 and deviation 1 for both outputs."""

    def __call__(self, x, apart=False):
        mean = jnp.asarray([0.0, 1.0, 5.0])[:, None, None] * jnp.ones((3, len(x), 2))
        return mean, jnp.zeros_like(mean)


def test_the_density_is_that_of_the_mixture_of_the_elites():
    net = Known(None, jnp.zeros(2), jnp.zeros(2))
    y = array([0.5, 0.0])
    found = adversary.mixture_log_prob(net, jnp.asarray([0, 1]), jnp.zeros((1, 2)), y)
    each = [math.exp(normal_density(0.5, m) + normal_density(0.0, m)) for m in (0, 1)]
    same(found, [math.log(np.mean(each))])


def test_the_advantage_is_normalised():
    class At(Fixed):
        def mode(self):
            return self.action

    rows = batch(action=array([0.5], [0.0]))
    critic = critics([1, 1], [1, 2])
    found = adversary.advantage(critic, lambda obs: At(jnp.zeros((2, 1))), rows, 0.5)
    raw = np.array([1 + 0.5 * 3 - 1.5, 2 - 2.0])  # the second row ends
    same(found, (raw - raw.mean()) / (raw.std() + 1e-6), 1e-6)


@pytest.mark.slow
def test_the_adversary_makes_good_outcomes_less_likely():
    noise = Noise(jax.random.PRNGKey(0))
    net = ensemble.gaussian(noise, 1, 1, (4,), 2)
    x, y = noise.normal("x", (8, 2)), noise.normal("y", (8, 2))
    own = (jnp.stack([x, x]), jnp.stack([y, y]))
    adv = jnp.where(jnp.arange(8) < 4, 1.0, -1.0)
    elites = jnp.arange(2)

    @jax.jit
    def moved(net):
        def loss(net):
            return adversary.adversary_loss(net, elites, x, y, adv, own, 1e3, (0.0, 0.0), 0.0)[0]

        slope = jax.grad(loss)(net)
        return jax.tree.map(lambda w, g: w - 1e-6 * g, net, slope)

    def gap(net):
        density = adversary.mixture_log_prob(net, elites, x, y)
        return density[:4].mean() - density[4:].mean()

    assert gap(moved(net)) < gap(net)


def test_phases_of_rambo():
    assert [phase.name for phase in rambo.phases(rambo.RAMBO())] == ["model", "cloning", "policy"]
    assert [phase.name for phase in rambo.phases(rambo.RAMBO(cloning_steps=0))] == ["model", "policy"]
