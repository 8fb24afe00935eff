"""Encoders of images: their published shapes, the convolutions, and networks behind them."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from holdfast.core.errors import UserError
from holdfast.core.noise import Noise
from holdfast.core.spec import ArraySpec, Spec, named
from holdfast.parts import encoders, nets
from holdfast.parts.action_values import action_values
from holdfast.parts.layers import raised

NOISE = Noise(jax.random.PRNGKey(3))
SMALL = Spec(ArraySpec((7, 9, 2), "uint8"), 3, discrete=True)


def images(shape, *lead, seed=0):
    return jnp.asarray(np.random.default_rng(seed).integers(0, 256, (*lead, *shape)), jnp.uint8)


@jax.jit
def run(net, *given):
    """The outputs of a network, compiled."""
    return net(*given)


@jax.jit
def convolved(x, conv):
    """XLA's convolution with the weights of `conv`, whose rows are in the order of `patches`."""
    channels = x.shape[-1]
    rows = (conv.kernel, conv.kernel, channels)
    one_hot = jnp.eye(np.prod(rows)).reshape(-1, *rows)
    order = encoders.patches(one_hot, conv.kernel, conv.stride)[:, 0, 0]  # pixel of the kernel -> row of the weights
    weight = (order @ conv.layer.weight).reshape(*rows, -1)
    border = [(conv.padding, conv.padding)] * 2
    how = ("NHWC", "HWIO", "NHWC")
    found = jax.lax.conv_general_dilated(x, weight, (conv.stride,) * 2, border, dimension_numbers=how)
    return found + raised(conv.layer.bias, 4)


@pytest.mark.parametrize(("kernel", "stride", "padding"), [(8, 4, 0), (4, 2, 0), (3, 1, 0), (3, 1, 1)])
def test_convolutions_are_those_of_xla(kernel, stride, padding):
    conv = encoders._convolution(NOISE, kernel, 2, 5, stride, padding)
    x = encoders.floats(images((13, 18, 2), 3))
    np.testing.assert_allclose(run(conv, x), convolved(x, conv), atol=2e-6)


@pytest.mark.parametrize("size", [(6, 7), (5, 4), (1, 2)])
def test_maxima_are_those_of_xla(size):
    x = jax.random.normal(jax.random.PRNGKey(0), (2, *size, 3))
    window = ((1, 3, 3, 1), (1, 2, 2, 1), [(0, 0), (1, 1), (1, 1), (0, 0)])
    np.testing.assert_array_equal(encoders.halved(x), jax.lax.reduce_window(x, -jnp.inf, jax.lax.max, *window))


def parameters(tree):
    return sum(x.size for x in jax.tree.leaves(tree))


def test_published_sizes():
    """84 x 84 x 4: 3136 features of DQN's convolutions (Mnih et al. 2015); 3872 of IMPALA's, with 15 convolutions."""
    nature = jax.eval_shape(lambda: encoders.nature(NOISE, (84, 84, 4)))
    assert nature.width == 7 * 7 * 64
    assert parameters(nature) == (8 * 8 * 4 + 1) * 32 + (4 * 4 * 32 + 1) * 64 + (3 * 3 * 64 + 1) * 64
    impala = jax.eval_shape(lambda: encoders.impala(NOISE, (84, 84, 4)))
    assert impala.width == 11 * 11 * 32
    convolutions = [(4, 16), *[(16, 16)] * 4, (16, 32), *[(32, 32)] * 9]
    assert len(convolutions) == 15
    assert parameters(impala) == sum((9 * a + 1) * b for a, b in convolutions)


@pytest.mark.slow
@pytest.mark.parametrize(("make", "size"), [(encoders.nature, (36, 44, 3)), (encoders.impala, (7, 9, 2))])
def test_features_of_any_leading_axes(make, size):
    encoder = make(NOISE, size)
    seen = images(size, 2, 3)
    found = run(encoder, seen)
    assert found.shape == (2, 3, encoder.width)
    assert found.dtype == jnp.float32
    np.testing.assert_allclose(found[1, 2], run(encoder, seen[1, 2]), atol=1e-5)
    assert jnp.std(found, (0, 1)).max() > 0  # the images matter


@pytest.mark.slow
def test_an_ensemble_has_an_encoder_for_each_network():
    spec = SMALL._replace(discrete=False)
    critic = nets.critic(NOISE, spec, (8,), 2)
    obs = images(spec.obs_shape, 5)
    action = jnp.ones((4, 5, 3)) * jnp.linspace(-1, 1, 4)[:, None, None]  # several for each image
    q = run(critic, obs, action)
    assert q.shape == (2, 4, 5)
    np.testing.assert_allclose(q[:, 2], run(critic, obs, action[2]), atol=1e-5)
    assert not np.allclose(q[0], q[1])


def test_the_mean_of_estimates_behind_an_encoder():
    values = action_values(NOISE, SMALL, (8,), 4)
    obs = images(SMALL.obs_shape, 5)
    mean = jax.jit(lambda values: values.mean(obs))(values)
    np.testing.assert_allclose(mean, run(values, obs).mean(-1), atol=1e-5)


def test_arrays_by_name_have_an_encoder_each():
    spec = Spec(named(image=ArraySpec((7, 9, 2), "uint8"), speed=ArraySpec((3,))), 2)
    encoder = encoders.encoder(NOISE, spec)
    obs = {"image": images((7, 9, 2), 4), "speed": jnp.ones((4, 3))}
    found = run(encoder, obs)
    assert found.shape == (4, encoder.width)
    np.testing.assert_array_equal(found[:, -3:], 1)


def test_the_encoder_is_chosen_by_the_size():
    large = Spec(ArraySpec((36, 40, 1), "uint8"), 2)
    assert encoders.chosen("auto", large) == "nature"
    assert encoders.chosen("auto", SMALL) == "impala"
    assert encoders.chosen("impala", large) == "impala"
    assert encoders.chosen("auto", Spec((3,), 2)) is None
    with pytest.raises(UserError, match="nature needs images of at least 36 x 36 pixels, these have 7 x 9"):
        encoders.chosen("nature", SMALL)
    with pytest.raises(UserError, match=r"unknown encoder .*'natur'.*nature"):
        encoders.chosen("natur", SMALL)
    with pytest.raises(UserError, match="observations are vectors here"):
        encoders.chosen("nature", Spec((3,), 2))
