"""An MLP with LayerNorm in its first hidden layer only and one activation per layer."""

import jax.numpy as jnp
import numpy as np
import pytest

from holdfast.parts import layers
from support.formulas import same


@pytest.mark.usefixtures("x64")
def test_the_layers():
    x, w1, w2, w3 = (np.random.default_rng(i).normal(size=s) for i, s in enumerate([(3,), (3, 4), (4, 4), (4, 2)]))
    b1, b2, b3, scale, shift = (np.random.default_rng(9 + i).normal(size=n) for i, n in enumerate([4, 4, 2, 4, 4]))
    dense = tuple(layers.Linear(jnp.asarray(w), jnp.asarray(b)) for w, b in ((w1, b1), (w2, b2), (w3, b3)))
    norm = layers.LayerNorm(jnp.asarray(scale), jnp.asarray(shift), 1e-5)
    h = x @ w1 + b1
    h = np.tanh((h - h.mean()) / np.sqrt(h.var() + 1e-5) * scale + shift) @ w2 + b2
    h = np.where(h > 0, h, np.expm1(h)) @ w3 + b3
    same(layers.MLP(dense, (norm,), "tanh elu", "first")(jnp.asarray(x)), h)
