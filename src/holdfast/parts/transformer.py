"""The transformer of GPT-2 (Radford et al. 2019): blocks of causal attention with LayerNorm before each part.

Shapes: B sequences of T tokens of width d, H heads.
"""

from __future__ import annotations

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from ..core.noise import Noise
from ..core.tree import PyTree, field
from .layers import ACTIVATIONS, LayerNorm, Linear, dropout, product

STD = 0.02  # of the initial weights, in GPT-2 and minGPT
EPS = 1e-5  # under the root of LayerNorm, as in PyTorch


class Projection(PyTree):
    """x W, without a bias."""

    weight: jax.Array  # [in, out]

    def __call__(self, x: jax.Array) -> jax.Array:
        return product(x, self.weight)


class Embedding(PyTree):
    """A table of vectors, read by number."""

    table: jax.Array  # [n, d]

    def __call__(self, index: jax.Array) -> jax.Array:
        """Integers [...] to [..., d]."""
        return self.table[index]


class Dropped(NamedTuple):
    """Factors of dropout in one block, see `layers.dropout`; empty where nothing is dropped."""

    attention: tuple[jax.Array, ...] = ()  # [B, H, Q, T]
    middle: tuple[jax.Array, ...] = ()  # [B, Q, d], after the attention
    end: tuple[jax.Array, ...] = ()  # [B, Q, d], after the MLP


class Block(PyTree):
    """x + attention(LayerNorm(x)), then x + MLP(LayerNorm(x))."""

    before_attention: LayerNorm
    joint: Linear  # [d, 3 d]: queries, keys and values
    out: Linear
    before_mlp: LayerNorm
    up: Linear
    down: Linear
    heads: int = field(static=True)
    activation: str = field(static=True)

    def __call__(self, x: jax.Array, seen: jax.Array, keep: Dropped, queries: np.ndarray | None = None) -> jax.Array:
        """Tokens [B, T, d] to the tokens at `queries`, [B, Q, d].

        Args:
            x: the tokens.
            seen: which tokens each query attends to, [B, Q, T] booleans.
            keep: factors of dropout.
            queries: numbers of the tokens to compute, [Q]; None: all of them.
        """
        normed = self.before_attention(x)
        d = x.shape[-1]
        if queries is None:
            q, k, v = jnp.split(self.joint(normed), 3, -1)
        else:  # what no later block reads is not computed
            x = x[:, queries]
            asked = Linear(self.joint.weight[:, :d], self.joint.bias[:d])
            given = Linear(self.joint.weight[:, d:], self.joint.bias[d:])
            q = asked(normed[:, queries])
            k, v = jnp.split(given(normed), 2, -1)
        x = x + _kept(self.out(self._attend(q, k, v, seen, keep)), keep.middle)
        hidden = ACTIVATIONS[self.activation](self.up(self.before_mlp(x)))
        return x + _kept(self.down(hidden), keep.end)

    def _attend(self, q: jax.Array, k: jax.Array, v: jax.Array, seen: jax.Array, keep: Dropped) -> jax.Array:
        q, k, v = (x.reshape(*x.shape[:-1], self.heads, -1) for x in (q, k, v))
        scores = jnp.einsum("bqhe,bkhe->bhqk", q, k) / q.shape[-1] ** 0.5
        weights = jax.nn.softmax(jnp.where(seen[:, None], scores, -1e9), -1)
        mixed = jnp.einsum("bhqk,bkhe->bqhe", _kept(weights, keep.attention), v)
        return mixed.reshape(*mixed.shape[:-2], -1)


def _kept(x: jax.Array, factors: tuple[jax.Array, ...]) -> jax.Array:
    return x * factors[0] if factors else x


class Transformer(PyTree):
    """A stack of blocks and a last LayerNorm."""

    blocks: tuple[Block, ...]
    norm: LayerNorm

    def __call__(self, x: jax.Array, valid: jax.Array, queries: np.ndarray, keep: tuple[Dropped, ...]) -> jax.Array:
        """Tokens [B, T, d] to the outputs at some of them, [B, Q, d]. A token attends to itself and to earlier tokens.

        Args:
            x: embedded tokens.
            valid: which tokens are not padding, [B, T] booleans. Nothing attends to padding.
            queries: numbers of the tokens whose outputs are wanted, [Q].
            keep: factors of dropout for each block; empty: nothing is dropped.
        """
        place = np.arange(x.shape[1])
        causal = jnp.asarray(place[:, None] >= place)
        seen = causal[None] & valid[:, None, :]
        keep = keep or (Dropped(),) * len(self.blocks)
        for block, kept in zip(self.blocks[:-1], keep, strict=False):
            x = block(x, seen, kept)
        return self.norm(self.blocks[-1](x, seen[:, queries], keep[-1], queries))


def normal(noise: Noise, n_in: int, n_out: int) -> Linear:
    """Weights normal with deviation 0.02, zero biases: the layers of GPT-2 and minGPT."""
    return Linear(STD * noise.normal("weight", (n_in, n_out)), jnp.zeros(n_out))


def layer_norm(width: int) -> LayerNorm:
    """LayerNorm as it is at first."""
    return LayerNorm(jnp.ones(width), jnp.zeros(width), EPS)


def transformer(noise: Noise, width: int, layers: int, heads: int, activation: str) -> Transformer:
    """A transformer with random weights; its MLPs are four times as wide as the tokens."""

    def block(noise: Noise) -> Block:
        return Block(
            layer_norm(width),
            normal(noise.sub("joint"), width, 3 * width),
            normal(noise.sub("out"), width, width),
            layer_norm(width),
            normal(noise.sub("up"), width, 4 * width),
            normal(noise.sub("down"), 4 * width, width),
            heads,
            activation,
        )

    return Transformer(tuple(block(noise.fold(i)) for i in range(layers)), layer_norm(width))


def dropped(net: Transformer, noise: Noise, rate: float, batch: int, tokens: int, queries: int) -> tuple[Dropped, ...]:
    """Draws of dropout for each block of an update: of its attention weights and of what it adds to the tokens.

    Args:
        net: the transformer.
        noise: noise of the update.
        rate: probability that an entry is dropped. 0: nothing is drawn.
        batch: B.
        tokens: T.
        queries: Q, the tokens that the last block computes.
    """
    if not rate:
        return ()
    width = net.norm.weight.shape[0]
    found = []
    for i, block in enumerate(net.blocks):
        rows = tokens if i < len(net.blocks) - 1 else queries
        attention = dropout(noise, f"attention_{i}", rate, (batch, block.heads, rows), (tokens,))
        middle, end = (dropout(noise, f"{part}_{i}", rate, (batch, rows), (width,)) for part in ("middle", "end"))
        found.append(Dropped(attention, middle, end))
    return tuple(found)
