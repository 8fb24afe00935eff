"""FQL: formulas worked by hand, and update steps recorded from the authors' code."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from holdfast.algorithms import fql
from holdfast.core.contract import Context, NStep, Transitions
from holdfast.core.noise import Tape
from holdfast.core.spec import Seen, Spec
from holdfast.parts import flows, nets
from support.formulas import NOISE, array, batch, critics, linear, same
from support.tapes import Golden, common, replay

pytestmark = pytest.mark.usefixtures("x64")

ACTOR = flows.OneStep(linear([1, 1, 0], [0, 0, 2]))  # (s + z_1, 2 z_2)


def state():
    """One observation, two actions: the velocity is (0, s), so ten steps add s to the second entry of the noise."""
    flow = flows.Flow(linear([0, 0, 0, 0], [1, 0, 0, 0]), 2)
    critic = critics([1, 1, 2], [2, -1, 1])
    made = fql.state_of(fql.optimisers_of(fql.FQL()), ACTOR, flow, critic)
    return fql.State(made.actor, made.flow, made.critic, critics([1, 0, 1], [0.5, 1, 0]))


def test_the_actor_loss():
    """The distance is to the unclipped action, Q is that of the clipped one, and its scale is not differentiated."""
    critic = critics([1, 1, 2], [2, -1, 1])
    obs, z, goal = array([0.5], [-1]), array([1, 0.2], [0.5, -0.1]), array([0.5, 0.5], [0, 0])
    action = np.array([[1.5, 0.4], [-0.5, -0.2]])
    distance = ((action - goal) ** 2).mean()
    a = np.clip(action, -1, 1)
    q = (np.array([0.5, -1]) * 1.5 + a @ [0, 1.5]).mean()  # mean of the two critics
    each = np.abs(np.array([0.5, -1]) * 1.5 + a @ [0, 1.5]).mean()

    @jax.jit
    def found(actor):
        def loss(actor, alpha, normalize):
            return fql.actor_loss(actor, critic, goal, obs, z, alpha, normalize)[0]

        slopes = [jax.grad(loss)(actor, 0.0, normalize) for normalize in (True, False)]
        return loss(actor, 3.0, False), loss(actor, 3.0, True), *slopes

    plain, scaled, slope, plain_slope = found(ACTOR)
    same(plain, 3 * distance - q)
    same(scaled, 3 * distance - q / each)
    jax.tree.map(lambda x, y: np.testing.assert_allclose(x, y / each, rtol=1e-6), slope, plain_slope)


@pytest.mark.parametrize("value", ["mean", "min", "lcb"])
def test_the_target(value):
    cfg = fql.FQL(discount=0.9, value=value, deviations=0.5)
    noise = {"target_z": array([-2.5, 0.1], [0, 0]), "actor_z": jnp.zeros((2, 2))}
    noise |= {"flow_x0": jnp.zeros((2, 2)), "flow_t": jnp.zeros((2, 1))}
    a = np.array([0.5, 0.2])  # s' = 3
    q = np.array([3 + a @ [0, 1], 1.5 + a @ [1, 0]])
    lower = {"mean": q.mean(), "min": q.min(), "lcb": q.mean() - 0.5 * q.std()}[value]
    _, metrics = fql.update(cfg, state(), batch(), Tape(noise), jnp.asarray(0))
    same(metrics["critic/target"], (1 + 0.9 * lower + 2) / 2)  # the second row has ended


def test_acting():
    """In mode "best" the noise is 0, and actions are clipped."""
    s = state()
    seen = Seen(array([0.5], [2]), jnp.zeros(2))
    best, _ = fql.act(fql.FQL(), s, seen, (), Tape({}), "best")
    same(best, array([0.5, 0], [1, 0]))
    drawn, _ = fql.act(fql.FQL(), s, seen, (), Tape({"act": array([0.1, 1], [-3, 0.1])}), "sample")
    same(drawn, array([0.6, 1], [-1, 0.2]))


def test_the_networks_and_the_rows():
    made = fql.init(fql.FQL(hidden=(8, 8), critics=3), Context(Spec((3,), 2)), NOISE)
    assert made.critic.net.nets.norm == "post"
    assert made.critic.net.nets.layers[0].weight.shape == (3, 5, 8)
    assert made.flow.net.net.layers[0].weight.shape == (6, 8)  # (s, x, t)
    assert made.actor.net.net.norms == ()
    assert (fql.algorithm.needs(fql.FQL()), fql.algorithm.needs(fql.FQL(n_step=3))) == (Transitions(), NStep(3))


def test_one_critic_has_no_deviation():
    assert fql.check(fql.FQL(value="lcb", critics=1)) == [
        "critics is 1, expected at least 2: value lcb needs their standard deviation"
    ]
    assert fql.check(fql.FQL(value="max")) == ["value is 'max', expected one of mean, min, lcb"]


@pytest.mark.parametrize("name", ["fql", "fql_min_normalised"])
def test_recorded_steps(name):
    g = Golden(name)
    settings = common(g, "alpha value=q_agg normalize_q=normalize_q_loss flow_steps")
    cfg = fql.FQL(**settings, **dict.fromkeys(("actor_lr", "flow_lr", "critic_lr"), g.setting("lr")))

    def parts(root, suffix=""):
        actor = flows.OneStep(g.mlp(f"{root}/actor", suffix, activation="gelu"))
        flow = flows.Flow(g.mlp(f"{root}/flow", suffix, activation="gelu"), 3)
        return actor, flow, critic(root, suffix)

    def critic(root, suffix=""):
        eps = g.setting("layernorm_eps")
        return nets.Critic(g.mlp(f"{root}/critics", suffix, activation="gelu", norm="post", eps=eps))

    first = fql.state_of(fql.optimisers_of(cfg), *parts("params"))
    first = fql.State(first.actor, first.flow, first.critic, critic("target"))

    def expected(state, suffix=None):
        if suffix is None:
            return state.actor.net, state.flow.net, state.critic.net, state.target_critic
        return (*parts("expected/params", suffix), critic("expected/target", suffix))

    losses = {"critic/loss": "critic_loss", "flow/loss": "bc_flow_loss", "actor/distillation": "distill_loss"}
    replay(fql.algorithm, cfg, first, g, expected, losses | {"actor/improvement": "q_loss"})
