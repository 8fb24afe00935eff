"""Behaviours that collect logs: uniform actions, a Holdfast policy, or a Stable-Baselines3 agent; noise is optional."""

from __future__ import annotations

import importlib
import sys
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import gymnasium
import jax.numpy as jnp
import numpy as np
from gymnasium.spaces import Box, Discrete, Space

from ..core.errors import UserError, one_line, unknown
from ..environments.gym.matching import name_of, require_match
from ..environments.jax import spread
from ..policy.folder import TEAM
from ..policy.policy import Policy
from ..policy.team import TeamPolicy

# (obs [n, d] raw, reward [n] of the last step, mask [n, A] or None, start [n]) -> actions [n, ...], environment's units
Act = Callable[[np.ndarray, np.ndarray, np.ndarray | None, np.ndarray], np.ndarray]
ZIP_WARNING = (
    "a Stable-Baselines3 zip holds pickled objects, and loading it runs whatever code they name: "
    "load only files from people you trust"
)
SB3 = ("A2C", "DDPG", "DQN", "PPO", "SAC", "TD3")


class Behaviour(NamedTuple):
    """A way to act in environments."""

    name: str
    facts: dict[str, Any]  # JSON-ready, for the provenance of the log
    begin: Callable[[gymnasium.Env, int, int], Act]  # (an environment like those played, how many, seed) -> actions


def uniform() -> Behaviour:
    """Uniform actions; only legal ones if the environment gives an action mask."""

    def begin(env: gymnasium.Env, n: int, seed: int) -> Act:
        rng = np.random.default_rng([seed, 1])
        return lambda obs, reward, mask, start: draw(rng, env.action_space, len(obs), mask)

    return Behaviour("random", {"algorithm": "uniform random"}, begin)


def of_policy(folder: str | Path, mode: str = "best", name: str | None = None) -> Behaviour:
    """A policy that training wrote.

    Args:
        folder: the folder of the policy.
        mode: "best" (the most likely action) or "sample".
        name: name of the behaviour; None: that of the algorithm.

    Raises:
        UserError: no policy in the folder, or a damaged one; when acting starts, an environment that does not match.
    """
    policy = Policy.load(folder)

    origin = {key: policy.info.get(key) for key in ("seed", "step", "dataset", "env_spec")}
    facts = {"algorithm": policy.algorithm.name, "policy": str(Path(folder).resolve()), "mode": mode, **origin}
    return Behaviour(name or policy.algorithm.name, facts, _acting(policy, mode))


def _acting(policy: Policy, mode: str) -> Callable[[gymnasium.Env, int, int], Act]:
    """How a policy begins to act in n environments."""

    def begin(env: gymnasium.Env, n: int, seed: int) -> Act:
        require_match(env, policy.spec, policy.fitted)
        acting = policy.start(n, mode, seed)

        def act(obs: np.ndarray, reward: np.ndarray, mask: np.ndarray | None, start: np.ndarray) -> np.ndarray:
            return acting(obs[None], reward[None], None if mask is None else mask[None], start[None])[0]

        return act

    return begin


def of_folder(folder: str | Path, mode: str = "best", name: str | None = None) -> Behaviour:
    """A policy or a team that training wrote; the arguments are those of `of_policy`.

    Raises:
        UserError: see `of_policy` and `of_team`.
    """
    return of_team(folder, mode, name) if (Path(folder) / TEAM).is_file() else of_policy(folder, mode, name)


def of_team(folder: str | Path, mode: str = "best", name: str | None = None) -> Behaviour:
    """A team that training wrote, in the environment of its joint observations and actions.

    Args:
        folder: the folder of the team.
        mode: "best" (the most likely action) or "sample".
        name: name of the behaviour; None: team.

    Raises:
        UserError: no team in the folder, or a damaged one; when acting starts, an environment that does not match.
    """
    team = TeamPolicy.load(folder)
    facts = {"algorithm": team.together.algorithm.name, "policy": str(Path(folder).resolve()), "mode": mode}
    return Behaviour(name or "team", facts, _acting(team.together, mode))


def scripted(env: str) -> Behaviour:
    """The script of a game of a team, see `collection.teams`.

    Raises:
        UserError: the environment has no script.
    """
    if env != spread.ID:
        raise UserError(f"--by script: {env} has no script, expected {spread.ID}: name a run, or random")

    def begin(env: gymnasium.Env, n: int, seed: int) -> Act:
        def act(obs: np.ndarray, reward: np.ndarray, mask: np.ndarray | None, start: np.ndarray) -> np.ndarray:
            return np.asarray(spread.joint_script(jnp.asarray(obs)), np.float32)

        return act

    return Behaviour("script", {"algorithm": "script"}, begin)


def of_zip(path: str | Path, kind: str, mode: str = "best") -> Behaviour:
    """An agent that Stable-Baselines3 saved. Only this function imports the package.

    Args:
        path: its zip file.
        kind: its class: A2C, DDPG, DQN, PPO, SAC or TD3.
        mode: "best" or "sample".

    Raises:
        UserError: no such file or class, the package is not installed, or it cannot read the file.
    """
    path = Path(path)
    kind = kind.upper()
    if kind not in SB3:
        raise unknown("Stable-Baselines3 algorithm (--sb3)", kind, SB3)
    if not path.is_file() or not zipfile.is_zipfile(path):
        raise UserError(f"{path} is not a zip file: expected a file written by save() of a Stable-Baselines3 agent")
    sys.stderr.write(f"warning: {path}: {ZIP_WARNING}\n")
    try:
        sb3 = importlib.import_module("stable_baselines3")
    except ModuleNotFoundError as fault:
        raise UserError(f"{path} needs Stable-Baselines3: pip install 'holdfast-rl[sb3]'") from fault
    try:
        agent = getattr(sb3, kind).load(path, device="cpu")
    except Exception as fault:  # unpickling raises errors of any type
        raise UserError(f"{path}: Stable-Baselines3 cannot read it as {kind}: {one_line(fault)}") from fault

    def begin(env: gymnasium.Env, n: int, seed: int) -> Act:
        wrong = [
            f"{what} {getattr(agent, what).shape}, but the environment has {getattr(env, what).shape}"
            for what in ("observation_space", "action_space")
            if getattr(agent, what).shape != getattr(env, what).shape
        ]
        if wrong:
            raise UserError(f"{path} does not match {name_of(env)}: {'; '.join(wrong)}: name its own with --env")
        agent.set_random_seed(seed)
        return lambda obs, reward, mask, start: np.asarray(agent.predict(obs, deterministic=mode == "best")[0])

    facts = {"algorithm": f"stable-baselines3 {kind}", "policy": str(path.resolve()), "mode": mode}
    facts["stable_baselines3"] = str(getattr(sb3, "__version__", "unknown"))
    return Behaviour(f"sb3-{kind.lower()}", facts, begin)


def noisy(behaviour: Behaviour, random_actions: float = 0.0, noise: float = 0.0) -> Behaviour:
    """A behaviour with random disturbances of its actions, drawn at each step.

    Args:
        behaviour: the behaviour without noise.
        random_actions: probability that an action is replaced by a uniform one.
        noise: standard deviation of normal noise on the other actions, as a share of half the action range; the result
            is clipped to the bounds. BCQ's imperfect demonstrations use 0.3 for both.

    Raises:
        UserError: values out of range; when acting starts, normal noise on discrete actions.
    """
    if not 0 <= random_actions <= 1 or noise < 0:
        raise UserError(
            f"--random-actions {random_actions:g} and --noise {noise:g}: expected a share from 0 to 1, and at least 0"
        )
    if not random_actions and not noise:
        return behaviour

    def begin(env: gymnasium.Env, n: int, seed: int) -> Act:
        space = env.action_space
        rng = np.random.default_rng([seed, 2])
        if noise and not isinstance(space, Box):
            raise UserError(f"--noise {noise:g}: actions of {name_of(env)} are discrete, use --random-actions")
        inner = behaviour.begin(env, n, seed)

        def act(obs: np.ndarray, reward: np.ndarray, mask: np.ndarray | None, start: np.ndarray) -> np.ndarray:
            action = inner(obs, reward, mask, start)
            if noise and isinstance(space, Box):
                half = (space.high - space.low) / 2
                moved = action + noise * half * rng.standard_normal(action.shape)
                action = np.clip(moved, space.low, space.high).astype(space.dtype)
            other = rng.random(len(obs)) < random_actions
            return np.where(other.reshape(-1, *[1] * (action.ndim - 1)), draw(rng, space, len(obs), mask), action)

        return act

    facts = {**behaviour.facts, "random_actions": random_actions, "noise": noise}
    return Behaviour(behaviour.name, facts, begin)


def draw(rng: np.random.Generator, space: Space, n: int, mask: np.ndarray | None) -> np.ndarray:
    """Uniform actions [n, ...] of a Box or Discrete space; only legal ones if there is a mask [n, A]."""
    if isinstance(space, Box):
        return rng.uniform(space.low, space.high, (n, *space.shape)).astype(space.dtype)
    assert isinstance(space, Discrete)
    legal = np.ones((n, int(space.n))) if mask is None else mask
    return int(space.start) + np.argmax(np.where(legal, rng.random(legal.shape), -1.0), 1)
