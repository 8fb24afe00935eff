"""Upper confidence bounds: which policy plays the next episode of a budget.

With the mean m_i of n_i episodes of policy i, and t episodes of all policies so far, its bound is

    b_i = m_i + s sqrt(2 ln t / n_i)

The policy with the highest bound plays (Auer, Cesa-Bianchi and Fischer 2002, doi:10.1023/A:1013689704352, UCB1). The
policy with the highest mean is the chosen one. Unifloral (Jackson et al. 2025, arXiv:2504.11453) chooses between
trained policies in this way.
Not as there: s is 1 there, so that the rule depends on the unit of the returns. Here s is the standard deviation of the
returns within the policies, pooled; returns with s as their deviation then have the bound of the paper. Ties go to the
policy with the fewest episodes, not to a random one.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import numpy as np

EXPLORATION = 2.0  # the factor of ln t
REPEATS = 500  # simulated races of an expected curve


@dataclasses.dataclass(eq=False)
class Tally:
    """Episodes and returns of K policies in B races."""

    counts: np.ndarray  # [B, K] episodes
    sums: np.ndarray  # [B, K] of returns minus `centre`
    squares: np.ndarray  # [B, K] of their squares
    centre: float  # near the returns, so that squares lose no digits

    @classmethod
    def empty(cls, races: int, policies: int, centre: float) -> Tally:
        """No episodes yet."""
        zeros = np.zeros((races, policies))
        return cls(zeros, zeros.copy(), zeros.copy(), centre)

    def add(self, policy: np.ndarray, returns: np.ndarray) -> None:
        """Count one episode of a policy in each race.

        Args:
            policy: [B] who played.
            returns: [B] its return.
        """
        place = (np.arange(len(policy)), policy)
        self.counts[place] += 1
        self.sums[place] += returns - self.centre
        self.squares[place] += (returns - self.centre) ** 2

    @property
    def means(self) -> np.ndarray:
        """Mean returns, [B, K]. Every policy must have played."""
        return self.sums / self.counts + self.centre

    @property
    def bounds(self) -> np.ndarray:
        """Upper confidence bounds b_i, [B, K]. Every policy must have played, and one of them twice."""
        total = self.counts.sum(-1, keepdims=True)
        within = np.maximum(self.squares - self.sums**2 / self.counts, 0.0).sum(-1, keepdims=True)
        deviation = np.sqrt(within / (total - self.counts.shape[-1]))
        return self.means + deviation * np.sqrt(EXPLORATION * np.log(total) / self.counts)

    @property
    def following(self) -> np.ndarray:
        """Who plays next, [B]: the highest bound; of equal ones the policy with the fewest episodes."""
        bounds = self.bounds
        highest = bounds == bounds.max(-1, keepdims=True)
        return np.where(highest, self.counts, np.inf).argmin(-1)

    @property
    def leader(self) -> np.ndarray:
        """Whose mean is the highest, [B]."""
        return self.means.argmax(-1)


def expected_curve(
    returns: Sequence[np.ndarray], first: int, pulls: int, seed: int = 0, repeats: int = REPEATS
) -> np.ndarray:
    """The mean return of the chosen policy after each number of episodes, averaged over simulated races.

    A simulated race draws every episode with replacement from the returns of its policy.

    Args:
        returns: [E_i] known returns of each policy.
        first: episodes of each policy before the bounds decide, at least 2.
        pulls: episodes of a race.
        seed: seed of the draws.
        repeats: number of simulated races.

    Returns:
        Expected mean returns after first * K, ..., pulls episodes, [pulls - first * K + 1].
    """
    rng = np.random.default_rng(seed)
    count = len(returns)
    sizes = np.array([len(one) for one in returns])
    table = np.zeros((count, sizes.max()))
    for i, one in enumerate(returns):
        table[i, : len(one)] = one
    true = np.array([one.mean() for one in returns])
    tally = Tally.empty(repeats, count, float(true.mean()))

    def play(policy: np.ndarray) -> None:
        tally.add(policy, table[policy, rng.integers(0, sizes[policy])])

    for i in np.tile(np.arange(count), first):
        play(np.full(repeats, i))
    found = [true[tally.leader].mean()]
    for _ in range(first * count, pulls):
        play(tally.following)
        found.append(true[tally.leader].mean())
    return np.array(found)
