"""Networks over rows: they take [..., in], whatever leading axes the data has, and give [..., out].

Weights are [in, out]. An ensemble is one network whose leaves have a leading axis [E], built and run by `vmap`.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

from ..core.noise import Noise
from ..core.spec import Spec
from ..core.tree import PyTree, static_field
from .distributions import Categorical, Deterministic, Distribution, Normal, TanhNormal, take

ACTIVATIONS: dict[str, Callable] = {
    "relu": jax.nn.relu,
    "tanh": jnp.tanh,
    "elu": jax.nn.elu,
    "gelu": jax.nn.gelu,
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
    return x @ weight


def _product(x: jax.Array, weight: jax.Array) -> tuple[jax.Array, Any]:
    return x @ weight, (x, weight)


def _product_gradients(kept: Any, slope: jax.Array) -> tuple[jax.Array, jax.Array]:
    x, weight = kept
    lead = tuple(range(x.ndim - 1))
    onto = jax.lax.dot_general(slope, weight, (((x.ndim - 1,), (1,)), ((), ())))
    if weight.shape[1] <= NARROW:
        return onto, jax.lax.dot_general(slope, x, ((lead, lead), ((), ()))).T
    return onto, jax.lax.dot_general(x, slope, ((lead, lead), ((), ())))


product.defvjp(_product, _product_gradients)


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


def _scaled(x: jax.Array, scale: jax.Array, shift: jax.Array) -> tuple[jax.Array, Any]:
    return scaled(x, scale, shift), (x, scale)


def _scaled_gradients(kept: Any, slope: jax.Array) -> tuple[jax.Array, jax.Array, jax.Array]:
    x, scale = kept
    return slope * raised(scale, slope.ndim), summed(slope * x), summed(slope)


scaled.defvjp(_scaled, _scaled_gradients)


class LayerNorm(PyTree):
    """Normalisation over the last axis, with learned scale and shift."""

    weight: jax.Array
    bias: jax.Array
    eps: float = static_field(static=True, default=1e-6)

    def __call__(self, x: jax.Array) -> jax.Array:
        x = x - x.mean(-1, keepdims=True)
        x = x * jax.lax.rsqrt(jnp.square(x).mean(-1, keepdims=True) + self.eps)
        return scaled(x, self.weight, self.bias)


class MLP(PyTree):
    """Dense layers; each hidden one followed by its activation, with LayerNorm before ("pre") or after it ("post").

    "first" has LayerNorm before the activation of the first hidden layer alone. `activation` may name several, parted
    by spaces, for the hidden layers in their order; the last name stands for all that follow.
    """

    layers: tuple[Linear, ...]
    norms: tuple[LayerNorm, ...]
    activation: str = static_field(static=True, default="relu")
    norm: str = static_field(static=True, default="none")

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


def torch_uniform(noise: Noise, n_in: int, n_out: int) -> Linear:
    """Weights and biases uniform in +-1/sqrt(n_in): PyTorch's default, in which most published codes were tuned."""
    bound = n_in**-0.5
    return uniform_init(bound, bound)(noise, n_in, n_out)


def uniform_init(weight: float, bias: float) -> Callable:
    """Weights uniform in +-`weight`, biases in +-`bias`."""

    def make(noise: Noise, n_in: int, n_out: int) -> Linear:
        w = noise.uniform("weight", (n_in, n_out)) * 2 - 1
        b = noise.uniform("bias", (n_out,)) * 2 - 1
        return Linear(w * weight, b * bias)

    return make


def torch_weights(bias: float) -> Callable:
    """Weights as in `torch_uniform`, every bias equal to `bias`: the hidden layers of EDAC and ReBRAC."""

    def make(noise: Noise, n_in: int, n_out: int) -> Linear:
        return Linear(torch_uniform(noise, n_in, n_out).weight, jnp.full(n_out, bias, jnp.result_type(float)))

    return make


def orthogonal(gain: float = 2**0.5) -> Callable:
    """Orthogonal weights (rows or columns, whichever are fewer) times `gain`, zero biases."""

    def make(noise: Noise, n_in: int, n_out: int) -> Linear:
        tall, wide = max(n_in, n_out), min(n_in, n_out)
        q = _orthonormal(noise.normal("weight", (tall, wide)))
        return Linear(gain * (q if n_in >= n_out else q.T), jnp.zeros(n_out))

    return make


def xavier(heads: int = 1) -> Callable:
    """Glorot's uniform weights in +-sqrt(6 / (n_in + n_out)), zero biases; `heads` equal parts of n_out count apart."""

    def make(noise: Noise, n_in: int, n_out: int) -> Linear:
        return uniform_init((6 / (n_in + n_out // heads)) ** 0.5, 0.0)(noise, n_in, n_out)

    return make


def _orthonormal(a: jax.Array) -> jax.Array:
    """Gram-Schmidt, each column projected twice. Not `jnp.linalg.qr`: batched, it can hang XLA's CPU thread pool."""

    def column(i: jax.Array, q: jax.Array) -> jax.Array:
        v = a[:, i]
        for _ in range(2):
            v = v - q @ (q.T @ v)
        return q.at[:, i].set(v / jnp.linalg.norm(v))

    return jax.lax.fori_loop(0, a.shape[1], column, jnp.zeros_like(a))


def mlp(
    noise: Noise,
    sizes: tuple[int, ...],
    *,
    activation: str = "relu",
    norm: str = "none",
    eps: float = 1e-6,
    init: Callable = torch_uniform,
    last: Callable | None = None,
) -> MLP:
    """An MLP over `sizes` = (in, hidden ..., out); `last` initialises the output layer, where it differs."""
    pairs = list(itertools.pairwise(sizes))
    makers = [init] * (len(pairs) - 1) + [last or init]
    layers = tuple(make(noise.fold(i), a, b) for i, (make, (a, b)) in enumerate(zip(makers, pairs, strict=True)))
    normed = {"none": (), "first": sizes[1:-1][:1]}.get(norm, sizes[1:-1])
    norms = tuple(LayerNorm(jnp.ones(n), jnp.zeros(n), eps) for n in normed)
    return MLP(layers, norms, activation, norm)


def ensemble(make: Callable[[Noise], Any], noise: Noise, n: int) -> Any:
    """`n` networks initialised each by its own draw, leaves [n, ...]."""
    return jax.vmap(lambda i: make(noise.fold(i)))(jnp.arange(n))


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
    noise: Any, name: str, rate: float, lead: tuple[int, ...], hidden: tuple[int, ...]
) -> tuple[jax.Array, ...]:
    """Factors of inverted dropout for each hidden layer, [*lead, width]: 0, or 1 / (1 - rate) where a unit is kept."""
    if not rate:
        return ()
    masks = [noise.bernoulli(f"{name}_{i}", 1 - rate, (*lead, width)) for i, width in enumerate(hidden)]
    return tuple(mask.astype(jnp.result_type(float)) / (1 - rate) for mask in masks)


def members(nets: Any, x: jax.Array) -> jax.Array:
    """Every network of an ensemble [E, ...] on the same rows [..., in]: [E, ..., out]."""
    return jax.vmap(lambda net: net(x))(nets)


class Critic(PyTree):
    """An ensemble of E action values.

    Continuous: networks of (observation, action). Discrete: networks of the observation with one output an action.
    """

    nets: MLP  # leaves [E, ...]
    discrete: bool = static_field(static=True, default=False)

    def __call__(self, obs: jax.Array, action: jax.Array, keep: tuple[jax.Array, ...] = ()) -> jax.Array:
        """Q(s, a): obs [..., d] and action [..., A] (or [...] integers) to [E, ...].

        Continuous actions may have more leading axes than the observations, see `joint`; `keep` [E, ..., width] as
        made by `dropout`.
        """
        if self.discrete:
            return jax.vmap(take, (0, None))(self.all(obs), action)
        return jax.vmap(lambda net, keep: joint(net, obs, action, keep))(self.nets, keep)[..., 0]

    def all(self, obs: jax.Array) -> jax.Array:
        """Q(s, .) of a discrete critic: [..., d] to [E, ..., A]."""
        return members(self.nets, obs)


def first(nets: Any) -> Any:
    """The first network of an ensemble, still with its axis [1, ...]."""
    return jax.tree.map(lambda x: x[:1], nets)


def critic(noise: Noise, spec: Spec, hidden: tuple[int, ...], n: int = 2, **how: Any) -> Critic:
    """`n` independent critics for the action space of `spec`."""
    (d,) = spec.obs
    sizes = (d, *hidden, spec.action) if spec.discrete else (d + spec.action, *hidden, 1)
    return Critic(ensemble(lambda k: mlp(k, sizes, **how), noise, n), spec.discrete)


class Value(PyTree):
    """A state value."""

    net: MLP

    def __call__(self, obs: jax.Array) -> jax.Array:
        """V(s): [..., d] to [...]."""
        return self.net(obs)[..., 0]


def value(noise: Noise, spec: Spec, hidden: tuple[int, ...], **how: Any) -> Value:
    """A state value network."""
    return Value(mlp(noise, (*spec.obs, *hidden, 1), **how))


class Policy(PyTree):
    """obs [..., d] to a distribution over actions; `keep` as made by `dropout`."""

    net: MLP

    def __call__(self, obs: jax.Array, keep: tuple[jax.Array, ...] = ()) -> Distribution:
        raise TypeError("Policy is abstract")


class DeterministicPolicy(Policy):
    """tanh of an MLP."""

    def __call__(self, obs: jax.Array, keep: tuple[jax.Array, ...] = ()) -> Deterministic:
        return Deterministic(jnp.tanh(self.net(obs, keep)))


class CategoricalPolicy(Policy):
    """Logits from an MLP."""

    def __call__(self, obs: jax.Array, keep: tuple[jax.Array, ...] = ()) -> Categorical:
        return Categorical(self.net(obs, keep))


class GaussianPolicy(Policy):
    """A Gaussian whose log standard deviation is a parameter of its own, the same for every state.

    `squash` "mean": a plain normal around tanh(MLP), as in IQL; "none": around the MLP itself, as in AWAC;
    "tanh": tanh of the normal.
    """

    log_std: jax.Array  # [A]
    low: float = static_field(static=True, default=-5.0)
    high: float = static_field(static=True, default=2.0)
    squash: str = static_field(static=True, default="mean")

    def __call__(self, obs: jax.Array, keep: tuple[jax.Array, ...] = ()) -> Distribution:
        mean = self.net(obs, keep)
        log_std = jnp.broadcast_to(jnp.clip(self.log_std, self.low, self.high), mean.shape)
        return _gaussian(mean, log_std, self.squash)


class GaussianHeadsPolicy(Policy):
    """A Gaussian with mean and log standard deviation (clipped to [low, high]) from the network's 2A outputs."""

    low: float = static_field(static=True, default=-20.0)
    high: float = static_field(static=True, default=2.0)
    squash: str = static_field(static=True, default="tanh")
    edge: float = static_field(static=True, default=1e-6)
    floor: float = static_field(static=True, default=0.0)

    def __call__(self, obs: jax.Array, keep: tuple[jax.Array, ...] = ()) -> Distribution:
        mean, log_std = jnp.split(self.net(obs, keep), 2, -1)
        return _gaussian(mean, jnp.clip(log_std, self.low, self.high), self.squash, self.edge, self.floor)


class SigmoidGaussianPolicy(Policy):
    """A normal around tanh(MLP); the log standard deviation, the same for every state, is -5 + 5 sigmoid(parameter)."""

    parameter: jax.Array  # [A]

    def __call__(self, obs: jax.Array, keep: tuple[jax.Array, ...] = ()) -> Normal:
        mean = jnp.tanh(self.net(obs, keep))
        return Normal(mean, jnp.broadcast_to(-5 + 5 * jax.nn.sigmoid(self.parameter), mean.shape))


def _gaussian(mean: jax.Array, log_std: jax.Array, squash: str, edge: float = 1e-6, floor: float = 0.0) -> Distribution:
    if squash == "tanh":
        return TanhNormal(mean, log_std, edge, floor)
    return Normal(jnp.tanh(mean) if squash == "mean" else mean, log_std)


def policy(noise: Noise, spec: Spec, hidden: tuple[int, ...], kind: str, **how: Any) -> Policy:
    """A policy for the action space of `spec`; `kind` is what a continuous one is: deterministic, gaussian or heads.

    Discrete action spaces get logits whatever the kind. `low`, `high`, `squash`, `edge` and `floor` go to the Gaussian
    kinds.
    """
    extra = {k: how.pop(k) for k in ("low", "high", "squash", "edge", "floor") if k in how}
    outputs = spec.action * (2 if kind == "heads" and not spec.discrete else 1)
    net = mlp(noise, (*spec.obs, *hidden, outputs), **how)
    if spec.discrete:
        return CategoricalPolicy(net)
    if kind == "deterministic":
        return DeterministicPolicy(net)
    if kind == "heads":
        return GaussianHeadsPolicy(net, **extra)
    return GaussianPolicy(net, jnp.zeros(spec.action), **extra)
