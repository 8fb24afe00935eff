"""Training of an ensemble in a run: early stop, exact resume, the saved model and its use by another run."""

from __future__ import annotations

import dataclasses
import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import holdfast
from holdfast.algorithms import mopo
from holdfast.core.config import as_arrays
from holdfast.core.errors import Diverged, UserError
from holdfast.core.noise import Noise
from holdfast.core.spec import Spec
from holdfast.data.dataset import Dataset
from holdfast.data.feed.sampler import bootstrapped
from holdfast.dynamics import learning
from holdfast.environments.probes import collect, get
from holdfast.runs.settings import Settings
from holdfast.training.plan.plan import plan
from holdfast.training.run import resume, train
from support.small_runs import DATA, Stops, require_same, rows, tensors

CFG = {
    "members": 3, "elites": 2, "model_hidden": (16,), "hidden": (16,), "model_steps": 40, "model_every": 10,
    "rollout_batch": 40, "rollout_every": 10, "batch_size": 16, "model_batch_size": 16,
}  # fmt: skip
SETTINGS = {"steps": 30, "block": 10, "save_every": 10, "evaluate": False, "preset": "tuned_100k", "config": CFG}


def test_bootstrap_samples_are_drawn_once_with_replacement():
    fixed = Noise(jax.random.PRNGKey(0))
    place = jnp.broadcast_to(jnp.arange(200)[None], (2, 200))
    draw = jax.jit(lambda noise, place: bootstrapped(noise, place, 200))
    first, again = (np.asarray(draw(fixed, place)) for _ in range(2))
    np.testing.assert_array_equal(first, again)
    np.testing.assert_array_equal(draw(fixed, place[:, 50:60]), first[:, 50:60])
    assert (first[0] != first[1]).mean() > 0.9  # each member has its own
    for sample in first:
        assert 0.55 < len(set(sample.tolist())) / 200 < 0.72  # 1 - 1/e of the rows occur


def test_members_keep_their_best_weights_and_the_elites_have_the_lowest_errors():
    cfg = mopo.MOPO(members=3, elites=2, model_hidden=(4,))
    model = jax.jit(lambda noise: learning.probabilistic(cfg, Spec((2,), 1), noise))(Noise(jax.random.PRNGKey(0)))
    best = jax.tree.map(jnp.zeros_like, model.best)
    model = learning.Learning(**{**vars(model), "best": best, "best_error": jnp.asarray([0.3, 0.1, 0.2])})
    found = jax.jit(lambda model: learning.finished(cfg, model))(model)
    assert found.elites.tolist() == [1, 2]
    assert not jax.tree.leaves(found.net.nets)[0].any()
    last = jax.jit(lambda model: learning.finished(mopo.MOPO(members=3, elites=2, patience=0), model))(model)
    assert jax.tree.leaves(last.net.nets)[0].any()


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    return train("mopo", DATA, seeds=2, out=tmp_path_factory.mktemp("models") / "run", **SETTINGS)


@pytest.mark.slow
def test_the_model_becomes_better_and_the_policy_learns_from_its_rollouts(run):
    found = [row for row in rows(run.path / "metrics.csv") if row["replica"] == "seed-0"]
    errors = [float(row["holdout/error"]) for row in found if row["phase"] == "model"]
    assert errors[-1] < errors[0]
    last = [row for row in found if row["phase"] == "policy"][-1]
    assert float(last["rollout/length"]) == 5.0  # Pendulum never ends
    assert float(last["rollout/ends"]) == 0.0


@pytest.mark.slow
def test_a_run_with_a_model_resumes_to_the_same_bits(run, tmp_path):
    cut = tmp_path / "cut" / "run"
    with pytest.raises(KeyboardInterrupt):
        train("mopo", DATA, seeds=2, out=cut, hooks=[Stops(2, "model")], **SETTINGS)
    require_same(resume(cut).path, run.path)
    for name in ("seed-0", "seed-1"):
        file = f"dynamics/{name}/dynamics.safetensors"
        assert tensors(cut / file) == tensors(run.path / file)


@pytest.mark.slow
def test_another_run_takes_the_model_up(run, tmp_path):
    chosen = run.path / "dynamics" / "seed-0"
    other = train("mopo", DATA, dynamics=str(chosen), out=tmp_path / "run", **SETTINGS)
    assert {row["phase"] for row in rows(other.path / "timing.csv")} == {"policy"}
    assert not (other.path / "dynamics").exists()
    with pytest.raises(UserError, match="hold one learned model, it has dynamics/seed-0, dynamics/seed-1"):
        train("mopo", DATA, dynamics=str(run.path), out=tmp_path / "two", **SETTINGS)
    with pytest.raises(UserError, match="another treatment"):
        train("mopo", DATA, dynamics=str(chosen), treatment={"reward_scale": 2.0}, out=tmp_path / "three", **SETTINGS)
    with pytest.raises(UserError, match="cql learns no model"):
        train("cql", DATA, dynamics=str(chosen), out=tmp_path / "four")
    fewer = SETTINGS | {"config": CFG | {"elites": 1}}
    with pytest.raises(UserError, match="has 2 elites, the settings have 1: use --elites 2"):
        train("mopo", DATA, dynamics=str(chosen), out=tmp_path / "other", **fewer)
    with pytest.raises(UserError, match="has a gaussian model, this method needs a deterministic one"):
        train("morel", DATA, dynamics=str(chosen), out=tmp_path / "kind", **SETTINGS)
    smaller = holdfast.load_dataset(DATA).select(range(5))
    with pytest.raises(UserError, match="not on these rows"):
        train("mopo", smaller, dynamics=str(chosen), out=tmp_path / "five", **SETTINGS)


def test_data_that_no_model_can_be_learned_from_are_refused(tmp_path):
    one = holdfast.load_dataset(DATA).select([0])
    with pytest.raises(UserError, match="1 episodes are too few to split into train, holdout"):
        train("mopo", one, treatment={"return_scale": None}, out=tmp_path / "one", **SETTINGS)
    unknown = dataclasses.replace(holdfast.load_dataset(DATA), env_spec=None)
    with pytest.raises(UserError, match="--termination known: no rule is known"):
        train("mopo", unknown, out=tmp_path / "two", **SETTINGS | {"config": CFG | {"termination": "known"}})


def test_targets_that_are_never_negative_are_refused_if_every_return_is():
    with pytest.raises(UserError, match=r"highest treated return of .* is -.*: use --no-nonnegative"):
        plan(Settings.of("mobile", data=DATA, preset="hopper-medium", evaluate=False))
    plan(Settings.of("mobile", data=DATA, preset="hopper-medium", evaluate=False, config={"nonnegative": False}))


@pytest.mark.parametrize("name", ["mopo", "morel", "combo", "rambo", "mobile"])
def test_bad_input_is_refused_before_anything_is_compiled(name):
    for setting, value in {"horizon": 0, "real_ratio": 1.5, "holdout": 0.0, "termination": "guess"}.items():
        with pytest.raises(UserError, match=f"{setting} is {value!r}, expected"):
            Settings.of(name, data=DATA, preset="tuned_100k", config={setting: value})
    discrete = Dataset.from_arrays(**collect(get("trap_discrete"), 20, 1), id="discrete")
    plain = {"normalize_obs": None, "return_scale": None}
    with pytest.raises(
        UserError, match=f"{name} needs continuous actions, discrete has discrete ones; for those: "
    ) as e:
        plan(Settings.of(name, data="discrete", preset="tuned_100k", treatment=plain, evaluate=False), discrete)
    assert "\n" not in str(e.value)


@pytest.mark.slow
def test_a_model_whose_holdout_loss_is_not_finite_ends_the_run(tmp_path):
    """Squares of rewards of 1e30 are infinite in float32."""
    data = holdfast.load_dataset(DATA)
    huge = dataclasses.replace(data, rewards=data.rewards * 1e30)
    with pytest.raises(Diverged, match="of replica 0 is NaN or infinite at update 0 of mopo") as error:
        train("mopo", huge, treatment={"return_scale": None}, out=tmp_path / "run", **SETTINGS)
    assert "\n" not in str(error.value)


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    """The folder of a model with the treatment and the ends of a run, and random weights."""
    made = plan(Settings.of("mopo", data=DATA, **SETTINGS))
    cfg = made.replicas[0].cfg
    state = jax.jit(made.algorithm.init)(as_arrays(cfg), made.programs[0].ctx, Noise(jax.random.PRNGKey(0)))
    task = made.task
    info = {"env_id": task.env_id, "env_spec": task.env}
    model = holdfast.Dynamics(made.algorithm.dynamics(cfg, state), task.spec, task.fitted, "known", info)
    return model.save(tmp_path_factory.mktemp("models") / "dynamics")


@pytest.mark.slow
def test_the_model_of_a_run_is_saved(run):
    model = holdfast.Dynamics.load(run.path / "dynamics" / "seed-1")
    assert model.ends == "known"
    assert model.info["seed"] == 1


def test_a_saved_model_predicts_in_the_units_of_the_environment(saved):
    model = holdfast.Dynamics.load(saved)
    assert model.ends == "known"
    obs = np.array([[1.0, 0.0, 0.5], [0.0, 1.0, -2.0]])
    found = model.step(obs, np.array([[2.0], [0.0]]), seed=3)
    again = model.step(obs, np.array([[2.0], [0.0]]), seed=3)
    np.testing.assert_array_equal(found.observation, again.observation)
    assert (np.abs(found.observation - obs) < 20).all()
    assert not found.terminated.any()
    inside = model.fitted.observe(found.observation)
    scaled = model.fitted.rewards(found.reward)
    assert np.isfinite(inside).all()
    assert np.isfinite(scaled).all()
    path = model.rollout(lambda obs: np.zeros((len(obs), 1)), obs, horizon=4)
    assert path.observations.shape == (2, 5, 3)
    assert path.alive.all()
    with pytest.raises(UserError, match=r"expected \(2, 3\) and \(2, 1\)"):
        model.step(obs, np.zeros((2, 2)))
    with pytest.raises(UserError, match="horizon is 0"):
        model.rollout(lambda obs: obs, obs, horizon=0)


def test_damaged_models_are_refused(saved, tmp_path):
    folder = holdfast.Dynamics.load(saved).save(tmp_path / "model")
    facts = json.loads((folder / "dynamics.json").read_text())
    for change, message in (
        ({"format": 9}, "format 9"),
        ({"kind": "guess"}, "kind"),
        ({"members": 10**9}, "sizes"),
        ({"hidden": [17]}, "dynamics.safetensors"),
        ({"sha256": "0"}, "dynamics.safetensors"),
    ):
        (folder / "dynamics.json").write_text(json.dumps(facts | change))
        with pytest.raises(UserError, match=message):
            holdfast.Dynamics.load(folder)
