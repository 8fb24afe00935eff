"""Who acts while a log is made: uniform, a policy of ours, a Stable-Baselines3 agent; each with or without noise."""

from __future__ import annotations

import importlib
import sys
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from ..core.errors import UserError, unknown
from ..environments.gym.adapter import name_of, one_line, require_match
from ..policy.policy import Policy

# (obs [n, d] raw, reward [n] of the step before, mask [n, A] or None, start [n]) -> actions [n, ...], the environment's
Act = Callable[[np.ndarray, np.ndarray, np.ndarray | None, np.ndarray], np.ndarray]
ZIP_WARNING = (
    "a Stable-Baselines3 zip holds pickled objects, and loading it runs whatever code they name: "
    "load only files of people you trust"
)
SB3 = ("A2C", "DDPG", "DQN", "PPO", "SAC", "TD3")


class Behaviour(NamedTuple):
    """One way to act."""

    name: str
    facts: dict[str, Any]  # JSON-ready: who it is
    begin: Callable[[Any, int, int], Act]  # (an environment to fit, n environments, seed) -> how to act in them


def uniform() -> Behaviour:
    """Uniform over the action space, over the legal actions where the environment names them."""

    def begin(env: Any, n: int, seed: int) -> Act:
        rng = np.random.default_rng([seed, 1])
        return lambda obs, reward, mask, start: draw(rng, env.action_space, len(obs), mask)

    return Behaviour("random", {"algorithm": "uniform random"}, begin)


def of_policy(folder: str | Path, mode: str = "best", name: str | None = None) -> Behaviour:
    """A policy that training shipped, by its most likely action ("best") or its draws ("sample").

    Raises:
        UserError: no policy there, or a damaged one; when acting begins, an environment that does not match it.
    """
    policy = Policy.load(folder)

    def begin(env: Any, n: int, seed: int) -> Act:
        require_match(env, policy.spec, policy.fitted)
        acting = policy.start(n, mode, seed)

        def act(obs: np.ndarray, reward: np.ndarray, mask: np.ndarray | None, start: np.ndarray) -> np.ndarray:
            return acting(obs[None], reward[None], None if mask is None else mask[None], start[None])[0]

        return act

    told = {name: policy.info.get(name) for name in ("seed", "step", "dataset", "env_spec")}
    facts = {"algorithm": policy.algorithm.name, "policy": str(Path(folder).resolve()), "mode": mode, **told}
    return Behaviour(name or policy.algorithm.name, facts, begin)


def of_zip(path: str | Path, kind: str, mode: str = "best") -> Behaviour:
    """An agent that Stable-Baselines3 saved; the package is imported here and nowhere else.

    Args:
        path: its zip.
        kind: the class that saved it: A2C, DDPG, DQN, PPO, SAC or TD3.
        mode: "best" or "sample".

    Raises:
        UserError: no such file or class, the package is missing, or it cannot read the file.
    """
    path, kind = Path(path), kind.upper()
    if kind not in SB3:
        raise unknown("Stable-Baselines3 algorithm (--sb3)", kind, SB3)
    if not path.is_file() or not zipfile.is_zipfile(path):
        raise UserError(f"{path} is no zip: expected what a Stable-Baselines3 agent's save() wrote")
    sys.stderr.write(f"warning: {path}: {ZIP_WARNING}\n")
    try:
        sb3 = importlib.import_module("stable_baselines3")
    except ModuleNotFoundError as fault:
        raise UserError(f"{path} needs Stable-Baselines3: pip install 'holdfast[sb3]'") from fault
    try:
        agent = getattr(sb3, kind).load(path, device="cpu")
    except Exception as fault:  # unpickling raises what the pickled classes raise
        raise UserError(f"{path}: Stable-Baselines3 cannot read it as {kind}: {one_line(fault)}") from fault

    def begin(env: Any, n: int, seed: int) -> Act:
        wrong = [
            f"{what} {getattr(agent, what).shape} where the environment has {getattr(env, what).shape}"
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
    """The same with disturbed actions, drawn anew at each step.

    Args:
        behaviour: who acts.
        random_actions: probability of a uniform action in its place.
        noise: standard deviation of normal noise on the others, as a share of half the action range; they are clipped
            to the bounds. BCQ's imperfect demonstrations have 0.3 of each.

    Raises:
        UserError: shares out of range; when acting begins, normal noise on discrete actions.
    """
    if not 0 <= random_actions <= 1 or noise < 0:
        raise UserError(
            f"--random-actions {random_actions:g} and --noise {noise:g}: expected a share from 0 to 1, and at least 0"
        )
    if not random_actions and not noise:
        return behaviour

    def begin(env: Any, n: int, seed: int) -> Act:
        space, rng = env.action_space, np.random.default_rng([seed, 2])
        if noise and not hasattr(space, "low"):
            raise UserError(f"--noise {noise:g}: actions of {name_of(env)} are discrete, take --random-actions")
        inner = behaviour.begin(env, n, seed)

        def act(obs: np.ndarray, reward: np.ndarray, mask: np.ndarray | None, start: np.ndarray) -> np.ndarray:
            action = inner(obs, reward, mask, start)
            if noise:
                half = (space.high - space.low) / 2
                moved = action + noise * half * rng.standard_normal(action.shape)
                action = np.clip(moved, space.low, space.high).astype(space.dtype)
            other = rng.random(len(obs)) < random_actions
            return np.where(other.reshape(-1, *[1] * (action.ndim - 1)), draw(rng, space, len(obs), mask), action)

        return act

    facts = {**behaviour.facts, "random_actions": random_actions, "noise": noise}
    return Behaviour(behaviour.name, facts, begin)


def draw(rng: np.random.Generator, space: Any, n: int, mask: np.ndarray | None) -> np.ndarray:
    """Uniform actions [n, ...], among the legal ones where a mask [n, A] says so."""
    if hasattr(space, "low"):
        return rng.uniform(space.low, space.high, (n, *space.shape)).astype(space.dtype)
    legal = np.ones((n, int(space.n))) if mask is None else mask
    return int(space.start) + np.argmax(np.where(legal, rng.random(legal.shape), -1.0), 1)
