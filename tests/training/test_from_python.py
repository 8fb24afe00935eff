"""What callers of `train`, `finetune` and `resume` get: progress, runs with tables and policies, own algorithms."""

import builtins
import html
import sys
import textwrap
import types
import warnings

import gymnasium
import jax.numpy as jnp
import numpy as np
import pytest
from gymnasium.envs.classic_control.pendulum import PendulumEnv

import holdfast
from holdfast import Dataset, Policy, UserError
from holdfast.algorithms import bc, registry
from holdfast.cli import main
from holdfast.core.config import as_arrays
from holdfast.policy.q_values import estimated_value
from support.small_runs import DATA, TINY, Stops, rows, tiny

QUIET = {"progress": False}


class Short(gymnasium.Wrapper):
    """Pendulum, three steps an episode, without a spec."""

    def __init__(self):
        super().__init__(gymnasium.wrappers.TimeLimit(PendulumEnv(), 3))


@pytest.fixture(scope="module")
def two(tmp_path_factory):
    """A run of two seeds."""
    return tiny(tmp_path_factory.mktemp("two") / "run", "td3_bc", seeds=2, env=Short, eval_every=4)


# runs


@pytest.mark.slow
def test_a_run_shows_itself_in_a_line(two):
    text = repr(two)
    assert text.startswith("Run('")
    assert "td3_bc on bundled/pendulum-mixed, 2 replicas, 8 steps, return -" in text
    assert "<table>" in two._repr_html_()


def test_the_tables_of_a_run_are_columns(two):
    found = two.evaluations
    assert found["return"].shape == (found.rows,)
    assert found["return"].dtype == np.float64
    assert set(found["replica"]) == {"seed-0", "seed-1"}
    last = found["return"][found["step"] == 8]
    assert last.mean() == pytest.approx(two.result["return_mean"])
    assert set(found["length"]) == {3}
    metrics = two.metrics
    assert metrics["step"].tolist() == [4, 4, 8, 8]
    losses = [float(row["critic/loss"]) for row in rows(two.path / "metrics.csv")]
    assert metrics["critic/loss"].tolist() == losses
    assert repr(metrics).startswith("Columns(4 rows: step, phase, replica, seed, ")
    assert metrics._repr_html_().count("<tr>") == 5


def test_a_curve_is_a_picture_and_a_report_a_file(two):
    assert two.curve()._repr_png_().startswith(b"\x89PNG")
    assert two.report().read_text().startswith("<!doctype html>")


def test_a_run_evaluates_and_loads_again(two):
    found = two.evaluate(episodes=2, seed=7, **QUIET)
    assert found.returns.shape == (2, 2)
    assert found.lengths.tolist() == [[3, 3], [3, 3]]
    again = holdfast.Run.load(two.path)
    assert again.result == two.result
    assert len(again.policies()) == 2
    with pytest.raises(UserError, match=r"the policy names the environment .*Short.*env="):
        again.evaluate(episodes=1)  # from a file: nothing is imported
    assert again.evaluate(Short, episodes=2, seed=7, **QUIET).returns.tolist() == found.returns.tolist()


def test_a_folder_of_several_policies_gives_the_first_and_says_so(two):
    with pytest.warns(UserWarning, match=r"holds 2 policies \(seed-0, seed-1\): seed-0 is loaded"):
        policy = Policy.load(two.path / "policy")
    assert policy.info["seed"] == 0
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        Policy.load(two.path / "policy" / "seed-1")


def test_a_policy_with_its_critic_has_values(two):
    obs = np.array([[1.0, 0.0, 0.5], [0.0, 1.0, -2.0]], np.float32)
    with pytest.raises(UserError, match=r"shipped without its critic.*run.policy\(critic=True\)"):
        two.policy(1).value(obs)
    policy = two.policy(1, critic=True)
    action = policy(obs)
    inside = jnp.asarray(policy.fitted.act_inside(action))
    treated = jnp.asarray(policy.fitted.observe(obs))
    wanted = estimated_value(policy.algorithm, as_arrays(policy.cfg), policy.whole, treated, inside)
    np.testing.assert_allclose(policy.value(obs), wanted, rtol=1e-6)
    np.testing.assert_allclose(policy.value(obs, action), wanted, rtol=1e-6)
    assert policy.value(obs[0]).shape == ()
    assert policy.value(obs[0]) == pytest.approx(float(wanted[0]), rel=1e-5)
    other = two.policy(0, critic=True)
    assert not np.allclose(other.value(obs, action), wanted)


# environments


@pytest.mark.slow
def test_an_object_is_not_in_the_files_and_is_given_again(tmp_path):
    run = tmp_path / "run"
    with pytest.raises(KeyboardInterrupt):
        tiny(run, env=Short(), hooks=[Stops(1)])
    with pytest.raises(UserError, match=r"the environment PendulumEnv was given as an object .*env=\.\.\."):
        holdfast.resume(run, **QUIET)
    with pytest.raises(UserError, match=r"was started with the environment 'object/PendulumEnv', not 'Pendulum-v1'"):
        holdfast.resume(run, env="Pendulum-v1", **QUIET)
    done = holdfast.resume(run, env=Short(), **QUIET)
    assert set(done.evaluations["length"]) == {3}
    tuned = tiny(tmp_path / "offline", "td3_bc", env=Short()).finetune(
        steps=6, out=tmp_path / "online", eval_episodes=1, **QUIET
    )
    assert set(tuned.evaluations["length"]) == {3}


def test_an_importable_class_is_imported_only_for_who_trusts(tmp_path):
    run = tmp_path / "run"
    with pytest.raises(KeyboardInterrupt):
        tiny(run, env=Short, hooks=[Stops(1)])
    with pytest.raises(UserError, match=r"config.json names the environment .*:Short.*--trust"):
        holdfast.resume(run, **QUIET)
    assert holdfast.resume(run, env=Short, **QUIET).result["steps"] == 8


# own algorithms


@pytest.fixture
def own(tmp_path, monkeypatch):
    """A module `own_method` in the current folder with an algorithm, which no other test knows."""
    code = """
    from holdfast.algorithms import bc
    from holdfast.core.contract import Phase

    def phases(cfg):
        return (Phase("mine"),)

    algorithm = bc.algorithm._replace(name="own_bc", phases=phases)
    """
    (tmp_path / "own_method.py").write_text(textwrap.dedent(code))
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(registry, "_registered", {})
    monkeypatch.syspath_prepend(str(tmp_path))
    import own_method

    yield own_method.algorithm
    sys.modules.pop("own_method", None)


def test_an_algorithm_of_the_caller_trains_and_its_policy_loads_again(own, tmp_path, monkeypatch):
    run = holdfast.train(own, DATA, steps=8, config=TINY, out=tmp_path / "run", evaluate=False, block=4, **QUIET)
    assert run.result["algorithm"] == "own_bc"
    obs = [1.0, 0.0, 0.0]
    action = run.policy()(obs)
    assert "own_bc" not in holdfast.algorithm_names()
    registry._registered.clear()  # as in a new process
    sys.modules.pop("own_method")
    with pytest.raises(UserError, match=r"algorithm 'own_bc' of own_method:algorithm, which is not registered"):
        Policy.load(run.path / "policy")
    with pytest.raises(UserError, match="not registered"):
        holdfast.resume(run.path, **QUIET)
    with pytest.raises(UserError, match="not registered"):
        holdfast.finetune(run.path, **QUIET)
    assert "own_method" not in sys.modules
    assert main(["train", "--config", str(run.path / "config.json"), "--dry-run"]) == 2
    np.testing.assert_array_equal(Policy.load(run.path / "policy", algorithm=own)(obs), action)
    np.testing.assert_array_equal(Policy.load(run.path / "policy", trust=True)(obs), action)
    assert "own_method" in sys.modules
    assert holdfast.resume(run.path, **QUIET).result == run.result  # registered by the line above


def test_resume_takes_an_algorithm_of_the_caller(own, tmp_path):
    run = tmp_path / "run"
    with pytest.raises(KeyboardInterrupt):
        holdfast.train(own, DATA, steps=8, config=TINY, out=run, evaluate=False, block=4, hooks=[Stops(1)], **QUIET)
    registry._registered.clear()
    assert holdfast.resume(run, algorithm=own, **QUIET).result["steps"] == 8


def test_what_cannot_be_an_algorithm_is_refused(own):
    with pytest.raises(UserError, match="algorithm has type dict"):
        holdfast.train({}, DATA)
    with pytest.raises(UserError, match="'iql' is the name of an algorithm that is installed"):
        holdfast.register(own._replace(name="iql"))
    assert holdfast.register(bc.algorithm) == "bc"
    assert holdfast.register(own._replace(phases=bc.algorithm.phases)) == "own_bc"
    assert registry.module_of("own_bc") is None  # no variable holds it


@pytest.fixture
def installed(own, monkeypatch):
    """An installed package that registers `own_bc`, and a broken one."""
    entries = {"own_bc": "own_method:algorithm", "broken": "not_there:algorithm", "wrong": "own_method:phases"}
    found = {
        name: types.SimpleNamespace(value=value, dist=types.SimpleNamespace(name="own-package"))
        for name, value in entries.items()
    }
    monkeypatch.setattr(registry, "_installed", lambda: found)
    return own


def test_an_installed_package_registers_algorithms(installed, capsys):
    assert registry.get("own_bc") is installed
    assert "own_bc" in holdfast.algorithm_names()
    with pytest.raises(UserError, match="cannot import not_there"):
        registry.get("broken")
    with pytest.raises(UserError, match="own_method:phases is not a holdfast"):
        registry.get("wrong")
    assert main(["algorithms"]) == 0
    shown = capsys.readouterr()
    assert "own_bc" in shown.out
    assert "cannot import not_there" in shown.err
    assert main(["cite", "own_bc"]) == 2
    assert "no citation is known for own_bc" in capsys.readouterr().err
    assert main(["train", "own_bc", "--data", DATA, "--dry-run"]) == 0


def test_a_row_without_its_citation_breaks_no_listing(monkeypatch, capsys):
    monkeypatch.setitem(registry.ROWS, "bc", registry.Row("bc", "Cloning", "nobody2030nothing"))
    assert main(["algorithms"]) == 0
    assert main(["cite", "bc"]) == 2
    assert "no citation is known for bc" in capsys.readouterr().err


@pytest.mark.parametrize(("typed", "meant"), [("IQL", "iql"), ("TD3+BC", "td3_bc"), ("cal-ql", "cal_ql")])
def test_names_are_suggested_without_case_and_separators(typed, meant):
    with pytest.raises(UserError, match=f"did you mean '{meant}'"):
        holdfast.train(typed, DATA)


# data


class Frame:
    """The parts of a data frame of pandas and polars that NumPy and the message need."""

    columns = ("x", "colour")

    def __getitem__(self, name):
        return np.array([1.0, 2.0]) if name == "x" else np.array(["red", "blue"], object)

    def __array__(self, dtype=None, copy=None):
        return np.stack([self["x"].astype(object), self["colour"]], 1)


def test_a_frame_with_texts_is_refused_by_its_columns():
    with pytest.raises(UserError, match="expected numbers: encode or leave out the columns colour"):
        Dataset.from_arrays(Frame(), np.zeros(2), np.zeros(2), np.array([False, True]))
    with pytest.raises(UserError, match=r"name has type Frame, expected the name .* Dataset.from_arrays makes one"):
        holdfast.load_dataset(Frame())
    with pytest.raises(UserError, match="data has type Frame, expected a Dataset"):
        holdfast.train("bc", Frame())


def test_a_data_set_shows_itself_in_a_line():
    data = holdfast.load_dataset(DATA)
    assert len(data) == data.n_steps
    assert repr(data).startswith(f"Dataset('{DATA}': {data.n_steps:,} steps in {data.n_episodes} episodes, observa")
    assert "1 continuous action" in repr(data)
    assert len(repr(data)) < 250
    odd = Dataset.from_arrays(np.zeros((4, 2)), np.zeros(4), np.zeros(4), np.arange(4) == 3, id="<script>\n")
    assert "<script>" not in odd._repr_html_()
    assert "\n" not in repr(odd)


def test_the_package_lists_its_public_names():
    assert dir(holdfast) == sorted([*holdfast.__all__, "__version__"])
    assert all(getattr(holdfast, name) is not None for name in holdfast.__all__)


# progress


def test_a_run_shows_its_progress_and_its_warnings(tmp_path, capsys):
    data = holdfast.load_dataset(DATA)
    odd = Dataset.from_arrays(
        data.observations[:40], data.actions[:40] / 2, np.zeros(40), np.arange(40) % 8 == 7, id="odd"
    )
    arguments = {"steps": 8, "block": 4, "config": TINY}
    holdfast.train("bc", odd, out=tmp_path / "run", **arguments)
    shown = capsys.readouterr().err
    assert "bc on odd: 1 run" in shown
    assert "8/8" in shown
    assert "warning: odd: " in shown
    assert "no environment is known" in shown
    holdfast.train("bc", odd, out=tmp_path / "silent", **arguments, progress=False)
    assert capsys.readouterr() == ("", "")


class ZMQInteractiveShell:
    """What IPython calls its shell in a notebook; rich looks for this name."""


@pytest.fixture
def notebook(monkeypatch):
    """The outputs of a cell: for each, all its drawings."""
    outputs = []

    class Handle:
        def __init__(self, drawings):
            self.drawings = drawings

        def update(self, shown):
            self.drawings.append((repr(shown), shown._repr_html_()))

    def display(shown, display_id=False):
        assert display_id
        outputs.append([(repr(shown), shown._repr_html_())])
        return Handle(outputs[-1])

    module = types.ModuleType("IPython.display")
    module.display = display
    monkeypatch.setitem(sys.modules, "IPython", types.ModuleType("IPython"))
    monkeypatch.setitem(sys.modules, "IPython.display", module)
    monkeypatch.setattr(builtins, "get_ipython", ZMQInteractiveShell, raising=False)
    return outputs


def test_a_notebook_has_one_output_that_is_drawn_again(notebook, tmp_path, capsys):
    run = tiny(tmp_path / "<b>run", steps=8, env=Short, progress=True)
    assert len(notebook) == 1
    text, page = notebook[0][-1]
    assert "8/8" in text
    assert "<progress value=8 max=8>" in page
    assert html.escape("<b>run") in page
    assert "<b>run" not in page
    run.evaluate(episodes=2)
    assert len(notebook) == 2
    assert "<progress value=2 max=2>" in notebook[1][-1][1]
    assert capsys.readouterr().err == ""
