"""Modules of the user as networks of rows."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from holdfast import UserError
from holdfast.core.networks import GivenNetwork, Networks
from holdfast.core.noise import Noise
from holdfast.core.spec import ArraySpec, Spec
from holdfast.parts import losses, nets
from holdfast.parts.action_values import action_values

NOISE = Noise(jax.random.PRNGKey(0))


class Affine(eqx.Module):
    """tanh(W x + b) with a matrix that is easy to compute by hand; one row at a time."""

    weight: jax.Array
    bias: jax.Array
    activation: object  # a function, as a leaf

    def __init__(self, key, inputs, outputs):
        self.weight = jax.random.normal(key, (outputs, inputs))
        self.bias = jnp.arange(outputs, dtype=float)
        self.activation = jnp.tanh

    def __call__(self, x):
        assert x.ndim == 1
        return self.activation(self.weight @ x + self.bias)


def pooled(key, shape):
    """An encoder of images by hand: the mean of each row of pixels, weighed."""

    class Pool(eqx.Module):
        scale: jax.Array

        def __call__(self, image):
            assert image.shape == shape
            return self.scale * image.mean((1, 2))

    return Pool(jnp.full(shape[0], 2.0))


def spec(build, role="all", **more):
    return Spec(**{"obs": (3,), "action": 2, **more}, networks=Networks(network=((role, GivenNetwork("m:f", build)),)))


def test_a_critic_by_hand():
    critic = nets.critic(NOISE, spec(Affine), (8,))
    rng = np.random.default_rng(0)
    obs, action = rng.normal(size=(4, 3)), rng.normal(size=(6, 4, 2))
    q = critic(jnp.asarray(obs), jnp.asarray(action))
    weight = np.asarray(critic.nets.arrays.weight)
    assert weight.shape == (2, 1, 5)
    assert not np.array_equal(weight[0], weight[1])
    both = np.concatenate([np.broadcast_to(obs, (6, 4, 3)), action], -1)
    np.testing.assert_allclose(q, np.tanh(np.einsum("rbi,ei->erb", both, weight[:, 0])), rtol=1e-5)
    np.testing.assert_allclose(losses.squared_weights(critic.nets), np.square(weight).sum(), rtol=1e-6)
    slope = jax.grad(lambda net: net(obs, action[0]).sum())(critic)
    assert np.abs(slope.nets.arrays.weight).min() > 0


def test_the_structure_is_that_of_the_builder():
    """A builder that makes new functions gives equal structures; another builder gives another one."""

    def first(key, inputs, outputs):
        return eqx.nn.MLP(inputs, outputs, 4, 1, activation=lambda x: x, key=key)

    def second(key, inputs, outputs):
        return eqx.nn.MLP(inputs, outputs, 4, 1, activation=lambda x: 2 * x, key=key)

    made = [jax.tree.structure(nets.value(NOISE, spec(build), (8,))) for build in (first, first, second)]
    assert made[0] == made[1]
    assert made[0] != made[2]


def test_mixed_estimates_of_action_values():
    """The mixture of a user's outputs is that of the estimates."""
    values = action_values(NOISE, spec(Affine, action=3, discrete=True), (8,), 4)
    obs = jnp.ones((5, 3))
    weights = jnp.asarray([0.1, 0.2, 0.3, 0.4])
    np.testing.assert_allclose(values.mix(weights)(obs)[..., 0], values(obs) @ weights, rtol=1e-6)
    np.testing.assert_allclose(values.mean(obs), values(obs).mean(-1), rtol=1e-5)


def test_an_encoder_by_hand():
    seen = ArraySpec((2, 4, 3), "uint8")
    value = nets.value(NOISE, Spec(seen, 2, encoder=GivenNetwork("m:pooled", pooled)), (8,))
    image = np.random.default_rng(0).integers(255, size=(7, 2, 4, 3), dtype=np.uint8)
    assert value.net.encoder.width == 2
    np.testing.assert_allclose(value.net.encoder(image), 2 * image.mean((2, 3)) / 255, rtol=1e-5)
    assert value(image).shape == (7,)
    vectors = nets.value(NOISE, Spec((3,), 2, encoder=GivenNetwork("m:f", lambda key, shape: Affine(key, 3, 6))), ())
    assert vectors.net.net.layers[0].weight.shape == (6, 1)


def test_named_choices():
    networks = Networks("silu", "post", critic_hidden=(4, 5))
    made = nets.critic(NOISE, Spec((3,), 2, networks=networks), (8,), norm="pre")
    assert (made.nets.activation, made.nets.norm, made.nets.widths) == ("silu", "post", (4, 5))
    actor = nets.deterministic_policy(NOISE, Spec((3,), 2, networks=networks), (8,), activation="tanh")
    assert (actor.net.activation, actor.net.widths) == ("silu", (8,))
    keep = nets.dropout(NOISE, "drop", 0.5, (6,), made.nets)
    assert [factors.shape for factors in keep] == [(6, 4), (6, 5)]


class Counter(eqx.Module):
    """An array that no optimiser can move."""

    count: jax.Array

    def __call__(self, x):
        return x[:1] * self.count


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (lambda key, inputs, outputs: Counter(jnp.zeros(1, int)), "array of type int32"),
        (lambda key, inputs, outputs: eqx.nn.Lambda(lambda x: x[:1]), "no arrays to learn"),
        (lambda key, inputs, outputs: eqx.nn.Lambda(lambda x: (x, x)), "gives tuple"),
        (lambda key: None, "fails on one input of shape .3.: TypeError"),
    ],
)
def test_refusals(build, message):
    with pytest.raises(UserError, match=message):
        nets.value(NOISE, spec(build), (8,))


def test_a_name_alone_builds_nothing():
    with pytest.raises(UserError, match="may not import"):
        nets.value(NOISE, Spec((3,), 2, networks=Networks(network=(("all", "os:system"),))), (8,))
