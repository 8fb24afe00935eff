"""Encoders: observations of any kind to one vector, in front of any network.

`Encoded(encoder, net)` is a network of the observations that `encoder` reads. It takes the place of `net`. Each network
has an encoder of its own, which its own loss trains.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

from ..core.errors import UserError, unknown
from ..core.networks import is_own
from ..core.noise import Noise
from ..core.spec import ArraySpec, Obs, Spec
from ..core.tree import PyTree, field
from .initialisers import torch_uniform
from .layers import Linear, floats
from .own import Own, own_encoder

Size = tuple[int, int, int]  # height, width, channels


class Flatten(PyTree):
    """One array `[..., *shape]` to `[..., d]`. Bytes (uint8) become floats in [0, 1]."""

    shape: tuple[int, ...] = field(static=True)

    @property
    def width(self) -> int:
        """d."""
        return math.prod(self.shape)

    def __call__(self, obs: jax.Array) -> jax.Array:
        return _flat(floats(obs), len(self.shape))


class Concat(PyTree):
    """Several arrays by name, each through an encoder of its own, side by side in the order of their names."""

    parts: dict[str, Any]  # encoders

    @property
    def width(self) -> int:
        """Sum of the widths."""
        return sum(part.width for part in self.parts.values())

    def __call__(self, obs: dict[str, jax.Array]) -> jax.Array:
        return jnp.concatenate([self.parts[name](obs[name]) for name in sorted(self.parts)], -1)


class Convolution(PyTree):
    """A convolution of squares of kernel x kernel pixels: a dense layer over `patches`.

    XLA's own convolution takes 50 times as long within a compiled loop on a CPU, and its gradients may differ from run
    to run on a GPU.
    """

    layer: Linear  # [kernel * kernel * channels, out]
    kernel: int = field(static=True)
    stride: int = field(static=True, default=1)
    padding: int = field(static=True, default=0)  # pixels of zeros around the input

    @property
    def channels(self) -> int:
        """Channels of the output."""
        return self.layer.bias.shape[-1]

    def __call__(self, x: jax.Array) -> jax.Array:
        """Images [..., h, w, channels] to [..., h', w', out] with h' = (h + 2 padding - kernel) // stride + 1."""
        border = [(self.padding, self.padding)] * 2
        wide = jnp.pad(x, [*[(0, 0)] * (x.ndim - 3), *border, (0, 0)]) if self.padding else x
        return self.layer(patches(wide, self.kernel, self.stride))


class Nature(PyTree):
    """The convolutions of DQN (Mnih et al. 2015, methods): 32 of 8 x 8 stride 4, 64 of 4 x 4 stride 2, 64 of 3 x 3.

    Each is followed by a ReLU. The paper's layer of 512 units is a hidden layer of the network behind the encoder.
    """

    convolutions: tuple[Convolution, ...]
    size: Size = field(static=True)

    @property
    def width(self) -> int:
        """d."""
        height, width, channels = self.size
        for conv in self.convolutions:
            height, width = ((n - conv.kernel) // conv.stride + 1 for n in (height, width))
            channels = conv.channels
        return height * width * channels

    def __call__(self, obs: jax.Array) -> jax.Array:
        """Images [..., height, width, channels] to [..., d]."""
        x = floats(obs)
        for conv in self.convolutions:
            x = jax.nn.relu(conv(x))
        return _flat(x, 3)


class Residual(PyTree):
    """x + conv(relu(conv(relu(x)))), with convolutions of 3 x 3 that keep the size."""

    first: Convolution
    second: Convolution

    def __call__(self, x: jax.Array) -> jax.Array:
        return x + self.second(jax.nn.relu(self.first(jax.nn.relu(x))))


class Section(PyTree):
    """A convolution of 3 x 3, a maximum over 3 x 3 with stride 2, and two residual blocks."""

    convolution: Convolution
    blocks: tuple[Residual, ...]

    def __call__(self, x: jax.Array) -> jax.Array:
        x = halved(self.convolution(x))
        for block in self.blocks:
            x = block(x)
        return x


class Impala(PyTree):
    """The deep residual network of IMPALA (Espeholt et al. 2018, fig. 3 right): sections of 16, 32 and 32 channels.

    A ReLU follows the last section. The paper's layer of 256 units is a hidden layer of the network behind the encoder;
    its LSTM and its language input are left out.
    """

    sections: tuple[Section, ...]
    size: Size = field(static=True)

    @property
    def width(self) -> int:
        """d."""
        height, width, _ = self.size
        for _ in self.sections:
            height, width = (-(-n // 2) for n in (height, width))
        return height * width * self.sections[-1].convolution.channels

    def __call__(self, obs: jax.Array) -> jax.Array:
        """Images [..., height, width, channels] to [..., d]."""
        x = floats(obs)
        for section in self.sections:
            x = section(x)
        return _flat(jax.nn.relu(x), 3)


Encoder = Flatten | Concat | Nature | Impala | Own


class Encoded(PyTree):
    """A network of encoded observations."""

    encoder: Encoder
    net: Any  # a network of vectors [..., d], such as a critic or a policy

    def __call__(self, obs: Obs, *rest: jax.Array | tuple[jax.Array, ...]) -> Any:
        return self.net(self.encoder(obs), *rest)


def patches(x: jax.Array, kernel: int, stride: int = 1) -> jax.Array:
    """The pixels under each place of a convolution's kernel: [..., h, w, c] to [..., h', w', kernel * kernel * c].

    Squares of stride x stride pixels are first taken as one pixel, so the stride must divide the kernel.
    """
    if stride > 1:
        rows, columns = ((n - kernel) // stride * stride + kernel for n in x.shape[-3:-1])
        *lead, _, _, channels = x.shape
        cut = x[..., :rows, :columns, :]
        squares = cut.reshape(*lead, rows // stride, stride, columns // stride, stride, channels)
        x = jnp.swapaxes(squares, -4, -3).reshape(*lead, rows // stride, columns // stride, -1)
        kernel = kernel // stride
    for axis in (x.ndim - 3, x.ndim - 2):
        x = jnp.concatenate(_slices(x, kernel, axis), -1)
    return x


def halved(x: jax.Array) -> jax.Array:
    """Maxima over 3 x 3 pixels with stride 2: [..., h, w, c] to [..., ceil(h / 2), ceil(w / 2), c]."""
    for axis in (x.ndim - 3, x.ndim - 2):
        around = [(int(i == axis), int(i == axis)) for i in range(x.ndim)]
        wide = jnp.pad(x, around, constant_values=-jnp.inf)
        x = functools.reduce(jnp.maximum, _slices(wide, 3, axis, 2))
    return x


def _slices(x: jax.Array, kernel: int, axis: int, stride: int = 1) -> list[jax.Array]:
    """The entries under each of the `kernel` places of a kernel along one axis."""
    last = x.shape[axis] - kernel + 1
    return [jax.lax.slice_in_dim(x, i, i + last, stride, axis) for i in range(kernel)]


def _flat(x: jax.Array, axes: int) -> jax.Array:
    """An array whose last `axes` axes are one: [..., d]."""
    return x.reshape(*x.shape[: x.ndim - axes], -1)


def nature(noise: Noise, size: Size) -> Nature:
    """The encoder of DQN for images of at least 36 x 36 pixels."""
    made = []
    channels = size[2]
    for i, (kernel, stride, out) in enumerate(((8, 4, 32), (4, 2, 64), (3, 1, 64))):
        made.append(_convolution(noise.fold(i), kernel, channels, out, stride))
        channels = out
    return Nature(tuple(made), size)


def impala(noise: Noise, size: Size) -> Impala:
    """The encoder of IMPALA for images of any size."""
    made = []
    channels = size[2]
    for i, out in enumerate((16, 32, 32)):
        at = noise.fold(i)
        convolution = _convolution(at.sub("convolution"), 3, channels, out, padding=1)
        layers = [_convolution(at.sub("blocks").fold(k), 3, out, out, padding=1) for k in range(4)]
        made.append(Section(convolution, (Residual(*layers[:2]), Residual(*layers[2:]))))
        channels = out
    return Impala(tuple(made), size)


def _convolution(noise: Noise, kernel: int, channels: int, out: int, stride: int = 1, padding: int = 0) -> Convolution:
    """A convolution with PyTorch's initial weights: uniform in +-1 / sqrt(kernel * kernel * channels)."""
    return Convolution(torch_uniform(noise, kernel * kernel * channels, out), kernel, stride, padding)


LEAST = 36  # pixels that the convolutions of `nature` need in each direction
ENCODERS: dict[str, Callable[[Noise, Size], Encoder]] = {"nature": nature, "impala": impala}
AUTO = "auto"  # the setting that chooses by the size of the images


def chosen(name: str, spec: Spec) -> str | None:
    """The name of the encoder for the observations of `spec`, as `Spec.encoder` has it; None if they need none.

    Args:
        name: "nature", "impala", or "auto": nature for images of at least 36 x 36 pixels, impala for smaller ones; or
            the name of a builder, for observations of any shape.
        spec: shapes of the problem.

    Raises:
        UserError: an unknown name, an encoder for observations that are not images, or images that are too small.
    """
    if is_own(name):
        return name
    if name not in (AUTO, *ENCODERS):
        raise unknown("encoder (--encoder)", name, [AUTO, *ENCODERS])
    if not spec.images:
        if name != AUTO:
            raise UserError(f"--encoder {name} is for images, and observations are vectors here: leave it out")
        return None
    height, width, _ = spec.obs_shape
    large = min(height, width) >= LEAST
    if name == "nature" and not large:
        raise UserError(
            f"--encoder nature needs images of at least {LEAST} x {LEAST} pixels, these have {height} x {width}: use "
            "--encoder impala"
        )
    return ("nature" if large else "impala") if name == AUTO else name


def encoder(noise: Noise, spec: Spec) -> Encoder:
    """A new encoder for the observations of `spec`: images by convolutions, other arrays as they are; or the user's."""
    arrays = spec.obs_arrays
    if isinstance(arrays, ArraySpec):
        return _encoder(noise, spec, arrays)
    return Concat({name: _encoder(noise.sub(name), spec, one) for name, one in arrays.items()})


def _encoder(noise: Noise, spec: Spec, one: ArraySpec) -> Encoder:
    if spec.encoder is not None and is_own(spec.encoder):
        return own_encoder(noise, spec.encoder, one.shape)
    alone = spec._replace(obs=one)
    if not alone.images:
        return Flatten(one.shape)
    height, width, channels = one.shape
    return ENCODERS[str(chosen(spec.encoder or AUTO, alone))](noise, (height, width, channels))
