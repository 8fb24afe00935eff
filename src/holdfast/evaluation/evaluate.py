"""`evaluate`: a policy, or several that share an algorithm, scored in its environment."""

from __future__ import annotations

import dataclasses
import functools
import json
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from ..core.errors import UserError
from ..environments.gym.adapter import make_env
from ..environments.gym.workers import TIMEOUT, Workers
from ..policy.acting import Replicas
from ..policy.policy import Policy
from .rollout import SLOTS, Arena
from .scores import Reference, normalized, reference_of
from .statistics import Estimate, iqm_interval, mean_interval, two_stage_interval


@dataclasses.dataclass(frozen=True, eq=False)
class Evaluation:
    """Returns of R policies in E episodes each, and what they say."""

    env_id: str
    mode: str
    returns: np.ndarray  # [R, E] float64, undiscounted sums of raw rewards
    lengths: np.ndarray  # [R, E] int64, steps
    seeds: np.ndarray  # [R, E] int64, of `env.reset`
    reference: Reference | None = None  # returns of a random and of an expert policy

    @property
    def means(self) -> list[Estimate]:
        """Mean return of each policy, with the 95 % bootstrap interval over its episodes."""
        return [mean_interval(row) for row in self.returns]

    @property
    def mean(self) -> Estimate:
        """Mean return over all policies, with a 95 % bootstrap interval over policies and episodes."""
        return two_stage_interval(self.returns)

    @property
    def iqm(self) -> Estimate:
        """Interquartile mean over the policies' mean returns, with its 95 % stratified bootstrap interval."""
        return iqm_interval(self.returns.mean(1))

    @property
    def scores(self) -> np.ndarray | None:
        """Normalised score of each policy, [R]; None where no reference is known."""
        return None if self.reference is None else normalized(self.returns.mean(1), self.reference)

    @property
    def score(self) -> float | None:
        """Normalised score of the mean over all policies."""
        return None if self.reference is None else float(normalized(self.returns.mean(), self.reference))

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready: everything above."""
        return {
            "env_id": self.env_id,
            "mode": self.mode,
            "episodes": self.returns.shape[1],
            "returns": self.returns.tolist(),
            "lengths": self.lengths.tolist(),
            "episode_seeds": self.seeds.tolist(),
            "reference": None if self.reference is None else list(self.reference),
            "return_means": [e._asdict() for e in self.means],
            "return_mean": self.mean._asdict(),
            "return_iqm": self.iqm._asdict(),
            "normalized_scores": None if self.scores is None else self.scores.tolist(),
            "normalized_score": self.score,
        }


class Evaluator:
    """Environments held ready for evaluations in the course of a run: `evaluator(team, seed)`, then `close()`."""

    def __init__(
        self,
        env: str,
        replicas: int,
        episodes: int = 10,
        *,
        reference: Reference | None = None,
        info: Mapping[str, Any] | None = None,
        slots: int = SLOTS,
        workers: int = 0,
        timeout: float = TIMEOUT,
    ) -> None:
        """
        Args:
            env: environment id, or EnvSpec as JSON.
            replicas: R, how many policies act at once.
            episodes: for each of them.
            reference: returns of a random and an expert policy; looked up by `info` and environment where None.
            info: facts of the policies, see `Policy.info`.
            slots: environments for each policy, at most.
            workers: processes that step the environments, where one that dies or hangs is replaced; 0: this one.
            timeout: seconds that a step may take in one of them.

        Raises:
            UserError: no such environment, a missing package, no episodes.
        """
        if episodes < 1:
            raise UserError(f"{episodes} episodes: expected at least 1")
        elsewhere = functools.partial(Workers, env, processes=workers, timeout=timeout) if workers else None
        self.arena = Arena(functools.partial(make_env, env), replicas, episodes, slots, elsewhere)
        self.reference = reference if reference is not None else reference_of(info or {}, self.arena.name)

    def __call__(self, team: Replicas, seed: int | Sequence[int] = 0, mode: str = "best") -> Evaluation:
        """Play the episodes with every policy of `team`; the same seed, one for all or one a policy, gives the same."""
        played = self.arena.run(team, seed, mode)
        return Evaluation(self.arena.name, mode, *played, self.reference)

    def close(self) -> None:
        """Close the environments."""
        self.arena.close()


def evaluate(
    policy: Policy | Sequence[Policy],
    env: str | None = None,
    episodes: int = 10,
    seed: int = 0,
    mode: str = "best",
    reference: Reference | None = None,
    workers: int = 0,
    worker_timeout: float = TIMEOUT,
) -> Evaluation:
    """Score a policy, or several of one run, by rollouts in a Gymnasium environment.

    Args:
        policy: one, or several that play the same episodes, in one program where they are alike.
        env: environment id or EnvSpec as JSON; the one that the training data came from where None.
        episodes: for each policy, exactly.
        seed: of the episodes and of sampled actions.
        mode: "best" (the most likely action) or "sample".
        reference: returns of a random and an expert policy, for the normalised score.
        workers: processes that step the environments, where one that dies or hangs is replaced; 0: this one.
        worker_timeout: seconds that a step may take in one of them; starting one may take a minute in any case.

    Raises:
        UserError: no environment is known, its spaces do not match, it fails, or it gives what is not finite.
    """
    policies = [policy] if isinstance(policy, Policy) else list(policy)
    info = policies[0].info
    env = env if env is not None else environment_of(info)
    teams = [policies] if all(policies[0].acts_with(p) for p in policies) else [[p] for p in policies]
    found = []
    for team in teams:
        where: dict[str, Any] = {"workers": workers, "timeout": worker_timeout}
        evaluator = Evaluator(env, len(team), episodes, reference=reference, info=info, **where)
        try:
            found.append(evaluator(Policy.stacked(team), seed, mode))
        finally:
            evaluator.close()
    returns, lengths, seeds = (np.concatenate([getattr(e, n) for e in found]) for n in ("returns", "lengths", "seeds"))
    return dataclasses.replace(found[0], returns=returns, lengths=lengths, seeds=seeds)


def environment_of(info: Mapping[str, Any]) -> str:
    """The environment that a policy's training data came from: EnvSpec as JSON, or an id.

    Raises:
        UserError: none was recorded.
    """
    spec = info.get("env_spec") or info.get("env_id")
    if not spec:
        raise UserError("the policy's data set names no environment: give one with --env (env= in Python)")
    return spec if isinstance(spec, str) else json.dumps(spec)
