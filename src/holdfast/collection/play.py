"""Logs made in an environment: exactly so many steps, or episodes, of one behaviour or of several."""

from __future__ import annotations

import functools
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from ..core.errors import UserError
from ..data.dataset import Dataset
from ..data.references import reference_for
from ..environments.gym.adapter import make_env, name_of, spec_of
from ..environments.gym.collector import Collector, EnvironmentFailed
from ..environments.gym.env_pool import Shape
from ..environments.gym.workers import TIMEOUT, Workers
from ..policy.folder import versions
from .behaviours import Behaviour, uniform

SLOTS = 8  # environments in step, at most: a call of the policy costs more than a step of most of them
EPISODES = 20  # of a reference return


class CollectionFailed(EnvironmentFailed):
    """The environment failed on the way; `data` holds the whole episodes before that, None where there are none."""

    def __init__(self, said: str, data: Dataset | None) -> None:
        super().__init__(said)
        self.data = data


def collect(
    env: str,
    behaviour: Behaviour,
    *,
    steps: int | None = None,
    episodes: int | None = None,
    seed: int = 0,
    id: str = "collected",
    workers: int = 0,
    worker_timeout: float = TIMEOUT,
) -> Dataset:
    """Play episodes and keep every step, raw.

    Episodes are numbered, each is reset with a seed of its own, and those with the lowest numbers are taken, so that
    short ones are not favoured. The last one is cut, and marked as truncated, where `steps` ends inside it.

    Args:
        env: environment id, or EnvSpec as JSON.
        behaviour: who acts.
        steps: how many transitions, exactly.
        episodes: how many whole episodes, exactly; one of the two is to be given.
        seed: of episodes and draws.
        id: the data set's.
        workers: processes that step the environments, where one that dies or hangs is replaced; 0: this one.
        worker_timeout: seconds that a step may take in one of them; starting one may take a minute in any case.

    Raises:
        UserError: numbers out of range, an environment that cannot be made or does not match.
        CollectionFailed: it fails on the way.
    """
    if (steps is None) == (episodes is None) or (steps or episodes or 0) < 1 or seed < 0:
        raise UserError(
            f"{steps} steps and {episodes} episodes with seed {seed}: expected one of the two, at least 1, and a seed "
            "of at least 0"
        )
    first = make_env(env)
    try:
        spec = spec_of(first)
        room = SLOTS if steps is None else steps // (2 * (spec.horizon or 1000))
        n = int(np.clip(episodes or room, 1, SLOTS))
        act = behaviour.begin(first, n, seed)
        spaces = {"observation_space": first.observation_space, "action_space": first.action_space}
        name = name_of(first)
    finally:
        first.close()
    kept: list[dict[str, Any]] = []

    def made() -> Dataset:
        facts = {**behaviour.facts, "env": name, "seed": seed, "steps": sum(map(len_of, kept)), "episodes": len(kept)}
        return Dataset.from_episodes(
            kept,
            **spaces,
            id=id,
            env_spec=described(env),
            provenance={"algorithm_name": behaviour.facts["algorithm"], "collected": [facts], "versions": versions()},
        )

    slots = Workers(env, n, Shape(spec.discrete, spec.action), workers, worker_timeout) if workers else None
    collector = Collector(functools.partial(make_env, env), [seed], n, spec, slots)
    try:
        _play(collector, act, n, steps, episodes, kept)
    except EnvironmentFailed as fault:
        raise CollectionFailed(str(fault), made() if kept else None) from fault
    finally:
        collector.close()
    return made()


def len_of(episode: Mapping[str, np.ndarray]) -> int:
    """Steps of an episode."""
    return len(episode["rewards"])


def _play(
    collector: Collector, act: Any, n: int, steps: int | None, episodes: int | None, taken: list[dict[str, Any]]
) -> None:
    """Fill `taken`. Episode e is number e // n of environment e % n; ends as soon as the first ones are enough."""
    collector.begin()
    rows: list[list[Any]] = [[] for _ in range(n)]  # of the open episodes
    done: list[list[dict[str, Any]]] = [[] for _ in range(n)]
    total = 0
    while True:
        mask = None if collector.mask is None else collector.mask[0].copy()
        reward = np.where(collector.start[0], 0.0, collector.reward[0])
        given = act(collector.obs[0].copy(), reward, mask, collector.start[0].copy())
        if given.dtype.kind == "f" and not np.isfinite(given).all():
            raise UserError(f"the behaviour gave the action {given.tolist()}, expected finite numbers")
        step = collector.step(given[None])
        for k in range(n):
            rows[k].append([None if x is None else x[0, k] for x in step])
            if step.terminated[0, k] or step.truncated[0, k]:
                done[k].append(_episode(rows[k]))
                rows[k] = []
        while len(done[len(taken) % n]) > len(taken) // n:
            taken.append(done[len(taken) % n][len(taken) // n])
            total += len_of(taken[-1])
            if len(taken) == episodes:
                return
            if steps is not None and total >= steps:
                taken[-1] = _cut(taken[-1], len_of(taken[-1]) - (total - steps))
                return
        k = len(taken) % n
        if steps is not None and len(done[k]) == len(taken) // n and rows[k] and total + len(rows[k]) >= steps:
            taken.append(_cut(_episode(rows[k]), steps - total))
            return


def _episode(rows: list[Any]) -> dict[str, Any]:
    obs, action, reward, next_obs, terminated, truncated, mask, next_mask = zip(*rows, strict=True)
    made = {
        "observations": np.stack([*obs, next_obs[-1]]),
        "actions": np.stack(action),
        "rewards": np.array(reward),
        "terminations": np.array(terminated),
        "truncations": np.array(truncated) & ~np.array(terminated),
    }
    return made if mask[0] is None else {**made, "action_mask": np.stack([*mask, next_mask[-1]])}


def _cut(episode: dict[str, Any], steps: int) -> dict[str, Any]:
    """The first steps of an episode, truncated there unless it has ended."""
    longer = ("observations", "action_mask")
    part = {k: v[: steps + (k in longer)].copy() for k, v in episode.items()}
    part["truncations"][-1] |= not part["terminations"][-1]
    return part


def whole(data: Dataset) -> np.ndarray:
    """Which episodes a collected log holds to their end: all but the last, where there are others; [E] booleans."""
    found = np.ones(data.n_episodes, bool)
    found[-1] = data.n_episodes == 1
    return found


def mean_return(data: Dataset) -> float:
    """Of the episodes that a collected log holds to their end."""
    return float(data.returns()[whole(data)].mean())


def joined(parts: Sequence[Dataset], id: str) -> Dataset:
    """Logs of one environment, one after another.

    Raises:
        UserError: they are of different spaces, columns or environments.
    """
    first = parts[0]
    for other in parts[1:]:
        same = (
            other.observation_space == first.observation_space
            and other.action_space == first.action_space
            and other.columns.keys() == first.columns.keys()
            and other.env_id == first.env_id
        )
        if not same:
            raise UserError(f"{first.id} and {other.id} cannot be joined: their spaces or environments differ")
    names = ("observations", "actions", "rewards", "terminations", "truncations")
    whole: dict[str, Any] = {name: np.concatenate([getattr(part, name) for part in parts]) for name in names}
    lengths = np.concatenate([part.lengths for part in parts])
    return Dataset(
        **whole,
        offsets=np.append(0, np.cumsum(lengths)),
        observation_space=first.observation_space,
        action_space=first.action_space,
        id=id,
        env_spec=first.env_spec,
        columns={name: np.concatenate([part.columns[name] for part in parts]) for name in first.columns},
        provenance={
            **first.provenance,
            "algorithm_name": "; ".join(str(part.provenance.get("algorithm_name")) for part in parts),
            "collected": [fact for part in parts for fact in part.provenance.get("collected", [])],
        },
    )


def references(
    env: str, expert: Behaviour | None, seed: int = 0, episodes: int = EPISODES, **processes: Any
) -> dict[str, float]:
    """Mean returns of uniform random actions and, where there is one, of a behaviour without noise: "random", "policy".

    The episodes are others than those of a log with the same seed; `processes` are those of `collect`.
    """
    played = {"random": uniform()} | ({} if expert is None else {"policy": expert})
    seed += 1_000_003
    return {
        name: float(collect(env, who, episodes=episodes, seed=seed, **processes).returns().mean())
        for name, who in played.items()
    }


def reference_of(env: str, measured: Mapping[str, float]) -> tuple[float, float] | None:
    """What normalised scores are to refer to: the known pair of an environment, else the measured one.

    The known one goes first so that scores of all logs of an environment compare. None where nothing spans a range.
    """
    made = make_env(env)
    name = name_of(made)
    made.close()
    known = reference_for(None, name)
    if known is not None:
        return known
    low, high = measured.get("random"), measured.get("policy")
    return (low, high) if low is not None and high is not None and high > low else None


def described(env: str) -> str | None:
    """An environment as EnvSpec in JSON, as Minari stores it; None where it was registered in a way that JSON cannot
    say."""
    if env.lstrip().startswith("{"):
        return env
    import gymnasium

    try:
        return gymnasium.spec(env.rpartition(":")[2]).to_json()
    except (ValueError, TypeError):
        return None
