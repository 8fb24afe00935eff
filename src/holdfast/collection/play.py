"""Collects logs in an environment: an exact number of steps or episodes of one behaviour."""

from __future__ import annotations

import functools
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, TypedDict, cast

import numpy as np

from ..core.errors import UserError
from ..data.dataset import Dataset
from ..data.references import reference_for
from ..environments.gym.adapter import env_spec_of, make_env
from ..environments.gym.collector import Collector, EnvironmentFailed, Steps
from ..environments.gym.env_pool import Shape
from ..environments.gym.matching import name_of, spec_of
from ..environments.gym.timed import env_for_spaces
from ..environments.gym.workers import TIMEOUT, Workers
from ..policy.folder import versions
from .behaviours import Act, Behaviour, uniform

if TYPE_CHECKING:
    import gymnasium
    from gymnasium.spaces import Box, Discrete

SLOTS = 8  # environments that step together, at most: a call of the policy costs more than a step of most of them
EPISODES = 20  # episodes of a reference return

Episode = dict[str, np.ndarray]  # the columns of one episode


class CollectionFailed(EnvironmentFailed):
    """The environment failed during collection. `data` holds the whole episodes before that, None if there are none."""

    def __init__(self, message: str, data: Dataset | None) -> None:
        super().__init__(message)
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
    """Collect transitions in an environment, in its own units.

    Episodes are numbered and each has its own seed. Those with the lowest numbers are kept, so that short episodes are
    not favoured. If `steps` ends inside an episode, that episode is cut and marked as truncated.

    Args:
        env: environment id, or EnvSpec as JSON.
        behaviour: the behaviour that acts.
        steps: the exact number of transitions.
        episodes: the exact number of whole episodes. Give either `steps` or `episodes`.
        seed: seed of the episodes and of the behaviour's draws.
        id: name of the data set.
        workers: worker processes that step the environments; one that dies or hangs is replaced. 0: this process.
        worker_timeout: seconds that a step may take in a worker. Starting a worker may take a minute in any case.

    Returns:
        The log, with the behaviour in its provenance.

    Raises:
        UserError: numbers out of range, or an environment that cannot be made or does not match the behaviour.
        CollectionFailed: the environment fails during collection.
    """
    if (steps is None) == (episodes is None) or (steps or episodes or 0) < 1 or seed < 0:
        raise UserError(
            f"{steps} steps and {episodes} episodes with seed {seed}: expected one of the two, at least 1, and a seed "
            "of at least 0"
        )
    first = env_for_spaces(env, workers, worker_timeout)
    try:
        spec = spec_of(first)
        room = SLOTS if steps is None else steps // (2 * (spec.horizon or 1000))
        n = int(np.clip(episodes or room, 1, SLOTS))
        act = behaviour.begin(first, n, seed)
        spaces = spaces_of(first)
        name = name_of(first)
    finally:
        first.close()
    kept: list[Episode] = []

    def log() -> Dataset:
        size = {"steps": sum(map(len_of, kept)), "episodes": len(kept)}
        facts = {**behaviour.facts, "env": name, "seed": seed, **size}
        about = {"algorithm_name": behaviour.facts["algorithm"], "collected": [facts], "versions": versions()}
        return Dataset.from_episodes(kept, id=id, env_spec=env_spec_of(env), provenance=about, **spaces)

    pool = Workers(env, n, Shape(spec.discrete, spec.action), workers, worker_timeout) if workers else None
    collector = Collector(functools.partial(make_env, env), [seed], n, spec, pool)
    try:
        _play(collector, act, steps, episodes, kept)
    except EnvironmentFailed as fault:
        raise CollectionFailed(str(fault), log() if kept else None) from fault
    finally:
        collector.close()
    return log()


class Spaces(TypedDict):
    """The spaces of an environment that `matching.spec_of` accepts."""

    observation_space: Box
    action_space: Box | Discrete


def spaces_of(env: gymnasium.Env) -> Spaces:
    """The spaces of an environment, as fields of a `Dataset`."""
    return Spaces(
        observation_space=cast("Box", env.observation_space), action_space=cast("Box | Discrete", env.action_space)
    )


def len_of(episode: Mapping[str, np.ndarray]) -> int:
    """The number of steps of an episode."""
    return len(episode["rewards"])


def _play(collector: Collector, act: Act, steps: int | None, episodes: int | None, kept: list[Episode]) -> None:
    """Play until `kept` holds the requested steps or episodes. Episode e is number e // n of environment e % n."""
    n = collector.n
    collector.begin()
    rows: list[list[Steps]] = [[] for _ in range(n)]  # of the open episodes
    done: list[list[Episode]] = [[] for _ in range(n)]
    while True:
        step = collector.step(_actions(collector, act)[None])
        for k in range(n):
            rows[k].append(Steps(*(None if x is None else x[0, k] for x in step)))  # type: ignore[arg-type]
            if step.terminated[0, k] or step.truncated[0, k]:
                done[k].append(_episode(rows[k]))
                rows[k] = []
        if _keep(done, rows, steps, episodes, kept):
            return


def _actions(collector: Collector, act: Act) -> np.ndarray:
    """The behaviour's actions at the collector's observations, [n, ...]."""
    mask = None if collector.mask is None else collector.mask[0].copy()
    reward = np.where(collector.start[0], 0.0, collector.reward[0])
    actions = act(collector.obs[0].copy(), reward, mask, collector.start[0].copy())
    if actions.dtype.kind == "f" and not np.isfinite(actions).all():
        raise UserError(f"the behaviour gave the action {actions.tolist()}, expected finite numbers")
    return actions


def _keep(
    done: list[list[Episode]],
    rows: list[list[Steps]],
    steps: int | None,
    episodes: int | None,
    kept: list[Episode],
) -> bool:
    """Append the next episodes in order to `kept`. Returns whether the requested size is reached."""
    n = len(done)
    total = sum(map(len_of, kept))
    while len(done[len(kept) % n]) > len(kept) // n:
        kept.append(done[len(kept) % n][len(kept) // n])
        total += len_of(kept[-1])
        if len(kept) == episodes:
            return True
        if steps is not None and total >= steps:
            kept[-1] = _cut(kept[-1], len_of(kept[-1]) - (total - steps))
            return True
    k = len(kept) % n
    if steps is not None and len(done[k]) == len(kept) // n and rows[k] and total + len(rows[k]) >= steps:
        kept.append(_cut(_episode(rows[k]), steps - total))
        return True
    return False


def _episode(rows: list[Steps]) -> Episode:
    """The columns of an episode from its steps."""
    obs, action, reward, next_obs, terminated, truncated, mask, next_mask = zip(*rows, strict=True)
    columns = {
        "observations": np.stack([*obs, next_obs[-1]]),
        "actions": np.stack(action),
        "rewards": np.array(reward),
        "terminations": np.array(terminated),
        "truncations": np.array(truncated) & ~np.array(terminated),
    }
    return columns if mask[0] is None else {**columns, "action_mask": np.stack([*mask, next_mask[-1]])}


def _cut(episode: Episode, steps: int) -> Episode:
    """The first steps of an episode, truncated there unless it ended."""
    longer = ("observations", "action_mask")
    part = {k: v[: steps + (k in longer)].copy() for k, v in episode.items()}
    part["truncations"][-1] |= not part["terminations"][-1]
    return part


def whole(data: Dataset) -> np.ndarray:
    """Which episodes of a collected log are whole: all but the last one, if there are others; [E] bool."""
    found = np.ones(data.n_episodes, bool)
    found[-1] = data.n_episodes == 1
    return found


def mean_return(data: Dataset) -> float:
    """Mean undiscounted return of the whole episodes of a collected log."""
    return float(data.returns()[whole(data)].mean())


def joined(parts: Sequence[Dataset], id: str) -> Dataset:
    """Concatenate logs of one environment.

    Args:
        parts: the logs.
        id: name of the result.

    Raises:
        UserError: their spaces, columns or environments differ.
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
    stacked: dict[str, Any] = {name: np.concatenate([getattr(part, name) for part in parts]) for name in names}
    lengths = np.concatenate([part.lengths for part in parts])
    return Dataset(
        **stacked,
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
    env: str,
    expert: Behaviour | None,
    seed: int = 0,
    episodes: int = EPISODES,
    workers: int = 0,
    worker_timeout: float = TIMEOUT,
) -> dict[str, float]:
    """Mean returns of uniform random actions ("random") and of an expert without noise ("policy"), if there is one.

    The episodes differ from those of a log with the same seed. The arguments are those of `collect`.
    """
    behaviours = {"random": uniform()} | ({} if expert is None else {"policy": expert})
    processes: dict[str, Any] = {"workers": workers, "worker_timeout": worker_timeout}
    seed += 1_000_003
    return {
        name: float(collect(env, behaviour, episodes=episodes, seed=seed, **processes).returns().mean())
        for name, behaviour in behaviours.items()
    }


def score_reference(env: str, measured: Mapping[str, float]) -> tuple[float, float] | None:
    """The returns of a random and of an expert policy for normalised scores: the known ones, else the measured ones.

    The known ones take precedence, so that the scores of all logs of an environment can be compared. None if nothing is
    known and the measured expert is not better than the random policy.
    """
    made = make_env(env)
    name = name_of(made)
    made.close()
    known = reference_for(None, name)
    if known is not None:
        return known
    low = measured.get("random")
    high = measured.get("policy")
    return (low, high) if low is not None and high is not None and high > low else None
