"""Diffusion policies: an action becomes noise in T steps, which a network undoes (Ho et al. 2020, arXiv:2006.11239).

Steps are counted t = 0 ... T - 1, the last one is noise. With the variance-preserving schedule of `Schedule`, an action
becomes x_t = sqrt(abar_t) a + sqrt(1 - abar_t) eps. A network predicts eps of (s, x_t, t).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple, Protocol

import jax
import jax.numpy as jnp
import numpy as np

from ..core.noise import Noise
from ..core.spec import Mode, Obs, Spec
from ..core.tree import PyTree, field
from . import candidates, initialisers
from .layers import MLP, LayerNorm, Linear, raised
from .nets import Network, joint_of, mlp, network

LOW = 0.1  # smallest and largest rate of the noise, of both published codes
HIGH = 10.0


class Denoiser(Protocol):
    """A network that predicts the noise in x_t."""

    def __call__(self, obs: Obs, x: jax.Array, t: jax.Array) -> jax.Array:
        """The noise in x [..., *rows, A] at steps t, [*rows] or (), for observations [*rows, d]."""


class Schedule(NamedTuple):
    """Constants of each step t, [T] float64, for beta_t = 1 - exp(-LOW / T - (HIGH - LOW)(2 t + 1) / (2 T^2))."""

    beta: np.ndarray  # variance that step t adds
    kept: np.ndarray  # abar_t, share of the variance that is the action's


def schedule(steps: int) -> Schedule:
    """The variance-preserving schedule of T = `steps` steps."""
    t = np.arange(1, steps + 1)
    alpha = np.exp(-LOW / steps - 0.5 * (HIGH - LOW) * (2 * t - 1) / steps**2)
    return Schedule(1 - alpha, np.cumprod(alpha))


def noised(action: jax.Array, eps: jax.Array, t: jax.Array, steps: int) -> jax.Array:
    """x_t for actions and noise [B, A] at steps t [B]: [B, A]."""
    kept = jnp.asarray(schedule(steps).kept, action.dtype)[t][:, None]
    return jnp.sqrt(kept) * action + jnp.sqrt(1 - kept) * eps


def error(net: Denoiser, obs: Obs, action: jax.Array, eps: jax.Array, t: jax.Array, steps: int) -> jax.Array:
    """Squared error of the predicted noise, entry by entry: [B, A]; arguments as in `noised`."""
    return jnp.square(net(obs, noised(action, eps, t, steps), t) - eps)


def by_posterior(net: Denoiser, obs: Obs, eps: jax.Array) -> jax.Array:
    """Actions by the posterior of each step, with the action that x_t implies clipped to [-1, 1] (Diffusion-QL).

    Args:
        net: predicts the noise.
        obs: [*rows, d].
        eps: standard normals [T, ..., *rows, A]: the start, then one array for each step but the last.
    """
    beta, kept = schedule(len(eps))
    before = np.append(1.0, kept[:-1])
    on_action = beta * np.sqrt(before) / (1 - kept)
    on_x = (1 - before) * np.sqrt(1 - beta) / (1 - kept)
    deviation = np.sqrt(np.maximum(beta * (1 - before) / (1 - kept), 1e-20)) * (np.arange(len(eps)) > 0)

    def undo(x: jax.Array, predicted: jax.Array, at: Callable[[np.ndarray], jax.Array], z: jax.Array) -> jax.Array:
        action = at(np.sqrt(1 / kept)) * x - at(np.sqrt(1 / kept - 1)) * predicted
        return at(on_action) * jnp.clip(action, -1, 1) + at(on_x) * x + at(deviation) * z

    return jnp.clip(_denoised(net, obs, eps, undo), -1, 1)


def by_steps(net: Denoiser, obs: Obs, eps: jax.Array) -> jax.Array:
    """Actions by the mean of each step and noise of variance beta_t, with x_t clipped to [-1, 1] at every step (IDQL).

    Arguments as in `by_posterior`.
    """
    beta, kept = schedule(len(eps))
    deviation = np.sqrt(beta) * (np.arange(len(eps)) > 0)

    def undo(x: jax.Array, predicted: jax.Array, at: Callable[[np.ndarray], jax.Array], z: jax.Array) -> jax.Array:
        mean = at(1 / np.sqrt(1 - beta)) * (x - at(beta / np.sqrt(1 - kept)) * predicted)
        return jnp.clip(mean + at(deviation) * z, -1, 1)

    return _denoised(net, obs, eps, undo)


def _denoised(net: Denoiser, obs: Obs, eps: jax.Array, undo: Callable[..., jax.Array]) -> jax.Array:
    steps = len(eps)

    def step(x: jax.Array, given: tuple[jax.Array, jax.Array]) -> tuple[jax.Array, None]:
        t, z = given
        return undo(x, net(obs, x, t), lambda constants: jnp.asarray(constants, x.dtype)[t], z), None

    later = jnp.concatenate([eps[1:], jnp.zeros_like(eps[:1])])  # the last step adds no noise
    found, _ = jax.lax.scan(step, eps[0], (jnp.arange(steps - 1, -1, -1), later))
    return found


def acting_noise(noise: Noise, mode: Mode, steps: int, n: int, rows: int, size: int) -> jax.Array:
    """The noise behind n candidates of each row, [steps, n, rows, size]; in mode "best" constants, see `candidates`."""
    return candidates.normals(noise, mode, steps * n, rows, size).reshape(steps, n, rows, size)


def sinusoids(t: jax.Array, width: int) -> jax.Array:
    """sin and cos of t times frequencies from 1 to 1 / 10,000: [...] to [..., width]."""
    half = width // 2
    frequency = jnp.exp(-jnp.log(1e4) / (half - 1) * jnp.arange(half))
    angle = t[..., None] * raised(frequency, t.ndim + 1)
    return jnp.concatenate([jnp.sin(angle), jnp.cos(angle)], -1)


TIME = 16  # numbers that describe a step, Diffusion-QL


class StepCode(PyTree):
    """Numbers that describe a step, by a small MLP that a run's choice of networks does not change."""

    net: MLP

    def __call__(self, features: jax.Array) -> jax.Array:
        """Features of steps [..., n] to [..., k]."""
        return self.net(features)


class SinusoidNet(PyTree):
    """Diffusion-QL's network: sinusoids of t through a small MLP, next to (s, x), through an MLP."""

    time: StepCode
    net: Network
    size: int = field(static=True)  # numbers of an action

    def __call__(self, obs: Obs, x: jax.Array, t: jax.Array) -> jax.Array:
        code = self.time(sinusoids(jnp.asarray(t, x.dtype), TIME))
        return joint_of(self.net, obs, jnp.concatenate([x, jnp.broadcast_to(code, (*x.shape[:-1], TIME))], -1))


def sinusoid_net(noise: Noise, spec: Spec, hidden: tuple[int, ...]) -> SinusoidNet:
    """A network of Diffusion-QL for the actions of `spec`."""
    time = StepCode(mlp(noise.sub("time"), (TIME, 2 * TIME, TIME), activation="mish"))
    net = network(noise.sub("net"), spec, hidden, spec.action, spec.action + TIME, role="actor", activation="mish")
    return SinusoidNet(time, net, spec.action)


class Block(PyTree):
    """x + dense(mish(dense(LayerNorm(dropout(x))))), the inner layer four times as wide."""

    norm: LayerNorm
    wide: Linear
    narrow: Linear

    def __call__(self, x: jax.Array, keep: jax.Array | None) -> jax.Array:
        inner = x if keep is None else x * keep
        return x + self.narrow(jax.nn.mish(self.wide(self.norm(inner))))


FOURIER = 64  # Fourier features of a step, IDQL
CODE = 128  # numbers that describe a step, IDQL


class ResidualNet(PyTree):
    """IDQL's network: learned Fourier features of t through an MLP, next to (x, s), through residual blocks."""

    frequencies: jax.Array  # [FOURIER / 2]
    time: StepCode
    first: Linear
    blocks: tuple[Block, ...]
    last: Linear

    def __call__(self, obs: jax.Array, x: jax.Array, t: jax.Array, keep: tuple[jax.Array, ...] = ()) -> jax.Array:
        """As in `Denoiser`; `keep` holds dropout's factors for each block [B, width], see `layers.dropout`."""
        turns = jnp.asarray(t, x.dtype)[..., None]
        angle = 2 * jnp.pi * turns * raised(self.frequencies, turns.ndim)
        code = self.time(jnp.concatenate([jnp.cos(angle), jnp.sin(angle)], -1))
        lead = x.shape[:-1]
        given = [x, jnp.broadcast_to(obs, (*lead, obs.shape[-1])), jnp.broadcast_to(code, (*lead, CODE))]
        h = self.first(jnp.concatenate(given, -1))
        for i, block in enumerate(self.blocks):
            h = block(h, keep[i] if keep else None)
        return self.last(jax.nn.mish(h))


def residual_net(noise: Noise, spec: Spec, hidden: tuple[int, ...]) -> ResidualNet:
    """A network of IDQL for observations that are vectors: a block for each of the equal widths `hidden`."""
    width = hidden[0]
    make = initialisers.xavier()
    (d,) = spec.obs_shape

    def block(i: int) -> Block:
        own = noise.sub(f"block_{i}")
        norm = LayerNorm(jnp.ones(width), jnp.zeros(width))
        return Block(norm, make(own.sub("wide"), width, 4 * width), make(own.sub("narrow"), 4 * width, width))

    return ResidualNet(
        frequencies=0.2 * noise.normal("frequencies", (FOURIER // 2,)),
        time=StepCode(mlp(noise.sub("time"), (FOURIER, CODE, CODE), activation="mish", init=make)),
        first=make(noise.sub("first"), spec.action + d + CODE, width),
        blocks=tuple(block(i) for i in range(len(hidden))),
        last=make(noise.sub("last"), width, spec.action),
    )
