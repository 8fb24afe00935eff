"""The study of learned models: its exact steps and returns, what it says of numbers, and its mistakes."""

import dataclasses

import gymnasium
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from holdfast import UserError
from holdfast.core.contract import Treatment
from holdfast.core.noise import Noise
from holdfast.core.tree import PyTree
from holdfast.data.feed.treatment import fit
from holdfast.dynamics.ensemble import Outcome
from holdfast.dynamics.known import Known
from holdfast.evaluation.discounted import horizon
from holdfast.studies import model_based
from holdfast.studies.model_based_summary import Bound, notes

ARGS = model_based.Args(steps=8, model_steps=10, seeds=1, hidden=(8,))
NOISE = Noise(jax.random.PRNGKey(0))


class Walks(PyTree):
    """Two members whose steps add the action, and the action again times `gap`, to the one observation; reward 1."""

    gap: float

    def step(self, obs, action, noise):
        mean = jnp.stack([jnp.concatenate([action * k, jnp.ones_like(obs)], -1) for k in (1, 1 + self.gap)])
        return Outcome(obs + action, jnp.ones(len(obs)), mean, jnp.zeros_like(mean))


def test_exact_steps_of_pendulum_are_gymnasiums():
    problem = model_based.problems(ARGS)[1]
    fitted = fit(Treatment(normalize_obs=1e-3, reward_scale=0.5), problem.log)
    env = gymnasium.make("Pendulum-v1")
    raw, _ = env.reset(seed=1)
    action = np.array([1.2], np.float32)
    following, reward, *_ = env.step(action)
    inside = (jnp.asarray(fitted.observe(raw))[None], jnp.asarray(fitted.act_inside(action))[None])
    advance = jax.jit(lambda obs, action: model_based.exact(problem, fitted)(obs, action, NOISE))
    obs, gained, over = advance(*inside)
    np.testing.assert_allclose(obs[0], fitted.observe(following), atol=1e-4)
    assert float(gained[0]) == pytest.approx(0.5 * float(reward), rel=1e-4)
    assert not over.any()
    assert problem.worst <= float(reward)


def test_returns_stop_where_the_members_differ():
    """Reward 1 a step: 1 / (1 - discount) in the model; with a threshold the first step is the last, and costs more."""

    @jax.jit
    def found(limit):
        models = (Walks(0.5), Known(Walks(0.5), limit, None))
        return [
            model_based.returns(model_based.in_model(model, -7.0), jnp.ones_like, jnp.zeros((2, 1)), 0.9, NOISE)
            for model in models
        ]

    whole = (1 - 0.9 ** horizon(0.9)) / (1 - 0.9)
    free, halted = found(0.4)
    np.testing.assert_allclose(free, whole, rtol=1e-5)
    np.testing.assert_allclose(halted, 1 - 7)
    np.testing.assert_allclose(found(0.6)[1], whole, rtol=1e-5)


def test_the_sentences_by_hand():
    rows = [("p", "model", s, "rank correlation, std (MOPO)", v) for s, v in ((0, 0.4), (1, 0.6))]
    for label, true, value in (("MOPO without penalty", -50.0, 30.0), ("MOPO", 8.0, 7.0)):
        rows += [("p", label, 0, "true return", true), ("p", label, 0, "value of the critic", value)]
    for label, gaps in (("COMBO", (1.0, 2.0)), ("CQL", (3.0, 4.0))):
        rows += [
            ("p", label, 0, f"underestimate, {at} states", gap) for at, gap in zip(("data", "model"), gaps, strict=True)
        ]
    found = notes(rows, [Bound("p", 0, 10, true=5.0, below=4.0), Bound("p", 0, 20, true=5.0, below=6.0)])
    assert "rank correlation of penalty and true error: std (MOPO) 0.50." in found[0]
    assert "MOPO without penalty -50 (its critic: 30), MOPO 8 (its critic: 7)" in found[1]
    assert "below the true one at 1 of 2 points" in found[2]
    assert "COMBO data 1, model 2; CQL data 3, model 4" in found[3]


@pytest.mark.slow
def test_the_penalty_of_mopo_keeps_its_policy_in_the_data_of_the_trap():
    args = model_based.Args(steps=1_500, model_steps=1_000, seeds=1, hidden=(32, 32))
    rows, _ = model_based.mopo_part(model_based.problems(args)[0], args)
    true = {row[1]: row[4] for row in rows if row[3] == "true return"}
    value = {row[1]: row[4] for row in rows if row[3] == "value of the critic"}
    assert true["MOPO without penalty"] < -40 < 10 < value["MOPO without penalty"]
    assert true["MOPO"] > 0
    errors = {row[3]: row[4] for row in rows if row[1] == "model"}
    assert errors["error, uniform actions"] > 2 * errors["error, logged actions"]
    assert errors["rank correlation, distance to the mean"] > 0.3


@pytest.mark.slow
def test_the_study_in_its_smallest_form():
    found = model_based.run(ARGS)
    assert {len(row) for row in found.rows} == {len(found.header)}
    assert {row[0] for row in found.rows} == {"trap", "pendulum-mixed"}
    assert all(np.isfinite(row[4]) or "rank" in row[3] for row in found.rows)
    assert len(found.notes) == 8


def test_mistakes():
    with pytest.raises(UserError, match="steps is 2, expected at least 4; seeds is 0, expected at least 1; hidden is"):
        model_based.run(dataclasses.replace(ARGS, steps=2, seeds=0, hidden=()))
