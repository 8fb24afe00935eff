"""CQL: losses and candidates worked by hand, and whole updates recorded from the authors' code."""

from __future__ import annotations

import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from holdfast.algorithms import cql
from holdfast.core.noise import Tape
from holdfast.core.trained import Trained
from holdfast.parts import layers, nets, optimisers
from holdfast.parts.distributions import TanhNormal, normal_log_prob
from support.formulas import array, critics, rows, same
from support.tapes import Golden, common, replay, scalar

pytestmark = pytest.mark.usefixtures("x64")


Q = np.array([[[1.0, 4], [3, 0], [2, 2]]])  # one critic, three candidates, two rows


DATA = np.array([[5.0, 1]])


LOG_DENSITY = np.array([[0, 0], [1, -1], [math.log(2), 0]])


@pytest.mark.parametrize(
    ("mu", "wanted"),
    [
        ("policy", 2.0),
        ("uniform", 2.0),
        ("max", (3 + 4) / 2),
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
    value, slope = run(jax.value_and_grad(lambda x: cql.dual_loss(x, difference[0], cfg)[0]), jnp.log(2.0))
    same(value, -2 * (3 * difference[0] - 0.25))
    same(slope, -2 * (3 * difference[0] - 0.25))


def test_cql_without_the_term_of_the_data(run):
    """Eq. 1: alpha E_mu Q alone. mu uniform over -1 and 1 at s = 1: E_mu Q is 1 for Q = s + a, 2 for Q = 2 s + a."""
    critic, batch = critics([1, 1], [2, 1]), rows(array([1]), array([0.5]))
    given = (array(1), batch, array([[-1]], [[1]]), jnp.zeros((2, 1)))
    cfg = cql.CQL(alpha=3.0, mu="uniform", data_term=False)
    loss, found = run(lambda *a: cql.critic_loss(critic, *a, cfg, 1.0), *given)
    same(loss, (1.5 - 1) ** 2 + (2.5 - 1) ** 2 + 3 * (1 + 2))
    same(found["difference"], (1 + 2) / 2)


def test_cql_candidates(run):
    """Uniform actions of density .5^A, then the policy's at s' and at s with its own densities."""
    cfg, batch = cql.CQL(n_actions=2), rows(jnp.zeros((1, 1)), jnp.zeros((1, 2)))
    law, next_law = TanhNormal(array([0.1, 0.2]), array([-1, 0])), TanhNormal(array([-1, 1]), array([0, 0]))
    tape = {"random_action": jnp.full((2, 1, 2), 0.75)}
    tape |= {f"cql_{n}_action": jnp.full((2, 1, 2), e) for n, e in (("current", 0.3), ("next", -0.4))}
    action, log_density = run(lambda t: cql.candidates(cfg, law, next_law, batch, Tape(t)), tape)
    assert action.shape == (6, 1, 2)
    same(action[0, 0], [0.5, 0.5])
    same(action[2, 0], np.tanh([-1.4, 0.6]))
    same(action[5, 0], np.tanh([0.1 + 0.3 / math.e, 0.5]))
    same(log_density[:2, 0], [-2 * math.log(2)] * 2)
    wanted = [next_law.repeat(2).log_prob(action[2:4]), law.repeat(2).log_prob(action[4:])]
    same(log_density[2:], jnp.concatenate(wanted), 1e-8)
    for mu, n in (("policy", 2), ("uniform", 2), ("max", 6), ("rho", 6)):
        few = {
            k: v
            for k, v in tape.items()
            if mu not in ("policy", "uniform") or (k == "random_action") == (mu == "uniform")
        }
        few = {k: v for k, v in few.items() if mu != "policy" or k == "cql_current_action"}
        played = Tape(few)
        assert len(cql.candidates(cql.CQL(n_actions=2, mu=mu), law, next_law, batch, played)[0]) == n
        assert not played.unused()


def test_cql_clones_first(run):
    """While cloning, the logged action's density stands in place of Q."""
    net = layers.MLP((layers.Linear(jnp.zeros((1, 2)), array(0.5, -1.0)),), ())
    actor, batch = nets.GaussianHeadsPolicy(net, low=-5.0), rows(array([1]), array([0.3]))
    critic = critics([1, 2], [0, 3])
    law = TanhNormal(array(0.5), array(-1))
    action, log_prob = law.sample_and_log_prob(array(0.7))
    for cloning, wanted in ((True, law.log_prob(array(0.3))), (False, min(1 + 2 * action[0], 3 * action[0]))):
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
        law = super().__call__(obs, keep)
        return LooseTanhNormal(law.mean, law.log_std)


@pytest.mark.parametrize("name", ["cql_h", "cql_h_lagrange"])
def test_cql(name):
    g = Golden(name)
    cfg = cql.CQL(
        alpha=g.setting("min_q_weight"),
        penalty_temperature=g.setting("temp"),
        lagrange=g.setting("lagrange"),
        gap=g.setting("lagrange_threshold"),
        dual_lr=g.setting("alpha_prime_lr"),
        backup_actions=10 if g.setting("max_q_backup") else 1,
        cloning_steps=g.setting("policy_eval_start") - 1 if g.setting("policy_eval_start") else 0,
        actor_lr=g.setting("policy_lr"),
        critic_lr=g.setting("qf_lr"),
        temperature_lr=g.setting("alpha_lr"),
        **common(g, "n_actions", "target_entropy"),
    )

    def actor(root, suffix=""):
        return LoosePolicy(g.mlp(f"{root}/actor", suffix), low=-5.0, high=2.0)

    def dual(suffix=""):
        return scalar(g, f"{'expected/' if suffix else ''}params/log_alpha_prime", suffix) if cfg.lagrange else None

    state = cql.State(
        Trained.new(actor("params"), optimisers.adam(cfg.actor_lr)),
        Trained.new(g.critic("params"), optimisers.adam(cfg.critic_lr)),
        g.critic("target"),
        Trained.new(scalar(g, "params/log_alpha"), optimisers.adam(cfg.temperature_lr)),
        Trained.new(dual() if cfg.lagrange else jnp.zeros(()), optimisers.adam(cfg.dual_lr)),
    )

    def expected(state, suffix=None):
        if suffix is None:
            moved = (state.actor.net, state.critic.net, state.target_critic, state.temperature.net)
            return *moved, state.dual.net if cfg.lagrange else None
        at = "expected/params"
        found = (actor(at, suffix), g.critic(at, suffix), g.critic("expected/target", suffix))
        return *found, scalar(g, f"{at}/log_alpha", suffix), dual(suffix)

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
