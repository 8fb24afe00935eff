"""Losses, targets and choices of CQL, BRAC, AWR and CRR against numbers worked by hand, with and without jit."""

from __future__ import annotations

import dataclasses
import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from holdfast.algorithms import awr, brac, cql, crr
from holdfast.core.contract import Context
from holdfast.core.noise import Noise, Tape
from holdfast.core.spec import Batch, Seen, Spec
from holdfast.core.trained import Trained
from holdfast.data.feed.columns import Columns
from holdfast.parts import divergence_estimates, layers, losses, nets, optimisers, targets
from holdfast.parts.distributions import Categorical, Normal, TanhNormal
from support.formulas import array, critics, same

pytestmark = pytest.mark.usefixtures("x64")


def rows(obs, action, reward=None, terminated=None, **more):
    zeros = jnp.zeros(len(obs))
    return Batch(
        obs,
        action,
        zeros if reward is None else reward,
        obs,
        zeros if terminated is None else terminated,
        zeros,
        **more,
    )


# TD(lambda) returns


REWARD, NEXT = [1, 2, 3, 4, 5], [10, 20, 30, 40, 50]
LAST = np.array([False, False, True, False, True])


@pytest.mark.parametrize(
    ("trace", "wanted"),
    [
        # lambda 0: r + .5 V(s'), the third step ends truly
        (0.0, [6, 12, 3, 24, 30]),
        # lambda 1: 3; 2 + .5 * 3; 1 + .5 * 3.5 and, beyond the time limit, 5 + .5 * 50; 4 + .5 * 30
        (1.0, [2.75, 3.5, 3, 19, 30]),
        # lambda .5: 2 + .5 (.5 * 20 + .5 * 3); 1 + .5 (.5 * 10 + .5 * 7.75); 4 + .5 (.5 * 40 + .5 * 30)
        (0.5, [5.4375, 7.75, 3, 21.5, 30]),
    ],
)
def test_lambda_returns(run, trace, wanted):
    bootstrap = 0.5 * (1 - array(0, 0, 1, 0, 0))
    same(run(targets.lambda_returns, array(*REWARD), array(*NEXT), bootstrap, LAST, trace), wanted)


def test_lambda_returns_on_many_episodes_are_the_loop_over_steps(run):
    rng = np.random.default_rng(0)
    n, last = 500, rng.random(500) < 0.1
    last[-1] = True
    reward, value, bootstrap = rng.normal(size=n), rng.normal(size=n), 0.97 * (rng.random(n) > 0.05)
    wanted, after = np.zeros(n), 0.0
    for t in reversed(range(n)):
        after = value[t] if last[t] else 0.1 * value[t] + 0.9 * after
        after = wanted[t] = reward[t] + bootstrap[t] * after
    same(run(targets.lambda_returns, reward, value, jnp.asarray(bootstrap), jnp.asarray(last), 0.9), wanted, 1e-10)


def test_squared_weights(run):
    net = layers.MLP((layers.Linear(array([1, 2], [3, 0]), array(9, 9)), layers.Linear(array([-1], [2]), array(9))), ())
    same(run(losses.squared_weights, net), 1 + 4 + 9 + 1 + 4)


# CQL

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


# BRAC


def test_dual_estimates(run):
    softplus = [math.log(1 + math.exp(x)) for x in (0.3, -2)]
    same(run(lambda p, d: divergence_estimates.dual_estimate(p, d, "wasserstein"), array(0.3), array(-2)), [2.3])
    wanted = math.log(softplus[0] + 1e-8) - softplus[1] + 1
    same(run(lambda p, d: divergence_estimates.dual_estimate(p, d, "kl_dual"), array(0.3), array(-2)), [wanted])


def test_the_dual_kl_is_a_bound_that_its_best_discriminator_reaches():
    """Over three actions with known laws: softplus(c) = pi / b gives sum pi log(pi / b), anything else less."""
    pi, b = np.array([0.5, 0.3, 0.2]), np.array([0.2, 0.2, 0.6])
    best = np.log(np.expm1(pi / b))

    def estimate(c):
        c = jnp.asarray(c)
        return float(
            (
                divergence_estimates.dual_estimate(c, jnp.zeros(3), "kl_dual")
                - divergence_estimates.dual_estimate(jnp.zeros(3), jnp.zeros(3), "kl_dual")
            )
            @ pi
        ) + float(divergence_estimates.dual_estimate(jnp.zeros(3), c, "kl_dual") @ b)

    kl = (pi * np.log(pi / b)).sum()
    assert estimate(best) == pytest.approx(kl, abs=1e-7)
    for shift in ([0.3, 0, 0], [0, -0.5, 0.2], [1, 1, 1]):
        assert estimate(best + np.array(shift)) < kl


def test_discriminator_loss(run):
    """c = 3 a1 + 4 a2: slope 5, so the penalty is 2 * (5 - 1)^2; the estimate is c(policy) - c(data)."""
    net = critics([0, 3, 4])
    action, logged = array([0.5, 0], [0, 0.5]), array([0, 0], [0.1, 0])
    given = (jnp.zeros((2, 1)), action, logged, array(0.2, 0.9), 2.0)
    loss, found = run(lambda *a: divergence_estimates.discriminator_loss(net, *a, "wasserstein"), *given)
    estimate = ((1.5 - 0) + (2 - 0.3)) / 2
    same(loss, 2 * 16 - estimate, 1e-8)
    same(found["slope"], 5, 1e-8)


def test_kl_divergence(run):
    """Mean over two draws of log pi - log b, b's density at actions kept 1e-3 from the bounds."""
    law, other = TanhNormal(array([0.2]), array([0])), TanhNormal(array([-0.3]), array([-1]), 1e-3)
    draws = (array([[0.1]], [[9]]),)  # the second is saturated
    found = run(
        lambda d: divergence_estimates.divergence(("kl", 1.0), lambda obs: other, law, None, None, None, d), draws
    )
    action, log_pi = law.sample_and_log_prob(array([0.1]))
    edge, log_edge = law.sample_and_log_prob(array([9]))
    assert edge[0, 0] > 1 - 1e-3
    wanted = log_pi - other.log_prob(action) + log_edge - other.log_prob(array([1 - 1e-3]))
    same(found, wanted / 2, 1e-8)


def test_bounded_policy(run):
    net = layers.MLP((layers.Linear(jnp.zeros((1, 2)), array(0.4, 0.6)),), ())
    law = run(divergence_estimates.BoundedPolicy(net), array([1]))
    same(law.log_std, [[-5 + 2.5 * (math.tanh(0.6) + 1)]])
    assert law.edge == 1e-3
    for x, edge in ((100, 0), (-100, -5)):  # the range
        net = layers.MLP((layers.Linear(jnp.zeros((1, 2)), array(0.4, x)),), ())
        same(divergence_estimates.BoundedPolicy(net)(array([1])).log_std, [[edge]])


def test_learned_weights_stay_in_range(run):
    """Plain descent of rate 1 on -w (excess): w + mean excess, projected."""
    tx = optimisers.sgd(1.0, 0.0)
    for excess, wanted in (([0.1, 0.3], 0.7), ([-2, -2], 0.0), ([4, 4], 1.5)):
        weight = Trained.new(jnp.asarray(0.5), tx)
        moved, found = run(
            lambda w, e: divergence_estimates.learn_weight(w, tx, e, 1.5, "weight"), weight, array(*excess)
        )
        same(moved.net, wanted)
        same(found["weight/loss"], -0.5 * np.mean(excess))


@pytest.mark.parametrize("penalty", [True, False])
def test_brac_pays_in_the_target_only_with_a_value_penalty(penalty):
    """Target = r + gamma (Q - entropy weight log pi - alpha D); the two rules differ by gamma alpha D."""
    cfg = brac.BRAC(hidden=(4,), critic_hidden=(4,), alpha=0.7, entropy_weight=0.2, discount=0.5, polyak=0.0)
    noise = Noise(jax.random.PRNGKey(0))
    state = brac.init(cfg, Context(Spec((2,), 1)), noise)
    batch = rows(array([1, 0], [0, 1]), array([0.3], [-0.2]), array(1, 2), array(0, 1))
    _, metrics = brac.update(cfg, state, batch, noise, 0, value_penalty=penalty)
    law = state.actor.net(batch.next_obs)
    action, log_prob = law.sample_and_log_prob(noise.normal("q_target_action", (2, 1)))
    q = state.target_critic(batch.next_obs, action).min(0)
    draws = brac.draws_of(cfg, noise, "q_div", (2, 1))
    d = divergence_estimates.divergence(("kl", 20.0), state.reference.net, law, batch.next_obs, None, None, draws)
    first = 1 + 0.5 * (q[0] - 0.2 * log_prob[0] - (0.7 * d[0] if penalty else 0))
    same(metrics["critic/target"], (first + 2) / 2, 1e-10)


def test_bracs_second_test_policy_is_the_best_draw_by_the_first_critic():
    cfg = brac.BRAC(hidden=(4,), critic_hidden=(4,), acting="max_q", acting_actions=3)
    state = brac.init(cfg, Context(Spec((2,), 1)), Noise(jax.random.PRNGKey(0)))
    state = dataclasses.replace(state, critic=state.critic.replace(critics([0, 0, -1], [0, 0, 1])))
    seen = Seen(jnp.zeros((2, 2)), jnp.zeros(2))
    eps = array([[0.1], [3.0]], [[-1.0], [0.0]], [[0.5], [-1.0]])
    action, _ = brac.act(cfg, state, seen, (), Tape({"act": eps}), "sample")  # critic 1 falls with the action
    law = state.actor.net(seen.obs)
    same(action, law.sample(array([-1.0], [-1.0])))
    one, two = (brac.act(cfg, state, seen, (), Noise(jax.random.PRNGKey(i)), "best")[0] for i in (0, 1))
    same(one, two)  # the draws are the same for every call: nothing is left to chance
    mode, _ = brac.act(dataclasses.replace(cfg, acting="mode"), state, seen, (), Tape({}), "best")
    same(mode, law.mode())


# AWR


def line(slope, bias=0.0):
    return layers.MLP((layers.Linear(array([slope]), array(bias)),), ())


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


# CRR


def test_crr_values_of_a_continuous_policy(run):
    """Critics Q = a and 3 a - 1, a normal of mean .2 and deviation .1 at normals -1, 0, 1, 20 (clipped to 1)."""
    critic = nets.Critic(layers.MLP((layers.Linear(array([[0], [1]], [[0], [3]]), array([0], [-1])),), ()))
    law, obs = Normal(array([0.2]), jnp.log(array([0.1]))), array([1])
    tape = {"actor_actions": array([[-1]], [[0]], [[1]], [[20]])}
    mean = [2 * a - 0.5 for a in (0.1, 0.2, 0.3, 1)]
    for kind, wanted in (("mean", np.mean(mean)), ("max", max(mean))):
        cfg = crr.CRR(n_actions=4, advantage=kind)
        same(run(lambda t, cfg=cfg: crr.policy_value(cfg, law, critic, obs, Tape(t)), tape), [wanted])
    same(run(lambda t: crr.next_value(law, critic, obs, Tape(t)), {"target_action": array([1])}), [min(0.3, -0.1)])


def discrete_critic(*values):
    """Critics with the same values in every state."""
    nets_ = (layers.Linear(jnp.zeros((len(values), 1, len(values[0]))), array(*values)),)
    return nets.Critic(layers.MLP(nets_, ()), True)


def test_crr_values_of_a_discrete_policy_are_exact_and_legal(run):
    critic = discrete_critic([1, 2, 9], [3, 0, 9])
    logits = jnp.log(array([0.1, 0.3, 0.6]))
    law = Categorical(logits).among(jnp.asarray([[True, True, False]]))  # 1/4, 3/4
    obs = array([1])
    same(run(lambda: crr.next_value(law, critic, obs, None)), [0.25 * 1 + 0.75 * 0])
    same(run(lambda: crr.policy_value(crr.CRR(), law, critic, obs, None)), [0.25 * 2 + 0.75 * 1])
    same(run(lambda: crr.policy_value(crr.CRR(advantage="max"), law, critic, obs, None)), [2.0])


def test_crr_weights_are_strict_and_capped():
    """Binary: an advantage of exactly 0 is not cloned. The critic does not move (rate 0)."""
    actor = nets.CategoricalPolicy(layers.MLP((layers.Linear(jnp.zeros((1, 2)), jnp.zeros(2)),), ()))
    for weight, advantage, wanted in (
        ("binary", "max", [0, 0]),
        ("binary", "mean", [1, 0]),
        ("exp", "mean", [2.5, math.exp(-1)]),
    ):
        cfg = crr.CRR(
            weight=weight,
            advantage=advantage,
            discrete_temperature=1.0,
            max_weight=2.5,
            critic_lr=0.0,
            polyak=0.0,
            actor_decay_steps="constant",
        )
        critic = discrete_critic([2, 0], [2, 0])
        state = crr.State(
            Trained.new(actor, crr.optimiser(cfg)), Trained.new(critic, crr.critic_optimiser(cfg)), actor, critic
        )
        for row, action in enumerate((0, 1)):  # advantage over the mean: 1 and -1; over the best: 0 and -2
            _, found = crr.update(cfg, state, rows(array([1]), jnp.asarray([action])), Noise(jax.random.PRNGKey(0)), 0)
            same(found["actor/weight"], wanted[row])


def test_critic_weighted_policy_of_discrete_actions():
    """pi exp(Q) over legal actions, exactly."""
    net = layers.MLP((layers.Linear(jnp.zeros((1, 3)), jnp.log(array(0.2, 0.3, 0.5))),), ())
    tx, critic = optimisers.adam(1e-3), discrete_critic([1, 0, 5], [1, 2, 5])
    actor = nets.CategoricalPolicy(net)
    state = crr.State(Trained.new(actor, tx), Trained.new(critic, tx), actor, critic)
    seen = Seen(array([1]), jnp.zeros(1), jnp.asarray([[True, True, False]]))
    law = crr.dist(crr.CRR(acting="critic"), state, seen, ())
    wanted = np.array([0.2 * math.e, 0.3 * math.e, 0])
    same(jnp.exp(law.log_probs()), [wanted / wanted.sum()])


def test_critic_weighted_policy_of_continuous_actions():
    """Of draws, one with probability proportional to exp Q; the best is the draw of the highest Q and no chance."""
    cfg = crr.CRR(acting="critic", acting_actions=2)
    net = layers.MLP((layers.Linear(jnp.zeros((1, 2)), array(0, 0)),), ())
    actor, critic = nets.GaussianHeadsPolicy(net, squash="mean"), critics([0, 4])
    tx = optimisers.adam(1e-3)
    state = crr.State(Trained.new(actor, crr.optimiser(cfg)), Trained.new(critic, tx), actor, critic)
    n = 20_000
    seen = Seen(jnp.zeros((n, 1)), jnp.zeros(n))
    eps = jnp.broadcast_to(array(0.1, 0.3)[:, None, None], (2, n, 1))

    class Half(Noise):
        """The same two draws for each row, and chance in the choice."""

        def normal(self, name, shape, dtype=None):
            return eps

    action, _ = crr.act(cfg, state, seen, (), Half(jax.random.PRNGKey(0)), "sample")
    share = float((action[:, 0] == 0.3).mean())
    assert share == pytest.approx(1 / (1 + math.exp(-0.8)), abs=0.01)  # Q differs by 4 * .2
    best = [crr.act(cfg, state, seen, (), Noise(jax.random.PRNGKey(i)), "best")[0] for i in (0, 1)]
    np.testing.assert_array_equal(*best)
    assert (np.asarray(best[0]) == best[0][0, 0]).all()
