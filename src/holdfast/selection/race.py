"""`race`: choose between policies by a limited number of episodes in an environment, with sequential halving.

Every round gives each policy that is left the same number of episodes and drops the worse half (Karnin, Koren and
Somekh 2013, algorithm 1; here the returns of all rounds count). All policies play the same episodes of a round, so that
the difficulty of their starts cancels. The choice favours lucky policies, so a part of the budget plays fresh episodes
with the chosen one alone: only its return there has no bias.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ..core.errors import UserError
from ..core.shown import facts_html, line, table_html
from ..core.spec import Mode
from ..environments.gym.workers import TIMEOUT
from ..evaluation.evaluate import evaluate
from ..evaluation.ope.result import bounds, number
from ..evaluation.statistics import Estimate, mean_interval
from ..policy.policy import Policy
from .select import folders_of, name_of

if TYPE_CHECKING:
    from ..environments.gym.naming import EnvLike

HEADER = ("rank", "policy", "episodes", "mean return", "left after round")
CHECK = 0.2  # share of the budget for fresh episodes of the chosen policy
FEWEST = 2  # episodes of each policy in the first round


@dataclasses.dataclass(frozen=True, eq=False)
class Contender:
    """One policy in a race."""

    folder: Path
    name: str
    returns: np.ndarray  # of all its episodes, without the fresh ones
    rounds: int  # rounds that it played

    @property
    def mean(self) -> float:
        """Mean return of its episodes."""
        return float(self.returns.mean())


@dataclasses.dataclass(frozen=True, eq=False)
class Race:
    """Policies after a race, the chosen one first."""

    environment: str
    episodes: int  # played in all
    contenders: tuple[Contender, ...]
    fresh: Estimate  # mean return of the chosen policy in fresh episodes, with its interval
    fresh_episodes: int

    @property
    def chosen(self) -> Contender:
        """The policy that won."""
        return self.contenders[0]

    def table(self) -> list[tuple[str, ...]]:
        """The cells of every policy, see `HEADER`."""
        last = max(one.rounds for one in self.contenders)
        return [
            (
                str(rank),
                one.name,
                str(len(one.returns)),
                number(one.mean),
                "chosen" if rank == 1 else f"{one.rounds} of {last}",
            )
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
            {"folder": str(one.folder), "name": one.name, "returns": one.returns.tolist(), "rounds": one.rounds}
            for one in self.contenders
        ]
        return {
            "environment": self.environment,
            "episodes": self.episodes,
            "policies": policies,
            "fresh": {**self.fresh._asdict(), "episodes": self.fresh_episodes},
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
    least = math.ceil(FEWEST * policies * rounds / (1 - CHECK))
    if budget < least:
        raise UserError(
            f"a budget of {budget} episodes is too small for {policies} policies, expected at least {least}"
        )
    share = int(budget * (1 - CHECK)) // rounds
    found = []
    left = policies
    for _ in range(rounds):
        found.append((left, share // left))
        left = math.ceil(left / 2)
    return found, budget - sum(count * each for count, each in found)


def race(
    runs: Sequence[str | Path],
    budget: int,
    *,
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
        env: the environment; None: that of the training data.
        mode: how the policies act.
        seed: seed of the episodes.
        workers: worker processes that step the environments. 0: this process.
        worker_timeout: seconds that a step may take in a worker.
        progress: show how many episodes have ended.

    Raises:
        UserError: fewer than two policies, too few episodes for them, or an environment that fails.
    """
    folders = folders_of(runs)
    rounds, fresh = schedule(len(folders), budget)
    policies = [Policy.load(folder) for folder in folders]
    returns: list[list[np.ndarray]] = [[] for _ in folders]
    left = list(range(len(folders)))
    dropped: list[int] = []
    place = ""
    for number_of, (count, each) in enumerate(rounds):
        assert count == len(left), "the schedule has one entry for each round"
        played = evaluate(
            [policies[i] for i in left],
            env,
            each,
            seed + 7919 * number_of,  # other episodes in each round
            mode,
            workers=workers,
            worker_timeout=worker_timeout,
            progress=progress,
        )
        place = played.env_id
        for i, found in zip(left, played.returns, strict=True):
            returns[i].append(found)
        order = sorted(left, key=lambda i: -float(np.concatenate(returns[i]).mean()))
        kept = order[: math.ceil(len(order) / 2)]
        dropped = [*order[len(kept) :], *dropped]
        left = kept
    chosen = left[0]
    ranked = [*left, *dropped]
    check = evaluate(
        policies[chosen],
        env,
        fresh,
        seed + 7919 * len(rounds),
        mode,
        workers=workers,
        worker_timeout=worker_timeout,
        progress=progress,
    )
    contenders = tuple(
        Contender(folders[i], name_of(folders[i]), np.concatenate(returns[i]), len(returns[i])) for i in ranked
    )
    return Race(place, budget, contenders, mean_interval(check.returns[0]), fresh)
