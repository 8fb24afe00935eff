"""The variational autoencoder of actions."""

from __future__ import annotations

import jax.numpy as jnp
import pytest

from holdfast.parts import vae as vaes
from support.formulas import NOISE

pytestmark = pytest.mark.usefixtures("x64")


def test_the_prior_is_clipped():
    z = vaes.prior(NOISE, "z", (100, 2))
    assert float(jnp.abs(z).max()) == 0.5
    assert float(jnp.abs(z).min()) < 0.1
