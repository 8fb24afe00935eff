"""Environments that a caller gives as an object, a class or a function."""

import copy
import functools
import json
import os
import sys
import textwrap

import gymnasium
import numpy as np
import pytest
from gymnasium.spaces import Box
from gymnasium.wrappers import TimeLimit

from holdfast import UserError, evaluate
from holdfast.core.spec import Spec
from holdfast.environments.gym.adapter import make_env
from holdfast.environments.gym.env_pool import LocalPool, Shape
from holdfast.environments.gym.naming import named, rebound
from holdfast.environments.gym.workers import Workers
from holdfast.evaluation.video import record
from support.policies import continuous, make


class Line(gymnasium.Env):
    """The reward is `pay`; an episode has three steps."""

    def __init__(self, pay=1.0):
        self.observation_space = Box(-1, 1, (3,), np.float32)
        self.action_space = Box(-2, 2, (1,), np.float32)
        self.pay = pay

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.t = 0
        return np.zeros(3, np.float32), {}

    def step(self, action):
        self.t += 1
        return np.zeros(3, np.float32), self.pay, self.t == 3, False, {}


class Uncopied(Line):
    def __deepcopy__(self, memo):
        raise TypeError("cannot pickle 'socket' object")


@pytest.fixture(scope="module")
def policy():
    return make(spec=Spec((3,), 1), fitted=continuous(low=(-2.0,), high=(2.0,)))


@pytest.mark.parametrize(
    ("env", "per_step"),
    [(Line, 1.0), (Line(2.0), 2.0), (lambda: Line(3.0), 3.0), (functools.partial(Line, 4.0), 4.0)],
    ids=["class", "object", "lambda", "partial"],
)
def test_evaluation_takes_objects_classes_and_functions(env, per_step, policy):
    found = evaluate([policy, policy], env, episodes=3, progress=False)
    assert found.returns.tolist() == [[3 * per_step] * 3] * 2
    assert found.env_id == "Line"


def test_an_object_is_copied_and_left_alone(policy):
    env = Line(2.0)
    env.reset(seed=3)
    evaluate(policy, env, episodes=2, progress=False)
    assert env.t == 0


def test_a_made_environment_is_its_id_if_that_says_all():
    assert named(gymnasium.make("Pendulum-v1")) == "Pendulum-v1"
    spec = json.loads(named(gymnasium.make("Pendulum-v1", g=5.0)))
    assert (spec["id"], spec["kwargs"]) == ("Pendulum-v1", {"g": 5.0})


def test_a_wrapper_that_a_spec_cannot_hold_makes_a_copy():
    class Doubled(gymnasium.Wrapper):
        def step(self, action):
            obs, reward, *rest = self.env.step(action)
            return obs, 2 * reward, *rest

    env = named(Doubled(gymnasium.make("Pendulum-v1")))
    assert env == "object/PendulumEnv"
    assert isinstance(make_env(env).env.env.env, gymnasium.Env)
    assert isinstance(make_env(env), Doubled)
    assert make_env(copy.deepcopy(env)) is not make_env(env)


def test_names():
    assert named("Pendulum-v1") == "Pendulum-v1"
    assert named(Line) == f"{__name__}:Line"
    assert named(lambda: Line()).startswith("object/")
    assert named(TimeLimit(Line(), 2)) == "object/Line"
    with pytest.raises(UserError, match=r"env has type int, expected an id, a gymnasium.Env"):
        named(3)


def test_the_name_alone_is_refused_in_a_line():
    with pytest.raises(UserError, match=r"environment Line was given as an object .* env=\.\.\."):
        make_env("object/Line")


def test_what_cannot_be_made_is_refused_in_a_line(policy):
    with pytest.raises(UserError, match=r"Uncopied cannot be copied .*socket.*give its class"):
        evaluate(policy, Uncopied(), progress=False)
    with pytest.raises(UserError, match="made an object of type int"):
        evaluate(policy, lambda: 3, progress=False)
    with pytest.raises(UserError, match="cannot be made: ZeroDivisionError"):
        evaluate(policy, lambda: 1 / 0, progress=False)


def test_a_function_that_returns_one_environment_twice_is_refused():
    one = Line()
    with pytest.raises(UserError, match="returned the same environment twice"):
        LocalPool(lambda: one, 2, Shape(False, 1))


def test_an_environment_that_draws_nothing_is_not_recorded(policy, tmp_path):
    pytest.importorskip("imageio_ffmpeg")
    with pytest.raises(UserError, match="Line has render_mode=None, expected 'rgb_array'"):
        record(policy, tmp_path / "x.mp4", named(Line))


def test_an_environment_that_is_given_again_has_the_saved_name():
    assert rebound(Line, f"{__name__}:Line", "runs/x").make().pay == 1.0
    with pytest.raises(UserError, match="was started with the environment 'Pendulum-v1', not 'object/Line'"):
        rebound(Line(), "Pendulum-v1", "runs/x")


@pytest.fixture
def own_module(tmp_path, monkeypatch):
    """A module `own_lines` in the current folder, which is not on the path."""
    code = """
    import gymnasium, numpy as np
    from gymnasium.envs.classic_control.pendulum import PendulumEnv

    class Short(gymnasium.Wrapper):
        def __init__(self):
            super().__init__(gymnasium.make("Pendulum-v1", max_episode_steps=3))

    def number():
        return 3

    gymnasium.register("OwnLine-v0", lambda: Short())
    """
    (tmp_path / "own_lines.py").write_text(textwrap.dedent(code))
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [entry for entry in sys.path if entry not in ("", os.getcwd())])
    yield
    sys.modules.pop("own_lines", None)
    gymnasium.registry.pop("OwnLine-v0", None)


def test_a_module_of_the_current_folder_can_be_named(own_module):
    before = list(sys.path)
    assert make_env("own_lines:OwnLine-v0").spec.id == "OwnLine-v0"
    assert type(make_env("own_lines:Short")).__name__ == "Short"
    assert sys.path == before
    with pytest.raises(UserError, match="own_lines:number made an object of type int"):
        make_env("own_lines:number")
    with pytest.raises(UserError, match="unknown environment 'own_lines:Other'"):
        make_env("own_lines:Other")
    with pytest.raises(UserError, match="cannot import not_there: it is neither installed nor in the current folder"):
        make_env("not_there:Other-v0")
    with pytest.raises(UserError, match="'not-there' is not the name of a module"):
        make_env("not-there:Other-v0")


@pytest.mark.skipif(os.name != "posix", reason="worker processes need Linux or macOS")
def test_workers_make_what_they_can_import(own_module):
    Workers("own_lines:Short", 1, Shape(False, 1), 1, 60.0).close()
    make_env("own_lines:OwnLine-v0")
    with pytest.raises(UserError, match="'OwnLine-v0' is registered in this process only"):
        Workers("OwnLine-v0", 1, Shape(False, 1), 1, 60.0)
    with pytest.raises(UserError, match="a worker process cannot import the environment Line"):
        Workers(named(Line()), 1, Shape(False, 1), 1, 60.0)
