"""Layers over rows [..., in]: products, normalisation and MLPs, with gradient rules that XLA runs fast.

Weights are [in, out]. An ensemble is one network whose leaves have a leading axis [E].
"""

from __future__ import annotations

from collections.abc import Callable

import jax
import jax.numpy as jnp

from ..core.noise import Noise
from ..core.tree import PyTree, field

Pair = tuple[jax.Array, jax.Array]

ACTIVATIONS: dict[str, Callable[[jax.Array], jax.Array]] = {
    "relu": jax.nn.relu,
    "tanh": jnp.tanh,
    "elu": jax.nn.elu,
    "gelu": jax.nn.gelu,  # in its tanh approximation
    "mish": jax.nn.mish,
    "silu": jax.nn.silu,
    "swish": jax.nn.swish,
}


NARROW = 32  # outputs up to which x^T slope is formed as (slope^T x)^T: a product with few columns is slow on CPUs


@jax.custom_vjp
def product(x: jax.Array, weight: jax.Array) -> jax.Array:
    """x W: [..., in] and [in, out] to [..., out].

    The gradient of W is formed as [in, out]. JAX's own rule forms its transpose, and under `vmap` (critics, replicas)
    XLA carries that transposition into every read of the gradient, which made an update of IQL a quarter slower. The
    price: no forward-mode derivatives (`jax.jvp`) through a network; reverse mode works, any number of times.
    """
    return _rows(x, weight)


def _rows(x: jax.Array, weight: jax.Array) -> jax.Array:
    return _dot(x, weight, (x.ndim - 1,), (0,)) if _rounded() else x @ weight


def _rounded() -> bool:
    """Whether factors of products are rounded to bfloat16. JAX's setting of that name alone has no effect on CPUs."""
    return jax.config.jax_default_matmul_precision == "bfloat16"  # type: ignore[attr-defined]


def _dot(x: jax.Array, y: jax.Array, of_x: tuple[int, ...], of_y: tuple[int, ...]) -> jax.Array:
    """The product of two arrays, summed over these axes. The sums have the type of the arrays."""
    axes = ((of_x, of_y), ((), ()))
    if not _rounded():
        return jax.lax.dot_general(x, y, axes)
    if jax.default_backend() == "cpu":  # XLA has no product of larger bfloat16 arrays with sums in float32 there
        return jax.lax.dot_general(jax.lax.reduce_precision(x, 8, 7), jax.lax.reduce_precision(y, 8, 7), axes)
    kind = jnp.result_type(x, y)
    return jax.lax.dot_general(x.astype(jnp.bfloat16), y.astype(jnp.bfloat16), axes, preferred_element_type=kind)


def _product(x: jax.Array, weight: jax.Array) -> tuple[jax.Array, Pair]:
    return _rows(x, weight), (x, weight)


def _product_gradients(kept: Pair, slope: jax.Array) -> tuple[jax.Array, jax.Array]:
    x, weight = kept
    lead = tuple(range(x.ndim - 1))
    onto = _dot(slope, weight, (x.ndim - 1,), (1,))
    if weight.shape[1] <= NARROW:
        return onto, _dot(slope, x, lead, lead).T
    return onto, _dot(x, slope, lead, lead)


product.defvjp(_product, _product_gradients)


def floats(x: jax.Array) -> jax.Array:
    """Bytes (uint8) as floats in [0, 1]; other types as they are."""
    return x.astype(jnp.result_type(float)) / 255 if x.dtype == jnp.uint8 else x


def raised(x: jax.Array, ndim: int) -> jax.Array:
    """`x` with leading axes of length 1, `ndim` axes in all."""
    return jax.lax.expand_dims(x, range(ndim - x.ndim))


class Linear(PyTree):
    """x W + b."""

    weight: jax.Array  # [in, out]
    bias: jax.Array  # [out]

    def __call__(self, x: jax.Array) -> jax.Array:
        return product(x, self.weight) + raised(self.bias, x.ndim)


def summed(x: jax.Array) -> jax.Array:
    """The sum over all axes but the last, taken by halves.

    XLA's reduction of the products of two arrays over their rows takes longer on a CPU than a layer does: with it, an
    update of TD3+BC with LayerNorm in its critics takes a quarter longer, one of ReBRAC two thirds.
    """
    x = x.reshape(-1, x.shape[-1])
    while len(x) > 1 and len(x) % 2 == 0:
        x = x[: len(x) // 2] + x[len(x) // 2 :]
    return x.sum(0)


@jax.custom_vjp
def scaled(x: jax.Array, scale: jax.Array, shift: jax.Array) -> jax.Array:
    """x * scale + shift: [..., n], [n] and [n] to [..., n], with the gradients of scale and shift by `summed`."""
    return x * raised(scale, x.ndim) + raised(shift, x.ndim)


def _scaled(x: jax.Array, scale: jax.Array, shift: jax.Array) -> tuple[jax.Array, Pair]:
    return scaled(x, scale, shift), (x, scale)


def _scaled_gradients(kept: Pair, slope: jax.Array) -> tuple[jax.Array, jax.Array, jax.Array]:
    x, scale = kept
    return slope * raised(scale, slope.ndim), summed(slope * x), summed(slope)


scaled.defvjp(_scaled, _scaled_gradients)


class LayerNorm(PyTree):
    """Normalisation over the last axis, with learned scale and shift."""

    weight: jax.Array
    bias: jax.Array
    eps: float = field(static=True, default=1e-6)

    def __call__(self, x: jax.Array) -> jax.Array:
        x = x - x.mean(-1, keepdims=True)
        x = x * jax.lax.rsqrt(jnp.square(x).mean(-1, keepdims=True) + self.eps)
        return scaled(x, self.weight, self.bias)


NORMS = ("none", "pre", "post", "first")  # positions of LayerNorm


class MLP(PyTree):
    """Dense layers; each hidden layer is followed by its activation.

    `norm` is the position of LayerNorm: before ("pre") or after ("post") every activation, before the first activation
    only ("first"), or "none". `activation` is one name, or one name per hidden layer, separated by spaces; the last
    name is that of all further layers.
    """

    layers: tuple[Linear, ...]
    norms: tuple[LayerNorm, ...]
    activation: str = field(static=True, default="relu")
    norm: str = field(static=True, default="none")

    @property
    def widths(self) -> tuple[int, ...]:
        """Widths of the hidden layers."""
        return tuple(layer.bias.shape[-1] for layer in self.layers[:-1])

    def __call__(self, x: jax.Array, keep: tuple[jax.Array, ...] = ()) -> jax.Array:
        """Rows [..., in] to [..., out]. `keep` holds dropout's factors for each hidden layer, see `dropout`."""
        return self.after_first(self.layers[0](x), keep)

    def after_first(self, x: jax.Array, keep: tuple[jax.Array, ...] = ()) -> jax.Array:
        """The rest, from the first layer's output on (before its activation)."""
        activations = [ACTIVATIONS[name] for name in self.activation.split()]
        for i, layer in enumerate(self.layers[1:]):
            x = self.norms[i](x) if self.norm == "pre" or (self.norm == "first" and i == 0) else x
            x = activations[min(i, len(activations) - 1)](x)
            x = self.norms[i](x) if self.norm == "post" else x
            x = x * keep[i] if keep else x
            x = layer(x)
        return x


def joint(net: MLP, obs: jax.Array, x: jax.Array, keep: tuple[jax.Array, ...] = ()) -> jax.Array:
    """`net`, which takes (observation, x) side by side, over obs [*rows, d] and x [..., *rows, k]: [..., *rows, out].

    Where x has more leading axes (several actions a state), what the first layer does with the observation is computed
    once a state.
    """
    if x.ndim == obs.ndim:
        return net(jnp.concatenate([obs, x], -1), keep)
    first, d = net.layers[0], obs.shape[-1]
    here = product(obs, first.weight[:d]) + raised(first.bias, obs.ndim)
    return net.after_first(raised(here, x.ndim) + product(x, first.weight[d:]), keep)


def dropout(
    noise: Noise, name: str, rate: float, lead: tuple[int, ...], hidden: tuple[int, ...]
) -> tuple[jax.Array, ...]:
    """Factors of inverted dropout for each hidden layer, [*lead, width]: 0, or 1 / (1 - rate) where a unit is kept."""
    if not rate:
        return ()
    masks = [noise.bernoulli(f"{name}_{i}", 1 - rate, (*lead, width)) for i, width in enumerate(hidden)]
    return tuple(mask.astype(jnp.result_type(float)) / (1 - rate) for mask in masks)


def members(nets: MLP, x: jax.Array) -> jax.Array:
    """Every network of an ensemble [E, ...] on the same rows [..., in]: [E, ..., out]."""
    return jax.vmap(lambda net: net(x))(nets)
