"""The contract of independent learners: every algorithm, for each kind of action that it takes, on the log of a team.

A plan is traced, which compiles nothing. Algorithms that are not in `REFUSED` have to learn teams.
"""

import functools
import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import holdfast
from holdfast import TeamDataset, TeamPolicy, UserError
from holdfast.algorithms import registry
from holdfast.core.config import to_dict
from holdfast.core.noise import Noise
from holdfast.core.spec import Seen
from holdfast.runs.settings import Settings
from holdfast.training.plan.plan import plan
from support.marks import quick
from support.small_config import small

AGENTS = ("a", "b", "c")
EPISODES, STEPS, ACTIONS = 8, 6, 3
# reason -> the algorithms that are refused for it
REFUSED = {
    "is asked for a return, which independent learners cannot do": ("decision_transformer", "odt"),
    "reads policies of other runs, which independent learners cannot do": ("dice", "fqe", "fqe_quantile"),
    "learns a model of the environment": ("combo", "mobile", "mopo", "morel", "rambo"),
    "collects rows, which independent learners cannot do": ("rlpd",),
    "trains all agents together": ("omiga",),
}
WHY = {name: reason for reason, names in REFUSED.items() for name in names}
CASES = [(name, kind) for name in registry.names() for kind in sorted(registry.get(name).actions)]
ABLE = [case for case in CASES if case[0] not in WHY]
# with one vmap over the agents, and with a loop, because their shapes differ
FORMS = [
    *quick([(*case, "alike") for case in ABLE], "bc", "qc"),
    *quick([(*case, "different") for case in ABLE], "bc"),
]


@functools.cache
def log(kind, form="alike"):
    """A joint log of three agents. Different: the first agent sees more, and has fewer discrete actions."""
    rng = np.random.default_rng(0)
    n = EPISODES * STEPS
    last = np.arange(n) % STEPS == STEPS - 1
    ended = last & (np.arange(n) // STEPS % 2 == 0)
    obs, after, act = {}, {}, {}
    for name in AGENTS:
        more = form == "different" and name == "a"
        walk = rng.normal(size=(EPISODES, STEPS + 1, 3 + more)).astype(np.float32)
        obs[name], after[name] = walk[:, :-1].reshape(n, -1), walk[:, 1:].reshape(n, -1)
        if kind == "discrete":
            act[name] = np.arange(n) % (ACTIONS - more)
        else:
            act[name] = rng.uniform(-1, 1, (n, 2)).astype(np.float32)
    paid = {name: rng.normal(size=n) for name in AGENTS}
    bounds = (-1.0, 1.0) if kind == "continuous" else None
    return TeamDataset.from_arrays(obs, act, paid, ended, last & ~ended, after, id="three", action_bounds=bounds)


def settings_of(name):
    """The settings of an algorithm's first preset with small networks."""
    return to_dict(small(next(iter(registry.get(name).presets.values())).config))


def planned(name, data):
    settings = Settings.of(name, config=settings_of(name), data=data.id, agents="independent", steps=50, evaluate=False)
    return plan(settings, data)


@pytest.mark.parametrize(("name", "kind", "form"), FORMS)
def test_an_update_and_an_action_of_a_team(name, kind, form):
    """Each phase's block keeps the shapes of the state, every agent has its metrics, and the team acts jointly."""
    data = log(kind, form)
    made = planned(name, data)
    carries = made.shapes()
    for program, carry in zip(made.programs, carries, strict=True):
        given = (carry, program.nothing(), program.cfgs, program.keys, program.sources, 0, 4)
        after, _ = jax.eval_shape(program.updates, *given)
        assert jax.tree.map(lambda x: (x.shape, x.dtype), after) == jax.tree.map(lambda x: (x.shape, x.dtype), carry)
    own = {metric.partition("/")[0] for metric in made.metric_names()}
    assert own == set(AGENTS)
    team = made.task.team
    cfg, state = jax.tree.map(lambda x: x[0], program.cfgs), carries[-1].state
    obs = jnp.zeros((5, *team.joint.obs))

    def act(state):
        state = jax.tree.map(lambda x: x[0], state)
        memory = made.algorithm.memory(cfg, team.joint, 5)
        return made.algorithm.act(cfg, state, Seen(obs, jnp.zeros(5)), memory, Noise(jax.random.PRNGKey(0)), "best")[0]

    assert jax.eval_shape(act, state).shape == ((5,) if kind == "discrete" else (5, 2 * len(AGENTS)))


@pytest.mark.parametrize(("name", "kind"), [case for case in CASES if case[0] in WHY])
def test_refusals_say_why(name, kind):
    with pytest.raises(UserError) as found:
        planned(name, log(kind))
    said = str(found.value)
    assert re.match(rf"{name} (is|reads|learns|collects|trains)\b", said)
    assert WHY[name] in said
    assert re.search(": (use a method that learns from rows alone, e.g. td3_bc|leave --agents independent out)", said)
    assert "\n" not in said


def test_every_refusal_is_of_an_algorithm_that_is_registered():
    assert set(WHY) <= set(registry.names())
    for kind in ("continuous", "discrete"):  # the methods that the message suggests learn teams
        assert {("iql", kind), ("td3_bc", "continuous"), ("bcq", "continuous"), ("discrete_cql", "discrete")} <= set(
            ABLE
        )


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "kind", "form"), [("qc", "continuous", "alike"), ("discrete_cql", "discrete", "different")]
)
def test_a_trained_team_is_loaded(name, kind, form, tmp_path):
    """Chunks of actions need a memory of each agent; agents with different shapes have policies of their own shapes."""
    data = log(kind, form)
    run = holdfast.train(
        name, data, agents="independent", steps=30, block=10, config=settings_of(name), evaluate=False,
        out=tmp_path / "run", progress=False,
    )  # fmt: skip
    (trained,) = run.teams()
    (folder,) = (file.parent for file in (tmp_path / "run").rglob("team.json"))
    team = TeamPolicy.load(folder)
    obs = {agent: own.observations[:4] for agent, own in data.agents.items()}
    (actions, memory), (expected, _) = team.act(obs), trained.act(obs)
    for agent in AGENTS:
        np.testing.assert_array_equal(actions[agent], expected[agent])
        assert np.shape(actions[agent]) == ((4,) if kind == "discrete" else (4, 2))
    again, _ = team.act(obs, memory)
    joint, _ = team.together.act(np.concatenate(list(obs.values()), 1))
    if kind == "discrete":
        assert all((again[agent] == actions[agent]).all() for agent in AGENTS)
        assert (np.asarray(joint) < 2 * ACTIONS * ACTIONS).all()
    else:
        assert (again["a"] != actions["a"]).any()  # the second action of the chunk
        np.testing.assert_allclose(joint, np.concatenate(list(actions.values()), 1), atol=1e-6)
