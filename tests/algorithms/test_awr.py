"""AWR: returns, weights and losses worked by hand, and whole updates recorded from the authors' code."""

from __future__ import annotations

import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from holdfast.algorithms import awr
from holdfast.core.spec import Batch
from holdfast.core.trained import Trained
from holdfast.data.feed import row_sources
from holdfast.data.feed.columns import Columns
from holdfast.parts import layers, nets, optimisers
from support.formulas import array, rows, same
from support.tapes import TOLERANCE, Golden, close

pytestmark = pytest.mark.usefixtures("x64")


def line(slope, bias=0.0):
    return layers.MLP((layers.Linear(array([slope]), array(bias)),), ())


@pytest.mark.slow
def test_awr_refresh(run):
    """V(s) = s; two episodes of two steps, the first ends truly; lambda .5, gamma .5."""
    data = Columns(
        obs=array([1], [2], [3], [4], [5], [6]),
        row=jnp.asarray([0, 1, 3, 4]),
        action=jnp.zeros((4, 1)),
        reward=array(1, 1, 1, 1),
        terminated=array(0, 1, 0, 0),
        truncated=array(0, 0, 0, 1),
    )
    # G: 1; 1 + .5 (.5 * 2 + .5 * 1) = 1.75;  1 + .5 * 6 = 4; 1 + .5 (.5 * 5 + .5 * 4) = 3.25
    returns = np.array([1.75, 1, 3.25, 4])
    advantage = returns - [1, 2, 4, 5]
    for normalize in (False, True):
        cfg = awr.AWR(td_lambda=0.5, discount=0.5, temperature=2.0, max_weight=1.2, normalize_advantage=normalize)
        critic = Trained.new(nets.Value(line(0.5)), optimisers.adam(1e-3))  # in units of 1 / (1 - .5)
        state = awr.State(critic, critic)
        _, columns, _, found = run(lambda s, cfg=cfg: awr.refresh(cfg, s, {"data": data}, None, None, 0), state)
        same(columns["lambda_return"], returns)
        a = (advantage - advantage.mean()) / (advantage.std() + 1e-5) if normalize else advantage
        weight = np.minimum(np.exp(a / 2), 1.2)
        same(columns["weight"], weight)
        same(found["data/effective_share"], weight.mean() ** 2 / (weight**2).mean())
        same(found["data/capped"], (weight >= 1.2).mean())


def test_awr_losses(run):
    """Mean 1.5 s: at s = 1 it is .5 outside; standard deviation .5."""
    actor = awr.FixedNormalPolicy(line(1.5), jnp.log(0.5))
    batch = rows(array([1], [0]), array([1], [0.5]), extra={"weight": array(2, 1)})
    loss, found = run(lambda b: awr.actor_loss(actor, b, 10.0), batch)
    log_prob = [-0.5 - math.log(0.5) - 0.5 * math.log(2 * math.pi)] * 2  # both are one standard deviation off
    same(found["log_prob"], log_prob[0])
    same(loss, -(2 * log_prob[0] + log_prob[1]) / 2 + 10 * 0.5 * 0.25 / 2)
    slope = jax.grad(lambda p: awr.actor_loss(p, batch, 10.0)[0])(actor)
    same(slope.log_std, 0.0)  # not learned
    value, _ = run(lambda t, o: awr.critic_loss(nets.Value(line(2.0)), t, o), array(1, 1), array([1], [0]))
    same(value, 0.5 * (1 + 1) / 2)


def test_awr():
    """The authors take critic steps, then returns and weights again, then actor steps; ours takes one of each."""
    g = Golden("awr")
    cfg = awr.AWR(
        max_weight=g.setting("weight_clip"),
        bound_weight=g.setting("bound_loss_weight"),
        optimiser="sgd",
        hidden=(8, 8),
        **{n: g.setting(n) for n in ("discount", "td_lambda", "temperature", "action_std", "actor_lr", "critic_lr")},
    )
    assert g.setting("momentum") == 0.9
    inside = g["batch/path_end"] == 0
    last = np.append(g["batch/path_end"][1:], 0)[inside]
    failed = g["batch/path_failed"][inside] * last
    data = Columns(
        obs=jnp.asarray(g["batch/obs"]),
        row=jnp.asarray(np.flatnonzero(inside)),
        action=jnp.asarray(g["batch/action"][inside]),
        reward=jnp.asarray(g["batch/reward"][inside]),
        terminated=jnp.asarray(failed),
        truncated=jnp.asarray(last - failed),
    )
    log_std = jnp.log(cfg.action_std)

    def actor(root, suffix=""):
        return awr.FixedNormalPolicy(g.mlp(f"{root}/actor", suffix), log_std)

    def critic(root, suffix=""):
        return nets.Value(g.mlp(f"{root}/critic", suffix))

    state = awr.State(
        Trained.new(actor("params"), awr.optimisers_of(cfg).actor),
        Trained.new(critic("params"), awr.optimisers_of(cfg).critic),
    )

    @jax.jit
    def step_of(state, step):
        _, columns, _, metrics = awr.refresh(cfg, state, {"data": data}, None, None, step)
        batch = row_sources.rows(data, jnp.arange(len(data.row)))
        batch = Batch(**(vars(batch) | {"extra": columns}))
        return *awr.update(cfg, state, batch, None, step), columns, metrics

    for step in range(1, g.steps + 1):
        at = f"/step{step}"
        moved, metrics, columns, _ = step_of(state, step - 1)
        close("returns", columns["lambda_return"], g[f"expected/td_lambda_return{at}"][inside], TOLERANCE)
        assert metrics["critic/loss"] == pytest.approx(g[f"expected/critic_loss{at}"], rel=TOLERANCE)
        state = awr.State(state.actor, moved.critic)
        moved, metrics, columns, found = step_of(state, step - 1)
        close("returns", columns["lambda_return"], g[f"expected/td_lambda_return_after_critic{at}"][inside], TOLERANCE)
        close("weights", columns["weight"], g[f"expected/weight{at}"][inside], TOLERANCE)
        assert found["data/advantage"] == pytest.approx(g[f"expected/adv_mean{at}"], rel=TOLERANCE)
        assert found["data/spread"] == pytest.approx(g[f"expected/adv_std{at}"], rel=TOLERANCE)
        assert metrics["actor/loss"] == pytest.approx(g[f"expected/actor_loss{at}"], rel=TOLERANCE)
        assert metrics["actor/outside"] == pytest.approx(g[f"expected/bound_loss{at}"], rel=TOLERANCE)
        state = awr.State(moved.actor, state.critic)
        wanted = actor("expected/params", at), critic("expected/params", at)
        close(f"step {step}", (state.actor.net, state.critic.net), wanted, TOLERANCE)
