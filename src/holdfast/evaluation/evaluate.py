"""`evaluate`: scores a policy, or several of one algorithm, in an environment."""

from __future__ import annotations

import dataclasses
import functools
import json
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from ..core.errors import UserError
from ..core.shown import counted, facts_html, line
from ..core.trust import environment_in
from ..environments.gym.adapter import make_env
from ..environments.gym.naming import named
from ..environments.gym.timed import env_for_spaces
from ..environments.gym.workers import TIMEOUT, Workers
from ..policy.acting import Replicas
from ..policy.policy import Policy
from .progress import counting
from .rollout import SLOTS, Rollout
from .scores import Reference, normalized, reference_of
from .statistics import Estimate, iqm_interval, mean_interval, two_stage_interval

if TYPE_CHECKING:
    from ..environments.gym.naming import EnvLike


@dataclasses.dataclass(frozen=True, eq=False)
class Evaluation:
    """Returns of R policies in E episodes each, with summary statistics.

    If policies were asked for G returns, each has G rows, one after the other.
    """

    env_id: str
    mode: str
    returns: np.ndarray  # [R, E] float64, undiscounted sums of raw rewards
    lengths: np.ndarray  # [R, E] int64, steps
    seeds: np.ndarray  # [R, E] int64, as given to `env.reset`
    reference: Reference | None = None  # returns of a random and of an expert policy
    targets: np.ndarray | None = None  # [R] float64, raw return that each row was asked for; None: not asked

    @property
    def means(self) -> list[Estimate]:
        """Mean return of each policy, with the 95 % bootstrap interval over its episodes."""
        return [mean_interval(row) for row in self.returns]

    @property
    def mean(self) -> Estimate:
        """Mean return over all policies, with its 95 % bootstrap interval over policies and episodes."""
        return two_stage_interval(self.returns)

    @property
    def iqm(self) -> Estimate:
        """Interquartile mean over the policies' mean returns, with its 95 % stratified bootstrap interval."""
        return iqm_interval(self.returns.mean(1))

    @property
    def scores(self) -> np.ndarray | None:
        """Normalised score of each policy, [R]; None if there is no reference."""
        return None if self.reference is None else normalized(self.returns.mean(1), self.reference)

    @property
    def score(self) -> float | None:
        """Normalised score of the mean over all policies; None if there is no reference."""
        return None if self.reference is None else float(normalized(self.returns.mean(), self.reference))

    def __repr__(self) -> str:
        facts = dict(self._facts())
        return line(
            "Evaluation", f"{self.env_id}: {facts['policies']} x {facts['episodes']} episodes, return {self.mean}"
        )

    def _repr_html_(self) -> str:
        return facts_html(f"Evaluation in {self.env_id}", self._facts())

    def _facts(self) -> list[tuple[str, str]]:
        policies, episodes = self.returns.shape
        facts = [("policies", counted(policies, "policy", "policies")), ("episodes", str(episodes))]
        facts += [("actions", self.mode), ("return", str(self.mean)), ("steps", f"{self.lengths.mean():.0f}")]
        return [*facts, *([("normalised score", f"{self.score:.1f}")] if self.score is not None else [])]

    def to_dict(self) -> dict[str, Any]:
        """All of these values, JSON-ready."""
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
            **({} if self.targets is None else {"target_returns": self.targets.tolist()}),
        }


class Evaluator:
    """Environments for repeated evaluations during a run: call `evaluator(policies, seed)`, at the end `close()`."""

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
        targets: Sequence[float] = (),
    ) -> None:
        """
        Args:
            env: environment id, or EnvSpec as JSON.
            replicas: R, the number of policies.
            episodes: E, the number of episodes of each policy.
            reference: returns of a random and an expert policy; None: looked up by `info` and the environment.
            info: facts of the policies, see `Policy.info`.
            slots: the largest number of environments for each policy.
            workers: worker processes that step the environments; 0: this process.
            timeout: seconds that a step may take in a worker; a slower one is replaced.
            targets: raw returns that every policy is asked for, in E episodes each. Empty: the policies' own.

        Raises:
            UserError: an unknown environment, a missing package, or no episodes.
        """
        if episodes < 1:
            raise UserError(f"{episodes} episodes: expected at least 1")
        pool = functools.partial(Workers, env, processes=workers, timeout=timeout) if workers else None
        make = functools.partial(env_for_spaces, env, workers, timeout) if workers else functools.partial(make_env, env)
        self.targets = tuple(targets)
        self.episodes = episodes
        self.rollout = Rollout(make, replicas, episodes * max(1, len(self.targets)), slots, pool)
        self.reference = reference if reference is not None else reference_of(info or {}, self.rollout.name)

    def __call__(
        self,
        policies: Replicas,
        seed: int | Sequence[int] = 0,
        mode: str = "best",
        ended: Callable[[int], None] | None = None,
        before_step: Callable[[], None] | None = None,
    ) -> Evaluation:
        """Play the E episodes with every policy.

        Args:
            policies: the R policies.
            seed: one for the same episodes with every policy, or one a policy; the same seed gives the same episodes.
            mode: "best" (the most likely action) or "sample".
            ended: is called after each episode, with the number of episodes that have ended.
            before_step: is called before each step of all environments. What it raises ends the evaluation.

        Raises:
            UserError: spaces that do not match, an environment that fails, or numbers that are not finite.
        """
        played = self.rollout.run(policies, seed, mode, ended=ended, targets=self.targets, before_step=before_step)
        if not self.targets:
            return Evaluation(self.rollout.name, mode, *played, self.reference)
        returns, lengths, seeds = (x.reshape(-1, self.episodes) for x in played)
        asked = np.tile(np.asarray(self.targets, np.float64), policies.count)
        return Evaluation(self.rollout.name, mode, returns, lengths, seeds, self.reference, asked)

    def close(self) -> None:
        """Close the environments."""
        self.rollout.close()


def evaluate(
    policy: Policy | Sequence[Policy],
    env: EnvLike | None = None,
    episodes: int = 10,
    seed: int = 0,
    mode: str = "best",
    reference: Reference | None = None,
    workers: int = 0,
    worker_timeout: float = TIMEOUT,
    progress: bool = True,
    target_return: Sequence[float] | float = (),
) -> Evaluation:
    """Score a policy, or several of one run, by rollouts in a Gymnasium environment.

    Args:
        policy: one policy, or several that play the same episodes. Those of equal shape act in one compiled program.
        env: environment id, EnvSpec as JSON, an environment, or a class or function that makes one. None: the
            environment of the training data.
        episodes: the exact number of episodes of each policy.
        seed: seed of the episodes and of sampled actions.
        mode: "best" (the most likely action) or "sample".
        reference: returns of a random and an expert policy, for the normalised score; None: the known ones.
        workers: worker processes that step the environments; one that dies or hangs is replaced. 0: this process.
        worker_timeout: seconds that a step may take in a worker. Starting a worker may take a minute in any case.
        progress: show how many episodes have ended.
        target_return: returns that policies which follow a return are asked for, as sums of raw rewards of an episode.
            All are played in one rollout. Empty: each policy's own.

    Returns:
        Returns and lengths of all episodes, [policies, episodes], with their statistics. With several targets each
        policy has a row for each of them.

    Raises:
        UserError: no environment is known, its spaces do not match, it fails, or it gives numbers that are not finite.
    """
    policies = [policy] if isinstance(policy, Policy) else list(policy)
    info = policies[0].info
    targets = _targets(policies, target_return)
    place = named(env) if env is not None else environment_of(info)
    alike = all(policies[0].acts_with(other) for other in policies)
    groups = [policies] if alike else [[one] for one in policies]
    found: list[Evaluation] = []
    with counting(len(policies) * episodes * max(1, len(targets)), progress) as show:
        for group in groups:
            evaluator = Evaluator(
                place,
                len(group),
                episodes,
                reference=reference,
                info=info,
                workers=workers,
                timeout=worker_timeout,
                targets=targets,
            )
            try:
                before = sum(one.returns.size for one in found)
                ended = functools.partial(_ended, show, before, evaluator.rollout.name)
                found.append(evaluator(Policy.stacked(group), seed, mode, ended))
            finally:
                evaluator.close()
    return dataclasses.replace(
        found[0],
        returns=np.concatenate([one.returns for one in found]),
        lengths=np.concatenate([one.lengths for one in found]),
        seeds=np.concatenate([one.seeds for one in found]),
        targets=None if not targets else np.concatenate([one.targets for one in found if one.targets is not None]),
    )


def _targets(policies: Sequence[Policy], target_return: Sequence[float] | float) -> tuple[float, ...]:
    """The returns to ask for.

    Raises:
        UserError: numbers that are not finite, or a policy that follows no return.
    """
    try:
        targets = tuple(float(x) for x in np.atleast_1d(np.asarray(target_return, np.float64)))
    except (TypeError, ValueError) as fault:
        raise UserError(f"target_return is {target_return!r}, expected returns of episodes as numbers") from fault
    if not np.isfinite(targets).all():
        raise UserError(f"target_return is {target_return!r}, expected finite numbers, sums of raw rewards")
    for policy in policies if targets else ():
        if policy.algorithm.target is None:
            raise UserError(f"a policy of {policy.algorithm.name} follows no return: leave the target return out")
        policy.fitted.returns(targets)
    return targets


def _ended(show: Callable[[int, str], None], before: int, name: str, count: int) -> None:
    """Show that `count` episodes have ended, after `before` episodes of other policies."""
    show(before + count, f"episodes in {name}")


def environment_of(info: Mapping[str, Any]) -> str:
    """The environment of a policy's training data: EnvSpec as JSON, or an id.

    Raises:
        UserError: the policy names no environment, or one with a module, which only a person may name.
    """
    spec = info.get("env_spec") or info.get("env_id")
    if not spec:
        raise UserError("the policy's data set names no environment: give one with --env (env= in Python)")
    return environment_in(spec if isinstance(spec, str) else json.dumps(spec), "the policy")
