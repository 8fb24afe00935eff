"""`race`: choose between policies by a limited number of episodes in an environment.

Rules:
    halving: every round gives each policy that is left the same number of episodes and drops the worse half (Karnin,
        Koren and Somekh 2013, algorithm 1; here the returns of all rounds count).
    ucb: one episode after the other, played by the policy with the highest upper confidence bound, see `bandit`.

All policies play the same episodes of a round, and the same e-th episode under `ucb`, so that the difficulty of their
starts cancels. The choice favours lucky policies, so a part of the budget plays fresh episodes with the chosen one
alone: only its return there has no bias.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, NamedTuple, get_args

import numpy as np

from ..core.errors import UserError, unknown
from ..core.shown import facts_html, line, table_html
from ..core.spec import Mode
from ..environments.gym.naming import named
from ..environments.gym.workers import TIMEOUT
from ..evaluation.evaluate import Evaluator, environment_of, evaluate
from ..evaluation.ope.result import bounds, number
from ..evaluation.progress import counting
from ..evaluation.statistics import Estimate, mean_interval
from ..policy.policy import Policy
from .bandit import Tally, expected_curve
from .select import folders_of, name_of

if TYPE_CHECKING:
    from ..environments.gym.naming import EnvLike

Rule = Literal["halving", "ucb"]
HEADER = ("rank", "policy", "episodes", "mean return", "note")
CHECK = 0.2  # share of the budget for fresh episodes of the chosen policy
FEWEST = 2  # episodes of each policy in the first round, and before bounds decide
APART = 7919  # between the seeds of rounds, which then have other episodes


@dataclasses.dataclass(frozen=True, eq=False)
class Contender:
    """One policy in a race."""

    folder: Path
    name: str
    returns: np.ndarray  # of all its episodes, without the fresh ones
    note: str  # how it ended: chosen, rounds that it played, or its bound

    @property
    def mean(self) -> float:
        """Mean return of its episodes."""
        return float(self.returns.mean())


class Point(NamedTuple):
    """The policy that a race would have chosen after some of its episodes."""

    episodes: int
    policy: str
    mean: float  # of all its episodes in the race, the fresh ones included
    expected: float | None  # the mean over simulated races, see `bandit.expected_curve`; None: not with this rule


@dataclasses.dataclass(frozen=True, eq=False)
class Race:
    """Policies after a race, the chosen one first."""

    environment: str
    rule: Rule
    episodes: int  # played in all
    contenders: tuple[Contender, ...]
    fresh: Estimate  # mean return of the chosen policy in fresh episodes, with its interval
    fresh_episodes: int
    curve: tuple[Point, ...] = ()  # after each round, or after each episode under `ucb`

    @property
    def chosen(self) -> Contender:
        """The policy that won."""
        return self.contenders[0]

    def table(self) -> list[tuple[str, ...]]:
        """The cells of every policy, see `HEADER`."""
        return [
            (str(rank), one.name, str(len(one.returns)), number(one.mean), one.note)
            for rank, one in enumerate(self.contenders, 1)
        ]

    @property
    def verdict(self) -> str:
        """One sentence."""
        return (
            f"{self.chosen.name}: mean return {number(self.fresh.value)} {bounds(self.fresh)} in "
            f"{self.fresh_episodes} fresh episodes of {self.environment}"
        )

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready values."""
        policies = [
            {
                "folder": str(one.folder),
                "name": one.name,
                "episodes": len(one.returns),
                "mean": one.mean,
                "returns": one.returns.tolist(),
                "note": one.note,
            }
            for one in self.contenders
        ]
        return {
            "environment": self.environment,
            "rule": self.rule,
            "episodes": self.episodes,
            "chosen": self.chosen.name,
            "policies": policies,
            "fresh": {**self.fresh._asdict(), "episodes": self.fresh_episodes},
            "curve": [point._asdict() for point in self.curve],
        }

    def __repr__(self) -> str:
        return line("Race", f"{self.verdict}, {self.episodes} episodes in all")

    def _repr_html_(self) -> str:
        return facts_html(self.verdict, [("episodes", str(self.episodes))]) + table_html(
            "policies", HEADER, self.table()
        )


def schedule(policies: int, budget: int) -> tuple[list[tuple[int, int]], int]:
    """Policies and episodes of each in every round, and the fresh episodes of the chosen policy.

    Args:
        policies: number of policies.
        budget: episodes in all.

    Raises:
        UserError: too few episodes for the policies.
    """
    rounds = max(1, math.ceil(math.log2(policies)))
    _require_budget(budget, policies, FEWEST * policies * rounds)
    share = int(budget * (1 - CHECK)) // rounds
    found = []
    left = policies
    for _ in range(rounds):
        found.append((left, share // left))
        left = math.ceil(left / 2)
    return found, budget - sum(count * each for count, each in found)


def _require_budget(budget: int, policies: int, episodes: int) -> None:
    """Refuse a budget with too few episodes for the choice.

    Raises:
        UserError: naming the smallest budget.
    """
    least = math.ceil(episodes / (1 - CHECK))
    if budget < least:
        raise UserError(
            f"a budget of {budget} episodes is too small for {policies} policies, expected at least {least}"
        )


def race(
    runs: Sequence[str | Path],
    budget: int,
    *,
    rule: Rule = "halving",
    env: EnvLike | None = None,
    mode: Mode = "best",
    seed: int = 0,
    workers: int = 0,
    worker_timeout: float = TIMEOUT,
    progress: bool = True,
) -> Race:
    """Choose between the policies of runs with a limited number of episodes.

    Args:
        runs: folders of runs or policies. The policies that a run kept (`keep_policies`) take part too.
        budget: episodes in all, exactly.
        rule: halving: rounds, each of which drops the worse half. ucb: the policy with the highest upper confidence
            bound plays the next episode.
        env: the environment; None: that of the training data.
        mode: how the policies act.
        seed: seed of the episodes.
        workers: worker processes that step the environments. 0: this process.
        worker_timeout: seconds that a step may take in a worker.
        progress: show how many episodes have ended.

    Raises:
        UserError: fewer than two policies, too few episodes for them, an unknown rule, or an environment that fails.
    """
    if rule not in get_args(Rule):
        raise unknown("rule", str(rule), get_args(Rule))
    folders = folders_of(runs)
    policies = [Policy.load(folder) for folder in folders]
    arena = Arena(policies, env, mode, seed, workers, worker_timeout, progress)
    course = (_halving if rule == "halving" else _ucb)(arena, budget)
    chosen = course.ranked[0]
    fresh = arena.together([chosen], course.fresh, course.number)[0]
    names = [name_of(folder) for folder in folders]
    returns = [np.array(one) for one in course.returns]
    known = [np.append(one, fresh) if i == chosen else one for i, one in enumerate(returns)]
    expected = None
    if rule == "ucb":
        expected = expected_curve(known, FEWEST, budget - course.fresh, seed)
    curve = tuple(
        Point(episodes, names[i], float(known[i].mean()), None if expected is None else float(expected[k]))
        for k, (episodes, i) in enumerate(course.leaders)
    )
    contenders = tuple(
        Contender(folders[i], names[i], returns[i], "chosen" if i == chosen else course.notes[i]) for i in course.ranked
    )
    return Race(arena.name, rule, budget, contenders, mean_interval(fresh), course.fresh, curve)


class _Course(NamedTuple):
    """How a race went, up to the choice."""

    ranked: list[int]  # policies by number, the chosen one first
    returns: list[list[float]]  # of each policy
    notes: list[str]  # about each policy
    leaders: list[tuple[int, int]]  # episodes of all policies, and the policy that would have been chosen then
    fresh: int  # episodes that are left for the chosen policy
    number: int  # of those episodes, see `Arena.together`


@dataclasses.dataclass(eq=False)
class Arena:
    """The policies, and the environment in which they play."""

    policies: list[Policy]
    env: EnvLike | None
    mode: Mode
    seed: int
    workers: int
    timeout: float
    progress: bool
    name: str = ""  # of the environment, after the first episode

    def together(self, which: Sequence[int], episodes: int, number: int) -> np.ndarray:
        """Returns [len(which), episodes] of some policies, which play the same episodes.

        Args:
            which: numbers of the policies.
            episodes: episodes of each.
            number: decides which episodes are played.
        """
        played = evaluate(
            [self.policies[i] for i in which],
            self.env,
            episodes,
            self.seed + APART * number,
            self.mode,
            workers=self.workers,
            worker_timeout=self.timeout,
            progress=self.progress,
        )
        self.name = played.env_id
        return played.returns

    def single(self) -> Evaluator:
        """An environment for single episodes of single policies, which is made once."""
        place = environment_of(self.policies[0].info) if self.env is None else named(self.env)
        return Evaluator(place, 1, 1, info=self.policies[0].info, workers=min(self.workers, 1), timeout=self.timeout)


def _halving(arena: Arena, budget: int) -> _Course:
    """Rounds, each of which drops the worse half."""
    rounds, fresh = schedule(len(arena.policies), budget)
    returns: list[list[float]] = [[] for _ in arena.policies]
    notes = [""] * len(arena.policies)
    left = list(range(len(arena.policies)))
    dropped: list[int] = []
    leaders = []
    for number_of, (count, each) in enumerate(rounds):
        assert count == len(left), "the schedule has one entry for each round"
        for i, found in zip(left, arena.together(left, each, number_of), strict=True):
            returns[i] += found.tolist()
            notes[i] = f"{number_of + 1} of {len(rounds)} rounds"
        order = sorted(left, key=lambda i: -float(np.mean(returns[i])))
        left = order[: math.ceil(len(order) / 2)]
        dropped = [*order[len(left) :], *dropped]
        leaders.append((sum(map(len, returns)), left[0]))
    return _Course([*left, *dropped], returns, notes, leaders, fresh, len(rounds))


def _ucb(arena: Arena, budget: int) -> _Course:
    """One episode after the other, each by the policy with the highest upper confidence bound.

    Only the first episodes are played together: every later one depends on all that were played before it.
    """
    count = len(arena.policies)
    _require_budget(budget, count, FEWEST * count)
    pulls = int(budget * (1 - CHECK))
    every = np.arange(count)
    began = np.concatenate([arena.together(every.tolist(), 1, number_of) for number_of in range(FEWEST)], 1)
    returns: list[list[float]] = began.tolist()
    tally = Tally.empty(1, count, float(began.mean()))
    for i, number_of in np.ndindex(began.shape):
        tally.add(every[i : i + 1], began[i, number_of : number_of + 1])
    leaders = [(began.size, int(tally.leader[0]))]
    teams = [Policy.stacked([policy]) for policy in arena.policies]
    evaluator = arena.single()
    try:
        with counting(pulls - began.size, arena.progress) as show:
            for played in range(began.size, pulls):
                i = int(tally.following[0])
                found = evaluator(teams[i], arena.seed + APART * len(returns[i]), arena.mode).returns[0]
                returns[i].append(float(found[0]))
                tally.add(every[i : i + 1], found)
                leaders.append((played + 1, int(tally.leader[0])))
                show(played + 1 - began.size, f"episodes in {arena.name}")
    finally:
        evaluator.close()
    ranked = np.argsort(-tally.means[0], kind="stable").tolist()
    notes = [f"bound {number(bound)}" for bound in tally.bounds[0]]
    return _Course(ranked, returns, notes, leaders, budget - pulls, pulls)
