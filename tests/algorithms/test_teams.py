"""Learners of teams: independent ones against each agent alone, and the formulas of OMAR, OMIGA and MABCQ."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from holdfast import UserError
from holdfast.algorithms import bc, mabcq, mopo, omar, omiga, td3_bc
from holdfast.algorithms.independent import independent, require_rows_alone
from holdfast.core.config import as_arrays
from holdfast.core.contract import Context
from holdfast.core.noise import Noise, Tape
from holdfast.core.spec import Batch, Seen, Spec
from holdfast.core.team import Team
from holdfast.parts import cross_entropy
from holdfast.policy.contents import template_of
from holdfast.policy.policy import Policy
from support.formulas import array, near, same

NOISE = Noise(jax.random.PRNGKey(0))
SPEC = Spec((3,), 2)
ROWS = 8


def batch(seed, width=3):
    rng = np.random.default_rng(seed)
    obs, next_obs = (jnp.asarray(rng.normal(size=(ROWS, width)), float) for _ in range(2))
    action = jnp.asarray(rng.uniform(-1, 1, (ROWS, 2)), float)
    reward = jnp.asarray(rng.normal(size=ROWS), float)
    return Batch(obs, action, reward, next_obs, jnp.asarray(rng.random(ROWS) < 0.3, float), jnp.zeros(ROWS))


def contexts(*specs):
    return Context(SPEC, members=tuple(Context(spec) for spec in specs))


@pytest.mark.parametrize("widths", [(3, 3), (3, 2)])
def test_independent_learners_are_each_agent_alone(widths):
    """With equal shapes one vmap updates all agents, else a loop: both are the update of each agent."""
    specs = tuple(Spec((width,), 2) for width in widths)
    team = Team(("a", "b"), specs)
    both = independent(bc.algorithm, team)
    cfg = as_arrays(bc.BC(hidden=(4,)))
    init, update = jax.jit(bc.algorithm.init), jax.jit(bc.algorithm.update)
    act = jax.jit(lambda cfg, state, seen: bc.algorithm.act(cfg, state, seen, (), NOISE, "best")[0])
    state = jax.jit(both.init)(cfg, contexts(*specs), NOISE)
    (phase,) = both.phases(cfg)
    batches = tuple(batch(i, width) for i, width in enumerate(widths))
    new, metrics = jax.jit(phase.update)(cfg, state, batches, NOISE, 0)
    joint = jnp.concatenate([own.obs for own in batches], -1)
    begun = both.memory(cfg, SPEC, ROWS)
    together = jax.jit(lambda cfg, state, seen: both.act(cfg, state, seen, begun, NOISE, "best"))
    action, memory = together(cfg, new, Seen(joint, jnp.zeros(ROWS)))
    assert memory == ((), ())
    assert action.shape == (ROWS, 4)
    for i, name in enumerate(team.names):
        before = init(cfg, Context(specs[i]), NOISE.sub(name))
        after, own = update(cfg, before, batches[i], NOISE.sub(name), 0)
        algorithm, part = both.member(cfg, new, i)
        assert algorithm is bc.algorithm
        jax.tree.map(lambda x, y: np.testing.assert_allclose(x, y, rtol=1e-5, atol=1e-6), part, after)
        for key, value in own.items():
            np.testing.assert_allclose(metrics[f"{name}/{key}"], value, rtol=1e-5, atol=1e-6)
        alone = act(cfg, after, Seen(batches[i].obs, jnp.zeros(ROWS)))
        np.testing.assert_allclose(action[:, 2 * i : 2 * i + 2], alone, rtol=1e-5, atol=1e-6)


def test_methods_that_need_more_than_rows():
    require_rows_alone(td3_bc.algorithm, td3_bc.algorithm.phases(td3_bc.TD3BC()))
    with pytest.raises(UserError, match="mopo learns a model of the environment"):
        require_rows_alone(mopo.algorithm, ())


def test_the_search_of_the_particle_games():
    """One row, one dimension, values -|a - .5|: two rounds of two samples by hand."""
    eps = array([[[[0.1]], [[-0.2]]]], [[[[1.0]], [[-1.0]]]])[:, 0]  # [rounds, n, B, A]

    def values(action):
        return -jnp.abs(action - 0.5)[..., 0]

    action, q = cross_entropy.softened(values, eps, 2.0)
    first = np.array([0.2, -0.4])
    weight = np.exp(-np.abs(first - 0.5))
    weight /= weight.sum()
    mean = (weight * first).sum()
    std = np.sqrt(((first - mean) ** 2).mean())
    near(action[:, 0, 0], [mean + std, mean - std])
    near(q[:, 0], -np.abs(np.array([mean + std, mean - std]) - 0.5))
    eps = array([[[0.1]], [[-0.2]], [[0.4]]], [[[1.0]], [[-1.0]], [[0.0]]])
    action, _ = cross_entropy.elite(values, eps, 2.0, 2)
    std = np.std([0.2, 0.8], ddof=1)
    near(action[:, 0, 0], [0.5 + std, 0.5 - std, 0.5, 0.2, 0.8])  # the best two are kept


def test_the_better_of_the_search_and_the_actor():
    cfg = as_arrays(omar.OMAR(hidden=(4,), rounds=1, samples=2))
    state = omar.init(cfg, Context(SPEC), NOISE)
    own = jnp.zeros((ROWS, 2))
    obs = batch(0).obs
    eps = 3 * jnp.ones((1, 2, ROWS, 2)).at[0, 1].set(-1)
    best = jax.jit(lambda net, own, obs, eps: omar.best_action(cfg, net, own, obs, Tape({"search": eps})))
    found = best(state.critic.net, own, obs, eps)
    many = [own, jnp.ones_like(own), -jnp.ones_like(own)]
    judge = jax.jit(lambda net, action: net(obs, action)[0])
    q = np.stack([np.asarray(judge(state.critic.net, action)) for action in many])
    same(found, np.stack([np.asarray(x) for x in many])[q.argmax(0), np.arange(ROWS)], rtol=1e-6)


def test_the_conservative_term_of_omar():
    cfg = as_arrays(omar.OMAR(hidden=(4,), candidates=2))
    state = omar.init(cfg, Context(SPEC), NOISE)
    rows = batch(1)
    uniform = jnp.full((2, ROWS, 2), 0.75)
    action, density = omar.candidates(cfg, state.actor.net, rows, Tape({"random_action": uniform}))
    near(action, np.full((2, ROWS, 2), 0.5))
    y = rows.reward
    loss, metrics = omar.critic_loss(state.critic.net, y, rows, action, density, 2.0)
    q = np.asarray(state.critic.net(rows.obs, rows.action))
    other = np.asarray(state.critic.net(rows.obs, action[0]))
    gap = (np.log(2) + other + 2 * np.log(2) - q).mean(1)  # log of two equal terms of density 1/4
    near(loss, (((q - np.asarray(y)) ** 2).mean(1) + 2 * gap).sum())
    near(metrics["gap"], gap.mean())


def test_the_losses_of_omiga():
    cfg = as_arrays(omiga.OMIGA(hidden=(4,), mixer_hidden=(3,), alpha=0.5))
    members = Context(Spec((6,), 4), members=(Context(SPEC), Context(SPEC)))
    state = omiga.init(cfg, members, NOISE)
    target_value = jax.tree.map(lambda x: x + 0.1, state.value.net)
    state = omiga.State(**{**vars(state), "target_value": target_value})
    batches = (batch(0), batch(1))
    rows = jax.jit(omiga.rows_of)(batches, state.ids)
    assert rows.seen.shape == (2, ROWS, 5)
    near(rows.seen[1, :, 3:], np.tile([0, 1], (ROWS, 1)))
    near(rows.reward, (batches[0].reward + batches[1].reward) / 2)
    judged = jax.jit(lambda target, value, rows: (target.q(rows.seen, rows.action)[0], value(rows.seen)))
    q, v = (np.asarray(x) for x in judged(state.target, state.value.net, rows))
    mix = jax.jit(lambda mixer, x: mixer(x))
    weight, offset = (np.asarray(x) for x in mix(state.target.mixer, rows.state))
    assert (weight >= 0).all()
    loss, _ = jax.jit(omiga.critic_loss)(state.target, rows.reward, rows)
    total = weight[:, 0] * q[0] + weight[:, 1] * q[1] + offset
    near(loss, ((total - np.asarray(rows.reward)) ** 2).mean())
    after, after_offset = (np.asarray(x) for x in mix(state.target.mixer, rows.next_state))
    following = np.asarray(mix(target_value, rows.next_seen))
    wanted = (after.T * following).sum(0) + after_offset
    near(
        jax.jit(omiga.target_of)(cfg, state, rows),
        np.asarray(rows.reward + 0.99 * (1 - batches[0].terminated) * wanted),
    )
    z = np.clip(weight.T * (q - v) / 0.5, -10, 10)
    most = max(z.max(), -1)
    loss, _ = jax.jit(omiga.value_loss)(state.value.net, q, weight.T, rows, cfg)
    near(loss, (np.exp(z - most) + np.exp(-most) * weight.T * v / 0.5).mean())
    new, metrics = jax.jit(omiga.update)(cfg, state, batches, NOISE, 0)
    near(metrics["actor/factor"], np.exp(z).mean())
    jax.tree.map(
        lambda x, old, at: np.testing.assert_allclose(x, 0.995 * old + 0.005 * at, rtol=1e-4, atol=1e-6),
        new.target_value, target_value, new.value.net,
    )  # fmt: skip


def test_an_agent_of_omiga_acts_alone_as_in_its_team():
    cfg = as_arrays(omiga.OMIGA(hidden=(4,), mixer_hidden=(3,)))
    state = omiga.init(cfg, Context(Spec((6,), 4), members=(Context(SPEC), Context(SPEC))), NOISE)
    obs = jnp.concatenate([batch(0).obs, batch(1).obs], -1)
    joint, _ = omiga.act(cfg, state, Seen(obs, jnp.zeros(ROWS)), (), NOISE, "best")
    algorithm, alone = omiga.member(cfg, state, 1)
    own, _ = algorithm.act(cfg, alone, Seen(batch(1).obs, jnp.zeros(ROWS)), (), NOISE, "best")
    near(joint[:, 2:], own)
    facts = {"stats": {"agents": 2.0}}
    made = template_of(omiga.algorithm, cfg, SPEC, facts, Policy.load)  # as a saved policy is loaded
    assert jax.tree.map(jnp.shape, made) == jax.tree.map(jnp.shape, alone)


def test_the_weights_of_mabcq():
    """Rows that lead to better states weigh more; the mean weight is 1, and at first all weights are."""
    cfg = as_arrays(mabcq.MABCQ(hidden=(4,), vae_hidden=(4,), model_hidden=(4,), candidates=2, next_samples=3))
    state = mabcq.init(cfg, Context(SPEC), NOISE)
    rows = batch(2)
    q = jnp.arange(ROWS, dtype=float) - 3.0
    given = (cfg, state, state.model.net, state.vae.net, rows)
    weights = jax.jit(mabcq.weights)
    weight, metrics = weights(*given, q, NOISE)
    near(weight.mean(), 1)
    assert float(weight.max()) <= 10 / 0.1
    best = int(np.argmin(rows.terminated))
    more, _ = weights(*given, q.at[best].add(1000), NOISE)
    assert more[best] > weight[best]
    assert np.isfinite(metrics["log_density"])
