"""Random ensemble mixture: the policy of the heads worked by hand, its updates against recorded ones."""

import jax.numpy as jnp
import pytest

from holdfast.algorithms import dqn, rem
from holdfast.core.noise import Tape
from holdfast.core.spec import Seen
from holdfast.core.trained import Trained
from holdfast.parts import optimisers
from holdfast.parts.action_values import best, pick, td
from support.formulas import array, constant_values
from support.q_learning import same, settings, started, values
from support.tapes import Golden, replay


def test_heads_act_by_their_mean_minimum_or_lower_bound():
    q = array([5, 1], [2, 2.5], [9, -9])  # means 3, 2.25, 0; deviations 2, .25, 9
    state = dqn.State(Trained.new(constant_values(q), optimisers.adam(1.0)), None)
    seen = Seen(jnp.zeros((1, 3)), jnp.zeros(1))
    for acting, deviations, wanted in (("mean", 1.0, 0), ("min", 1.0, 1), ("lcb", 1.0, 1), ("lcb", 0.1, 0)):
        cfg = rem.REM(heads=2, acting=acting, acting_deviations=deviations)
        found, _ = rem.act(cfg, state, seen, (), Tape({}), "best")
        assert int(found[0]) == wanted
        assert float(rem.dist(cfg, state, seen, ()).logits[0, wanted]) == 0
    assert "expected one of mean, min, lcb" in rem.check(rem.REM(acting="max"))[0]


@pytest.mark.usefixtures("x64")
def test_recorded_updates():
    g = Golden("rem")
    heads = g.setting("n_heads")
    cfg = rem.REM(heads=heads, polyak=0.0, target_every=1, **settings(g))

    def expected(state, suffix=None):
        if suffix is None:
            return state.critic.net, state.target_critic
        return values(g, "expected/rem/params", suffix, heads), values(g, "target", "", heads)

    replay(rem.algorithm, cfg, started(g, cfg, heads), g, expected, {"critic/loss": "rem/loss"})
    last = values(g, "expected/rem/params", f"/step{g.steps}", heads)
    same(last.mean(g.batch().obs), g[f"expected/rem/acting_q_after_step{g.steps}"])
    target = values(g, "target", "", heads)  # it never moves
    for step in range(1, g.steps + 1):
        mixture = g.noise(step)["mixture_uniform"]
        mixture = mixture / mixture.sum()
        same(mixture, g[f"expected/rem/mixture/step{step}"])
        mixed = target.mix(mixture)(g.batch().next_obs)
        same(mixed[..., 0], target(g.batch().next_obs) @ mixture)
        following = pick(mixed, best(mixed[..., 0]))
        same(td(g.batch(), following, cfg.discount), g[f"expected/rem/y/step{step}"])
