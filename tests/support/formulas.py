"""What the tests against numbers worked by hand share: arrays, comparison, and networks of given weights."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from holdfast.core.noise import Noise
from holdfast.core.spec import Batch
from holdfast.parts import layers, nets

NOISE = Noise(np.array([0, 7], np.uint32))


def array(*values: Any) -> jax.Array:
    """Floats of the width in force."""
    return jnp.asarray(values, float)


def same(found: Any, wanted: Any, rtol: float = 1e-12, atol: float = 1e-13) -> None:
    """Equal shapes and, to rounding, equal numbers."""
    assert np.shape(found) == np.shape(wanted)
    np.testing.assert_allclose(found, wanted, rtol=rtol, atol=atol)


def mlp(*pairs: tuple[Any, Any], **how: Any) -> layers.MLP:
    """A network of given (weight [in, out], bias [out]) pairs."""
    return layers.MLP(tuple(layers.Linear(jnp.asarray(w, float), jnp.asarray(b, float)) for w, b in pairs), (), **how)


def linear(*rows: Any) -> layers.MLP:
    """One layer, output row . x, no bias."""
    return mlp((np.asarray(rows, float).T, np.zeros(len(rows))))


def stack(*trees: Any) -> Any:
    """An ensemble of them."""
    return jax.tree.map(lambda *x: jnp.stack(x), *trees)


def critics(*rows: Any) -> nets.Critic:
    """Critics Q_i(s, a) = row . (s, a)."""
    return nets.Critic(stack(*(linear(row) for row in rows)))


def batch(**columns: Any) -> Batch:
    """Two rows with one observation and two actions, unless given otherwise."""
    usual = {
        "obs": array([1], [2]),
        "action": array([0.5, 0], [0, -1]),
        "reward": array(1, 2),
        "next_obs": array([3], [4]),
        "terminated": array(0, 1),
        "truncated": array(0, 0),
    }
    return Batch(**usual | columns)
