"""The parts and losses of the discrete value methods, against numbers worked by hand."""

import dataclasses
import json
import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from holdfast import UserError
from holdfast.algorithms import discrete_bcq, discrete_cql, dqn, ensemble_dqn, qr_dqn, rem, tabular_bcq
from holdfast.core.config import as_arrays
from holdfast.core.contract import Context, Treatment
from holdfast.core.noise import Noise, Tape
from holdfast.core.spec import Batch, Seen, Spec
from holdfast.core.trained import Trained
from holdfast.data.dataset import Dataset
from holdfast.data.feed import columns as cols
from holdfast.data.feed import treatment
from holdfast.data.feed.sampler import rows as rows_of
from holdfast.environments import probes, tabular
from holdfast.environments.batch_mdp import batch_mdp, states_of
from holdfast.parts import action_values as av
from holdfast.parts import layers, nets, optimisers, targets
from holdfast.parts.distributions import Categorical
from holdfast.studies import batch_constrained, result
from support.formulas import array

NOISE = Noise(jax.random.PRNGKey(0))
SPEC = Spec((3,), 4, discrete=True)


def same(found, wanted, **how):
    """To float32's rounding; `wanted` may be one number for all."""
    np.testing.assert_allclose(found, wanted, **{"rtol": 1e-5, "atol": 1e-6, **how})


def constant(q):
    """A network whose values [A, K] are the same everywhere."""
    q = jnp.asarray(q, jnp.float32)
    net = layers.MLP((layers.Linear(jnp.zeros((3, q.size)), q.reshape(-1)),), ())
    return av.ActionValues(net, q.shape[1])


def batch(n=2, **more):
    given = {
        "obs": jnp.zeros((n, 3)),
        "action": jnp.zeros(n, int),
        "reward": jnp.ones(n),
        "next_obs": jnp.zeros((n, 3)),
        "terminated": jnp.zeros(n),
        "truncated": jnp.zeros(n),
    }
    return Batch(**{**given, **more})


# values of actions


def test_the_outputs_are_laid_out_action_by_action():
    values = constant([[1, 2, 3], [4, 5, 6]])(jnp.zeros((7, 3)))
    assert values.shape == (7, 2, 3)
    same(values[0], [[1, 2, 3], [4, 5, 6]])
    same(av.pick(values[:2], jnp.array([1, 0])), [[4, 5, 6], [1, 2, 3]])


def test_mixing_the_last_layer_is_mixing_the_outputs():
    net = av.action_values(NOISE, SPEC, (8, 8), 5)
    obs, weights = NOISE.normal("obs", (6, 3)), jnp.array([0.1, 0.2, 0.0, 0.4, 0.3])
    assert net(obs).shape == (6, 4, 5)
    same(net.mix(weights)(obs)[..., 0], net(obs) @ weights)
    same(net.mean(obs), net(obs).mean(-1))


def test_the_best_legal_action():
    q = array([3, 1, 2], [3, 1, 2], [3, 1, 2])
    mask = jnp.array([[1, 1, 1], [0, 1, 1], [0, 0, 0]], bool)
    assert av.best(q).tolist() == [0, 0, 0]
    assert av.best(q, mask).tolist() == [0, 2, 0]  # none legal: 0, whose value an end cuts


def test_the_double_target():
    # online prefers action 0, the target network action 1; legal at the second row: only action 2
    online, target = constant([[3], [1], [0]]), constant([[10], [20], [5]])
    mask = jnp.array([[1, 1, 1], [0, 0, 1]], bool)
    rows = batch(next_mask=mask)
    same(av.next_values(online, target, rows, True), [[10], [5]])
    same(av.next_values(online, target, rows, False), [[20], [5]])
    # quantiles: chosen by their means, 2 against 3; all of them returned
    target = constant([[0, 4], [1, 5]])
    same(av.next_values(target, target, batch(), False), [[1, 5], [1, 5]])


def test_the_target_of_each_estimate():
    rows = batch(reward=array(1, 1), terminated=array(0, 1))
    same(av.td(rows, array([2, 4], [2, 4]), 0.5), [[2, 3], [1, 1]])


@pytest.mark.parametrize(("every", "step", "rate", "wanted"), [(1, 0, 0.25, 3), (3, 1, 1.0, 2), (3, 2, 1.0, 6)])
def test_how_the_target_network_follows(every, step, rate, wanted):
    found = jax.jit(lambda s: targets.follow(array(6.0), array(2.0), rate, every, s))(step)
    same(found, [wanted])  # .75 * 2 + .25 * 6; not yet; the copy


def test_the_hard_copy_stays_a_branch_under_vmap():
    def follow(new, old, step):
        return jax.vmap(lambda n, o: targets.follow(n, o, 1.0, 5, step))(new, old)

    text = str(jax.make_jaxpr(follow)(jnp.ones((4, 3)), jnp.zeros((4, 3)), 1))
    assert "cond[" in text
    assert "f32[4,3] = select_n" not in text


def test_a_greedy_law():
    law = av.greedy(array([1, 3, 2], [9, 3, 2]), jnp.array([[1, 1, 1], [0, 0, 1]], bool))
    same(jnp.exp(law.log_probs()), [[0, 1, 0], [0, 0, 1]])
    same(law.entropy(), [0, 0])
    assert law.mode().tolist() == [1, 2]


def test_epsilon():
    assert [float(av.epsilon_at(s, 0.1, 10)) for s in (0, 5, 10, 99)] == pytest.approx([1, 0.55, 0.1, 0.1])
    assert av.epsilon_at(5, 0.1, 0) == 0.1
    law = av.greedy(array([1, 3, 2], [1, 3, 2]))
    mask = jnp.array([[1, 1, 1], [1, 1, 0]], bool)
    # row 0 explores (.05 < .1) and takes the largest uniform that is legal, row 1 does not
    tape = Tape({"explore": array(0.05, 0.5), "random_action": array([0.2, 0.3, 0.9], [0.9, 0.1, 0.95])})
    assert av.epsilon_greedy(law, mask, 0.1, tape, "explore").tolist() == [2, 1]
    tape = Tape({"explore": array(0.05, 0.05), "random_action": array([0.2, 0.3, 0.9], [0.9, 0.1, 0.95])})
    assert av.epsilon_greedy(law, mask, 0.1, tape, "explore").tolist() == [2, 0]
    for mode in ("best", "sample"):
        assert av.epsilon_greedy(law, mask, 1.0, Tape({}), mode).tolist() == [1, 1]


# QR-DQN, ensembles


def test_the_quantile_loss():
    # z = (0, 1), one row, targets (0, 3); taus .25, .75. Huber: 0 of 0, 2.5 of 3, .5 of 1, 1.5 of 2
    # z_0: u = 0, 3: weights .25: (0 + .25 * 2.5) / 2 = .3125
    # z_1: u = -1, 2: weights |.75 - 1|, .75: (.25 * .5 + .75 * 1.5) / 2 = .625
    same(qr_dqn.quantile_loss(array([0, 1]), array([0, 3])), 0.9375)


def test_each_head_takes_its_own_maximum():
    values = array([[1, 9], [5, 2], [0, 3]])  # B 1, A 3, K 2
    same(ensemble_dqn.best_of_each(values, None), [[5, 9]])
    same(ensemble_dqn.best_of_each(values, jnp.array([[False, True, True]])), [[5, 3]])


@pytest.mark.parametrize("module", [ensemble_dqn, rem])
def test_heads_act_by_their_mean_minimum_or_lower_bound(module):
    q = array([5, 1], [2, 2.5], [9, -9])  # means 3, 2.25, 0; deviations 2, .25, 9
    state = dqn.State(Trained.new(constant(q), optimisers.adam(1.0)), None)
    seen = Seen(jnp.zeros((1, 3)), jnp.zeros(1))
    for acting, deviations, wanted in (("mean", 1.0, 0), ("min", 1.0, 1), ("lcb", 1.0, 1), ("lcb", 0.1, 0)):
        cfg = module.algorithm.Config(heads=2, acting=acting, acting_deviations=deviations)
        found, _ = module.algorithm.act(cfg, state, seen, (), Tape({}), "best")
        assert int(found[0]) == wanted
        assert float(module.algorithm.dist(cfg, state, seen, ()).logits[0, wanted]) == 0
    assert "expected one of mean, min, lcb" in module.algorithm.check(module.algorithm.Config(acting="max"))[0]


# the conservative penalty

Q = array([1, 2, 3])
MASK = jnp.array([[True, True, False]])


@pytest.mark.parametrize(
    ("mu", "free", "masked"),
    [
        ("entropy", math.log(math.e + math.e**2 + math.e**3), math.log(math.e + math.e**2)),
        ("greedy", 3, 2),
        ("uniform", 2, 1.5),
        ("softmax", (1 + 2 * math.e + 3 * math.e**2) / (1 + math.e + math.e**2), (1 + 2 * math.e) / (1 + math.e)),
    ],
)
def test_what_is_pushed_down(mu, free, masked):
    same(discrete_cql.pushed_down(Q, None, mu), [free])
    same(discrete_cql.pushed_down(Q, MASK, mu), [masked])


@pytest.mark.parametrize("mask", [None, MASK])
def test_the_written_out_softmax_has_the_gradient_of_the_entropy_form(mask):
    def slope(mu):
        return jax.grad(lambda q: discrete_cql.pushed_down(q, mask, mu).sum())(Q)

    same(slope("softmax"), slope("entropy"))
    same(slope("greedy"), [[0, 0, 1]] if mask is None else [[0, 1, 0]])
    same(slope("uniform"), [[1 / 3] * 3] if mask is None else [[0.5, 0.5, 0]])


def test_the_conservative_loss():
    cfg = discrete_cql.DiscreteCQL(alpha=2.0, mu="greedy")
    critic = constant([[1.0], [2.0], [4.0]])
    # Huber of 1 - 3: 1.5; penalty max 4 less Q of the data 1: 3
    rows, y = batch(), array([3], [3])
    value, told = discrete_cql.critic_loss(critic, y, rows, cfg)
    same(value, 1.5 + 2 * 3)
    same([told["td_loss"], told["penalty"], told["q"], told["policy_q"]], [1.5, 3, 1, 4])
    value, told = discrete_cql.critic_loss(critic, y, rows, dataclasses.replace(cfg, data_term=False))
    same(value, 1.5 + 2 * 4)


# batch-constrained


def test_the_allowed_actions():
    law = Categorical(jnp.log(array([0.5, 0.3, 0.2])))  # relative to the likeliest: 1, .6, .4
    for threshold, wanted in (
        (0.0, [1, 1, 1]),
        (0.39, [1, 1, 1]),
        (0.5, [1, 1, 0]),
        (0.7, [1, 0, 0]),
        (1.0, [1, 0, 0]),
    ):
        assert discrete_bcq.allowed(law, None, threshold)[0].tolist() == wanted, threshold
    mask = jnp.array([[False, True, True]])  # relative to the likeliest legal one: 1, .667
    assert discrete_bcq.allowed(law, mask, 0.6)[0].tolist() == [0, 1, 1]
    assert discrete_bcq.allowed(law, mask, 0.0)[0].tolist() == [0, 1, 1]
    assert discrete_bcq.allowed(law, jnp.zeros((1, 3), bool), 0.5)[0].tolist() == [1, 1, 0]  # after an end: as without


def test_the_imitation_loss():
    net = nets.CategoricalPolicy(layers.MLP((layers.Linear(jnp.zeros((3, 2)), array(math.log(3), 0.0)),), ()))
    value, told = discrete_bcq.imitation_loss(net, 0.1, batch(action=jnp.array([0, 1])))
    nll = -(math.log(0.75) + math.log(0.25)) / 2
    same(value, nll + 0.1 * math.log(3) ** 2 / 2)
    same([told["nll"], told["accuracy"]], [nll, 0.5])


def table():
    """Three states seen as 0, 1, 2; two actions; state 2 shows nothing."""
    support = jnp.array([[1, 1], [1, 0], [0, 0]], bool)
    q = array([0, 0], [1, 50], [7, 8])
    return tabular_bcq.State(array([0], [1], [2]), support, jnp.zeros((3, 2)), q)


def test_an_update_of_the_table():
    cfg = as_arrays(tabular_bcq.TabularBCQ(states=3, discount=0.5, critic_lr=0.5, rate_power=1.0, batch_size=5))
    rows = Batch(
        obs=array([0], [0], [0], [1], [2]),
        action=jnp.array([0, 0, 1, 0, 1]),
        reward=array(1, 3, 0, 2, 100),
        next_obs=array([1], [1], [2], [0], [0]),
        terminated=array(0, 1, 0, 0, 0),
        truncated=jnp.zeros(5),
    )
    state, _ = jax.jit(tabular_bcq.update)(cfg, table(), rows, NOISE, 0)
    # (0, 0): targets 1 + .5 * 1 (50 is not supported) and 3, mean 2.25, rate .5
    # (0, 1): at state 2 nothing is supported: the initial values stand, .5 * 8
    # (1, 0): from 1, target 2 + .5 * 0; (2, 1) is not supported and stays
    same(state.q, [[1.125, 2], [1.5, 50], [7, 8]])
    assert state.visits.tolist() == [[1, 1], [1, 0], [0, 0]]
    state, _ = jax.jit(tabular_bcq.update)(cfg, state, rows, NOISE, 1)
    # second rate .25: (1.125 + .25 * ((1.75 + 3) / 2 - 1.125), 2 + .25 * (4 - 2)), 1.5 + .25 * (2 + .5 * 2 - 1.5)
    same(state.q, [[1.4375, 2.5], [1.875, 50], [7, 8]])


def test_acting_by_the_table():
    cfg = as_arrays(tabular_bcq.TabularBCQ(states=3))
    seen = Seen(array([0], [1], [1], [2], [9]), jnp.zeros(5))
    assert tabular_bcq.act(cfg, table(), seen, (), NOISE, "best")[0].tolist() == [0, 0, 0, 1, 1]
    mask = jnp.array([[0, 1], [1, 1], [0, 1], [1, 0], [1, 1]], bool)
    masked = Seen(seen.obs, seen.reward, mask)  # the third row: its one supported action is not legal
    assert tabular_bcq.act(cfg, table(), masked, (), NOISE, "best")[0].tolist() == [1, 0, 1, 0, 1]


def test_the_mdp_of_a_batch():
    # state 0, action 0: to 1 twice, to the end once, rewards 1, 2, 3; state 1, action 1: to 2, where nothing is logged
    made = batch_mdp(
        np.array([0, 0, 0, 1]),
        np.array([0, 0, 0, 1]),
        np.array([1.0, 2, 3, 4]),
        np.array([1, 1, 0, 2]),
        np.array([False, False, True, False]),
        (3, 2),
        initial_value=9.0,
    )
    same(made.mdp.transition[0, 0], [0, 2 / 3, 0, 1 / 3])
    assert made.counts.tolist() == [[3, 0], [0, 1], [0, 0]]
    found = made.solve(0.5)
    v1 = 4 + 0.5 * 9  # what follows keeps its initial value
    same(found.q, [[2 + 0.5 * 2 / 3 * v1, 9], [9, v1], [9, 9]])
    same(found.v, [2 + 0.5 * 2 / 3 * v1, v1, 9])
    assert batch_mdp(*(np.zeros(2, int),) * 5, (1, 2), least_count=3).support.tolist() == [[False, False]]


def logged(name, episodes=60):
    probe = probes.get(name)
    return probe, Dataset.from_arrays(**probes.collect(probe, episodes), max_episode_steps=probe.time_limit)


def trained(cfg, dataset, updates, support=None):
    """The table after training on all of a data set, and the state's observations."""
    fitted = treatment.fit(Treatment(), tabular_bcq.require_finite(cfg, dataset))
    columns = jax.tree.map(jnp.asarray, cols.prepare(dataset, fitted))
    ctx = Context(dataset.spec, columns, {})
    cfg = as_arrays(cfg)
    state = jax.jit(tabular_bcq.init)(cfg, ctx, NOISE)
    if support is not None:
        state = dataclasses.replace(state, support=support(state.support))

    @jax.jit
    def run(state):
        def step(i, state):
            noise = NOISE.fold(i)
            rows = rows_of(columns, noise.integers("rows", (cfg.batch_size,), len(dataset.rewards)))
            return tabular_bcq.update(cfg, state, rows, noise, i)[0]

        return jax.lax.fori_loop(0, updates, step, state)

    return run(state)


@pytest.mark.parametrize("name", ["chain", "trap_discrete", "arms"])
@pytest.mark.parametrize("start", [0.0, 20.0])
def test_the_table_goes_to_the_exact_solution_of_the_batch(name, start):
    _, dataset = logged(name)
    cfg = tabular_bcq.TabularBCQ(states=12, discount=0.8, initial_value=start)
    state = trained(cfg, dataset, 6000)
    codes, index = states_of(np.asarray(dataset.observations, np.float32))
    rows = dataset.observation_rows
    exact = batch_mdp(
        index[rows],
        dataset.actions,
        dataset.rewards,
        index[rows + 1],
        dataset.terminations,
        (len(codes), dataset.spec.action),
        initial_value=start,
    )
    same(state.codes[: len(codes)], codes)
    np.testing.assert_array_equal(state.support[: len(codes)], exact.support)
    assert not state.support[len(codes) :].any()
    wanted = exact.solve(0.8)
    same(np.where(exact.support, state.q[: len(codes)], wanted.q), wanted.q, atol=0.05 * (1 + abs(wanted.v).max()))
    same(np.where(exact.support, start, state.q[: len(codes)]), start)  # what is not logged never moves


def test_q_learning_on_the_same_log_believes_its_initial_values():
    probe, dataset = logged("trap_discrete")
    best = tabular.solve(probe.mdp, 0.8, probe.support).v.max()
    cfg = tabular_bcq.TabularBCQ(states=8, discount=0.8, initial_value=20.0)
    bound = trained(cfg, dataset, 4000)
    free = trained(cfg, dataset, 4000, support=jnp.ones_like)
    logged_pairs = np.asarray(bound.support)
    assert np.asarray(bound.q)[logged_pairs].max() < 1.2 * best
    assert np.asarray(free.q)[logged_pairs].max() > 2 * best


def test_a_policy_is_loaded_without_the_data():
    _, dataset = logged("chain")
    cfg = tabular_bcq.TabularBCQ(states=6)
    whole = cols.prepare(dataset, treatment.fit(Treatment(), dataset))
    made = [jax.eval_shape(tabular_bcq.init, cfg, Context(dataset.spec, data, {}), NOISE) for data in (whole, None)]
    assert jax.tree.structure(made[0]) == jax.tree.structure(made[1])
    assert [(x.shape, x.dtype) for x in jax.tree.leaves(made[0])] == [
        (x.shape, x.dtype) for x in jax.tree.leaves(made[1])
    ]


def test_too_many_states_are_refused():
    _, dataset = logged("chain")
    with pytest.raises(UserError, match=r"has 5 different observations, tabular_bcq takes at most 4: raise --states"):
        tabular_bcq.require_finite(tabular_bcq.TabularBCQ(states=4), dataset)
    assert tabular_bcq.require_finite(tabular_bcq.TabularBCQ(states=5), dataset) is dataset


# the study


def test_the_grid_is_an_mdp():
    grid = batch_constrained.grid()
    same(grid.mdp.transition.sum(2), 1)
    same(grid.behaviour.sum(1), 1)
    same(grid.mdp.transition[0, 1, [0, 1, 5]], [0.1, 0.8, 0.1])  # right: .8; up stays, down: .1 each


def test_the_study_of_extrapolation_error(tmp_path):
    args = batch_constrained.Args(problems=("trap_discrete",), sizes=(60, 400), logs=2, updates=3000)
    found = batch_constrained.batch_constrained(args)
    at = {row[1:4]: dict(zip(found.header, row, strict=True)) for row in found.rows}
    assert len(at) == 2 * 6
    assert at[400, "Q-learning", "high"]["error"] > 10
    for start in ("low", "high"):
        assert at[400, "BCQL", start]["error"] < 1.5
        assert at[400, "BCQL", start]["from exact"] < 1.0
        assert at[400, "exact", start]["from exact"] == 0
    pytest.importorskip("matplotlib")
    written = result.write(found, tmp_path)
    assert [p.suffix for p in written] == [".json", ".csv", ".png"]
    assert len(json.loads(written[0].read_text())["rows"]) == 12
    assert written[1].read_text().count("\n") == 13


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ({"problems": ("tarp_discrete",)}, "did you mean 'trap_discrete'"),
        ({"problems": ("bandit",)}, "unknown finite problem"),
        ({"problems": ()}, "problems is empty"),
        ({"logs": 0, "discount": 1.0}, "logs is 0, expected at least 1; discount is 1.0"),
        ({"sizes": (10, 0)}, "sizes is 0"),
    ],
)
def test_mistakes_in_the_study(wrong, said):
    with pytest.raises(UserError, match=said):
        batch_constrained.batch_constrained(batch_constrained.Args(**wrong))
