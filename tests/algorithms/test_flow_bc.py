"""Flow policies and their cloning against numbers worked by hand (float64)."""

from __future__ import annotations

import jax.numpy as jnp
import numpy as np
import pytest

from holdfast.algorithms import flow_bc, ifql
from holdfast.core.noise import Tape
from holdfast.core.spec import Seen
from holdfast.core.trained import Trained
from holdfast.parts import flows, nets, optimisers
from support.formulas import array, batch, critics, linear, same

pytestmark = pytest.mark.usefixtures("x64")


def test_the_loss(run):
    """v = (t, 0) at s = 1, 2: its error to a - x_0, a mean over rows and action dimensions."""
    flow = flows.Flow(linear([0, 0, 0, 1], [0, 0, 0, 0]), 2)
    x0, t = array([0.1, 0.2], [-1, 1]), array([0.25], [0.5])
    loss, _ = run(lambda x0: flow_bc.flow_loss(flow, batch(), x0, t), x0)
    wanted = np.array([[0.25 - 0.4, 0.2], [0.5 - 1, 2]])
    same(loss, (wanted**2).mean())


def test_the_place_on_the_line(run):
    """v = x_t: the field is read at (1 - t) x_0 + t a."""
    flow = flows.Flow(linear([0, 1, 0, 0], [0, 0, 1, 0]), 2)
    x0, t = array([0.1, 0.2], [-1, 1]), array([0.25], [0.5])
    found = run(lambda x0: flows.matching_error(flow, batch().obs, batch().action, x0, t), x0)
    a = np.array([[0.5, 0], [0, -1]])
    x = (1 - t) * x0 + t * a
    same(found, (x - (a - x0)) ** 2)


def test_euler():
    """dx = (x, t) dt in four steps: x (5/4)^4, and x + (0 + 1/4 + 1/2 + 3/4) / 4; only the end is clipped."""
    flow = flows.Flow(linear([0, 1, 0, 0], [0, 0, 0, 1]), 2)
    x0 = array([0.1, 0.2], [1, -0.5])
    same(flows.euler(flow, array([1], [2]), x0, 4), array([0.1 * 1.25**4, 0.575], [1, -0.125]))
    many = flows.euler(flow, array([1], [2]), jnp.stack([x0, 2 * x0]), 4)  # several candidates for each row
    same(many[0], flows.euler(flow, array([1], [2]), x0, 4))
    assert many.shape == (2, 2, 2)


def test_acting_by_a_flow():
    flow = flows.Flow(linear([1, 0, 0]), 1)  # v = s
    state = flow_bc.State(Trained.new(flow, optimisers.adam(1e-3)))
    seen = Seen(array([0.5], [-0.25]), jnp.zeros(2))
    drawn, _ = flow_bc.act(flow_bc.FlowBC(), state, seen, (), Tape({"act": array([[0.1], [3]])}), "sample")
    same(drawn, array([0.6], [1]))


def test_the_best_action_is_at_the_larger_peak():
    """In one step, v = 50 x moves noise below 0 to the lower bound, and that above it to the upper one."""
    flow = flows.Flow(linear([0, 50, 0]), 1)
    state = flow_bc.State(Trained.new(flow, optimisers.adam(1e-3)))
    cfg = flow_bc.FlowBC(flow_steps=1, candidates=7)
    seen = Seen(array([0.5], [-0.25]), jnp.zeros(2))
    found = [flow_bc.act(cfg, state, seen, (), Tape({}), "best")[0] for _ in range(2)]
    wanted = np.sign(np.sign(np.random.default_rng(0).standard_normal(7)).sum())
    same(found[0], array([wanted], [wanted]))
    same(found[0], found[1])


def implicit():
    """V = s, Q = s + a and 2 s - a (target critics: s and a), and a flow that does not move the noise."""
    cfg = ifql.IFQL(discount=0.9, polyak=0.5, candidates=3)
    tx = ifql.optimisers_of(cfg)
    critic = critics([1, 1], [2, -1])
    flow = Trained.new(flows.Flow(linear([0, 0, 0]), 1), tx.flow)
    value = Trained.new(nets.Value(linear([1])), tx.value)
    return cfg, ifql.State(flow, value, Trained.new(critic, tx.critic), critics([1, 0], [0, 1]))


def test_the_update_of_ifql():
    """V regresses on the smaller target critic, Q on the V from before the step; the targets lag by one update."""
    cfg, state = implicit()
    b = batch(action=array([0.5], [3]))
    noise = Tape({"flow_x0": array([0.1], [0.2]), "flow_t": array([0.5], [0.5])})
    new, metrics = ifql.update(cfg, state, b, noise, jnp.asarray(0))
    u = np.array([min(1, 0.5) - 1, min(2, 3) - 2])
    same(metrics["value/loss"], (0.1 * u[0] ** 2 + 0.9 * u[1] ** 2) / 2)
    y = np.array([1 + 0.9 * 3, 2])
    q = np.array([[1.5, 5], [1.5, 1]])
    same(metrics["critic/loss"], ((q - y) ** 2).mean(1).sum())
    same(metrics["flow/loss"], ((np.array([0.5, 3]) - [0.1, 0.2]) ** 2).mean())
    same(new.target_critic.nets.layers[0].weight, array([[1], [0.5]], [[1], [0]]))


def test_ifql_acts_by_the_best_candidate():
    """At s = 1 min(1 + a, 2 - a) is largest at a = 1/2, at s = -1 min(a - 1, -2 - a) at a = -1/2."""
    cfg, state = implicit()
    seen = Seen(array([1], [-1]), jnp.zeros(2))
    drawn = array([[0.9], [0.9]], [[0.4], [-0.4]], [[-1], [0]])
    found, _ = ifql.act(cfg, state, seen, (), Tape({"act": drawn}), "sample")
    same(found, array([0.4], [-0.4]))
    best = [ifql.act(cfg, state, seen, (), Tape({}), "best")[0] for _ in range(2)]
    same(best[0], best[1])
