"""Cal-QL: its calibrated penalty against numbers worked by hand, its updates against recorded ones (float64)."""

from __future__ import annotations

import math

import jax.numpy as jnp
import numpy as np
import pytest

from holdfast.algorithms import cal_ql, cql
from holdfast.core.config import as_arrays
from holdfast.core.spec import Batch
from holdfast.core.trained import Trained
from holdfast.parts import layers, nets, optimisers
from support.formulas import array, critics, row, same
from support.tapes import Golden, common, replay

pytestmark = pytest.mark.usefixtures("x64")


@pytest.mark.parametrize(
    ("floor", "raised", "rate"), [(2.0, [2.0, 5.0], 0.5), (-9.0, [0.0, 5.0], 0.0), (7.0, [7.0, 7.0], 1.0)]
)
def test_raises_the_policys_values_alone(run, floor, raised, rate):
    """Candidates of Q 1 (uniform), 0 and 5 (the policy's), densities 1, e and 1; the logged action's Q is 3."""
    cfg = as_arrays(cal_ql.CalQL(n_actions=1, penalty_temperature=2.0))
    q, log_density = array([[1], [0], [5]]), array([0], [1], [0])
    found, metrics = run(lambda q: cal_ql.difference_of(cfg, q, array([3]), array(floor), log_density), q)
    kept = [1.0, raised[0] - 1, raised[1]]
    same(found, [2 * math.log(sum(math.exp(x / 2) for x in kept)) - 3])
    same(metrics, rate)


def test_bounds_each_rows_difference(run):
    """Rows of logged Q 0 and 500: the second's difference would be far below -200."""
    cfg = as_arrays(cal_ql.CalQL(n_actions=1, min_difference=-200.0))
    q = jnp.zeros((1, 3, 2))
    log_density = jnp.zeros((3, 2))
    found, _ = run(lambda q: cal_ql.difference_of(cfg, q, array([0, 500]), array(-9, -9), log_density), q)
    same(found, [(math.log(3) - 200) / 2])


@pytest.mark.parametrize("lagrange", [False, True])
def test_critic_loss(run, lagrange):
    """A critic s + a on s = 1, a = .5, y = 1; uniform -1, policy 0 and 1, all of density 1; the floor is 1.8."""
    cfg = as_arrays(cal_ql.CalQL(n_actions=1, alpha=3.0, lagrange=lagrange, gap=0.25))
    critic, batch = critics([1, 1]), row(mc_return=1.8)
    action = array([[-1]], [[0]], [[1]])
    loss, metrics = run(lambda a: cal_ql.critic_loss(critic, array(1), batch, a, jnp.zeros((3, 1)), cfg, 2.0), action)
    difference = math.log(math.exp(0) + math.exp(1.8) + math.exp(2)) - 1.5
    penalty = 2 * (3 * difference - 0.25) if lagrange else 3 * difference
    same(loss, 0.25 + penalty)
    same(metrics["bound_rate"], 0.5)
    same(metrics["q_mu"], 1.0)  # as they are, not as raised


def test_online_keeps_the_bound():
    (online,) = cal_ql.algorithm.finetune(cal_ql.CalQL(data_share=0.25))
    assert online.mix == {"data": 0.25, "online": 0.75}
    assert online.collect.whole  # rows carry their episode's return
    assert online.update is None  # the same update
    assert cal_ql.algorithm.needs(cal_ql.CalQL()).columns == ("mc_return",)


def test_recorded_updates():
    g = Golden("cal_ql")
    weight = g.setting("cql_alpha")
    cfg = cal_ql.CalQL(
        alpha=weight,
        gap=weight * g.setting("target_action_gap"),  # theirs stands outside the weight's bracket
        **common(
            g,
            "penalty_temperature=cql_temp n_actions min_difference=clip_diff_min lagrange "
            "backup_actions=n_actions target_entropy dual_lr=alpha_prime_lr actor_lr=policy_lr "
            "critic_lr=qf_lr temperature_lr=alpha_lr",
        ),
    )
    assert (g.setting("max_target_backup"), g.setting("backup_entropy")) == (True, False)

    def actor(root, suffix=""):
        net = g.mlp(f"{root}/actor", suffix)
        head = layers.Linear(*(jnp.asarray(g[f"{root}/actor/head/{part}{suffix}"]) for part in ("weight", "bias")))
        return nets.GaussianHeadsPolicy(layers.MLP((*net.layers, head), ()), low=-20.0, high=2.0)

    state = cql.State(
        Trained.new(actor("params"), optimisers.adam(cfg.actor_lr)),
        Trained.new(g.critic("params"), optimisers.adam(cfg.critic_lr)),
        g.critic("target"),
        Trained.new(g.scalar("params/log_alpha"), optimisers.adam(cfg.temperature_lr)),
        Trained.new(g.scalar("params/log_alpha_prime"), optimisers.adam(cfg.dual_lr)),
    )

    def expected(state, suffix=None):
        if suffix is None:
            moved = (state.actor.net, state.critic.net, state.target_critic, state.temperature.net)
            return *moved, state.dual.net
        at = "expected/params"
        found = (actor(at, suffix), g.critic(at, suffix), g.critic("expected/target", suffix))
        return *found, g.scalar(f"{at}/log_alpha", suffix), g.scalar(f"{at}/log_alpha_prime", suffix)

    def tape(drawn):
        drawn["random_action"] = drawn.pop("random_action_uniform")
        return {k: v if k == "policy_action" else v.swapaxes(0, 1) for k, v in drawn.items()}

    for step in range(1, g.steps + 1):  # recorded for each critic and kind of action, ours are of all
        at = f"step{step}"
        rates = [g[f"expected/bound_rate_q{i}_{kind}/{at}"] for i in (1, 2) for kind in ("current", "next")]
        g.arrays[f"expected/bound_rate/{at}"] = np.mean(rates)
        for name in ("cql_diff", "penalty"):
            g.arrays[f"expected/{name}/{at}"] = (g[f"expected/{name}1/{at}"] + g[f"expected/{name}2/{at}"]) / 2
        g.arrays[f"expected/target/{at}"] = g[f"expected/y/{at}"].mean()
    losses = {
        "temperature/loss": "alpha_loss",
        "actor/loss": "policy_loss",
        "critic/loss": "qf_loss",
        "critic/difference": "cql_diff",
        "critic/penalty": "penalty",
        "critic/target": "target",
        "critic/bound_rate": "bound_rate",
        "dual/loss": "alpha_prime_loss",
        "dual/value": "alpha_prime",
    }
    batch = g.batch()
    batch = Batch(**(vars(batch) | {"extra": {"mc_return": jnp.asarray(g["batch/mc_return"])}}))
    replay(cal_ql.algorithm, cfg, state, g, expected, losses, batch=batch, tape=tape)
