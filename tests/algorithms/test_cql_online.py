"""SAC after CQL."""

import functools

import jax
import pytest

from holdfast.algorithms import cql, sac
from holdfast.core.config import as_arrays
from holdfast.core.contract import Context
from holdfast.core.noise import Noise
from holdfast.core.spec import Spec
from support.formulas import row, same

pytestmark = pytest.mark.usefixtures("x64")


@pytest.mark.slow
def test_sac_continues_from_the_state_of_cql():
    cfg = as_arrays(cql.CQL(hidden=(4,), target_entropy=-0.3, actor_lr=0.01))
    ctx, noise = Context(Spec((1,), 1)), Noise(jax.random.PRNGKey(1))
    state = cql.init(cfg, ctx, Noise(jax.random.PRNGKey(0)))
    online = jax.jit(functools.partial(cql.enter, cfg, ctx=ctx, noise=None))(state)
    found, _ = cql.online_update(cfg, online, row(), noise, 0)
    same_rates = {n: getattr(cfg, n) for n in ("discount", "polyak", "actor_lr", "critic_lr", "temperature_lr")}
    plain = as_arrays(sac.SAC(target_entropy=-0.3, **same_rates))
    wanted, _ = sac.update(
        plain, sac.State(state.actor, state.critic, state.target_critic, state.temperature), row(), noise, 0
    )
    for a, b in zip(jax.tree.leaves(found), jax.tree.leaves(wanted), strict=True):
        same(a, b)
