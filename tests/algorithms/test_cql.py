"""CQL: losses and candidates worked by hand, and whole updates recorded from the authors' code."""

from __future__ import annotations

import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from holdfast.algorithms import cql
from holdfast.core.config import from_dict, to_dict
from holdfast.core.errors import UserError
from holdfast.core.trained import Trained
from holdfast.parts import conservative, layers, nets, optimisers
from holdfast.parts.distributions import TanhNormal, normal_log_prob
from support.formulas import array, critics, rows, same
from support.tapes import Golden, common, replay

pytestmark = pytest.mark.usefixtures("x64")


Q = np.array([[[1.0, 4], [3, 0], [2, 2]]])  # one critic, three candidates, two rows


DATA = np.array([[5.0, 1]])


LOG_DENSITY = np.array([[0, 0], [1, -1], [math.log(2), 0]])


@pytest.mark.parametrize(
    ("mu", "wanted"),
    [
        ("softmax", (math.log(math.e + math.e**2 + math.e**2 / 2) + math.log(math.e**4 + math.e + math.e**2)) / 2),
        (
            "rho",
            (math.log(math.e**5 + math.e + math.e**3 + math.e**2) + math.log(math.e + math.e**4 + 1 + math.e**2)) / 2,
        ),
    ],
)
def test_cql_value_of_mu(run, mu, wanted):
    cfg = cql.CQL(mu=mu)
    same(run(lambda q, d, p: cql.value_of_mu(cfg, q, d, p), Q, DATA, LOG_DENSITY), [wanted])


def test_cql_penalty_temperature(run):
    # .5 log(e^(1/.5) + e^(3/.5) + e^(2/.5)) at the first row, densities 1
    cfg = cql.CQL(penalty_temperature=0.5)
    wanted = 0.5 * math.log(math.exp(2) + math.exp(6) + math.exp(4))
    same(run(lambda q, d, p: cql.value_of_mu(cfg, q, d, p), Q[:, :, :1], DATA[:, :1], jnp.zeros((3, 1))), [wanted])


@pytest.mark.parametrize("lagrange", [False, True])
def test_cql_critic_loss(run, lagrange):
    """Two critics Q = s + a and 2 s + a on one row s = 1, a = .5, y = 1, candidates -1 and 1 of density 1/2."""
    critic, batch = critics([1, 1], [2, 1]), rows(array([1]), array([0.5]))
    cfg = cql.CQL(alpha=3.0, lagrange=lagrange, gap=0.25)
    action, log_density = array([[-1]], [[1]]), jnp.full((2, 1), -math.log(2))
    loss, found = run(lambda *a: cql.critic_loss(critic, array(1), batch, *a, cfg, 2.0), action, log_density)
    difference = [math.log(2 * math.exp(q - 1) + 2 * math.exp(q + 1)) - (q + 0.5) for q in (1, 2)]
    assert difference[0] == pytest.approx(difference[1])  # both critics have slope 1 in the action
    td = [(1.5 - 1) ** 2, (2.5 - 1) ** 2]
    penalty = [2 * (3 * d - 0.25) if lagrange else 3 * d for d in difference]
    same(loss, sum(td) + sum(penalty))
    same(found["difference"], difference[0])
    same(found["q"], 2.0)
    # the dual variable: weight 2, loss -2 (3 d - .25), its slope in log alpha' the same
    value, slope = run(
        jax.value_and_grad(lambda x: conservative.dual_loss(x, difference[0], cfg.alpha, cfg.gap)[0]), jnp.log(2.0)
    )
    same(value, -2 * (3 * difference[0] - 0.25))
    same(slope, -2 * (3 * difference[0] - 0.25))


def test_cql_clones_first(run):
    """While cloning, the logged action's density stands in place of Q."""
    net = layers.MLP((layers.Linear(jnp.zeros((1, 2)), array(0.5, -1.0)),), ())
    actor, batch = nets.GaussianHeadsPolicy(net, low=-5.0), rows(array([1]), array([0.3]))
    critic = critics([1, 2], [0, 3])
    dist = TanhNormal(array(0.5), array(-1))
    action, log_prob = dist.sample_and_log_prob(array(0.7))
    for cloning, wanted in ((True, dist.log_prob(array(0.3))), (False, min(1 + 2 * action[0], 3 * action[0]))):
        loss, _ = run(lambda c: cql.actor_loss(actor, critic, 0.2, batch, array([0.7]), c), cloning)
        same(loss, 0.2 * log_prob - wanted, 1e-10)


class LooseTanhNormal(TanhNormal):
    """A squashed normal with the authors' density: log(1 - a^2 + 1e-6) where ours is exact."""

    def _density(self, u):
        return (normal_log_prob(u, self.mean, self.log_std) - jnp.log(1 - jnp.tanh(u) ** 2 + 1e-6)).sum(-1)

    def log_prob(self, action):
        return LooseTanhNormal(jnp.clip(self.mean, -9, 9), self.log_std)._density(jnp.arctanh(action))


class LoosePolicy(nets.GaussianHeadsPolicy):
    def __call__(self, obs, keep=()):
        dist = super().__call__(obs, keep)
        return LooseTanhNormal(dist.mean, dist.log_std)


@pytest.mark.parametrize("name", ["cql_h", "cql_h_lagrange"])
def test_cql(name):
    g = Golden(name)
    cfg = cql.CQL(
        backup_actions=10 if g.setting("max_q_backup") else 1,
        cloning_steps=g.setting("policy_eval_start") - 1 if g.setting("policy_eval_start") else 0,
        **common(
            g,
            "alpha=min_q_weight penalty_temperature=temp lagrange gap=lagrange_threshold "
            "dual_lr=alpha_prime_lr actor_lr=policy_lr critic_lr=qf_lr temperature_lr=alpha_lr n_actions "
            "target_entropy",
        ),
    )

    def actor(root, suffix=""):
        return LoosePolicy(g.mlp(f"{root}/actor", suffix), low=-5.0, high=2.0)

    def dual(suffix=""):
        return g.scalar(f"{'expected/' if suffix else ''}params/log_alpha_prime", suffix) if cfg.lagrange else None

    state = cql.State(
        Trained.new(actor("params"), optimisers.adam(cfg.actor_lr)),
        Trained.new(g.critic("params"), optimisers.adam(cfg.critic_lr)),
        g.critic("target"),
        Trained.new(g.scalar("params/log_alpha"), optimisers.adam(cfg.temperature_lr)),
        Trained.new(dual() if cfg.lagrange else jnp.zeros(()), optimisers.adam(cfg.dual_lr)),
    )

    def expected(state, suffix=None):
        if suffix is None:
            moved = (state.actor.net, state.critic.net, state.target_critic, state.temperature.net)
            return *moved, state.dual.net if cfg.lagrange else None
        at = "expected/params"
        found = (actor(at, suffix), g.critic(at, suffix), g.critic("expected/target", suffix))
        return *found, g.scalar(f"{at}/log_alpha", suffix), dual(suffix)

    def tape(drawn):
        one, many = drawn.pop("target_action"), drawn.pop("max_backup_action", None)
        drawn["target_action"] = one[None] if many is None else many.swapaxes(0, 1)
        drawn["random_action"] = drawn.pop("random_action_uniform")
        return {
            k: v.swapaxes(0, 1) if k in ("random_action", "cql_next_action", "cql_current_action") else v
            for k, v in drawn.items()
        }

    for step in range(1, g.steps + 1):  # recorded apiece, ours are of both critics
        q1, q2 = (g[f"expected/qf{i}_loss/step{step}"] for i in (1, 2))
        g.arrays[f"expected/critic_loss/step{step}"] = q1 + q2
        g.arrays[f"expected/target/step{step}"] = g[f"expected/y/step{step}"].mean()
        g.arrays[f"expected/difference/step{step}"] = (
            (g[f"expected/penalty1/step{step}"] + g[f"expected/penalty2/step{step}"]) / 2 / cfg.alpha
        )
    losses = {
        "actor/loss": "policy_loss",
        "critic/loss": "critic_loss",
        "temperature/loss": "alpha_loss",
        "critic/target": "target",
        "critic/difference": "difference",
    }
    losses |= {"dual/loss": "alpha_prime_loss"} if cfg.lagrange else {}
    replay(cql.algorithm, cfg, state, g, expected, losses, tape=tape)


def test_reads_the_configs_of_version_0_1_0():
    old = to_dict(cql.CQL(alpha=3.0)) | {"data_term": True}
    assert from_dict(cql.CQL, old) == cql.CQL(alpha=3.0)
    with pytest.raises(UserError, match="data_term"):
        from_dict(cql.CQL, old | {"data_term": False})
