"""Teams that only act: the policies of several agents on joint observations."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import cast

import jax
import jax.numpy as jnp

from ..core.config import as_arrays, config
from ..core.contract import Algorithm, Context
from ..core.noise import Noise
from ..core.spec import Cfg, Memory, Mode, Seen, Spec, State
from ..core.team import Team


def acting(
    team: Team,
    one: Callable[[int, Seen, Memory, Noise], tuple[jax.Array, Memory]],
    seen: Seen,
    memory: Memory,
    noise: Noise,
) -> tuple[jax.Array, tuple[Memory, ...]]:
    """The joint action of agents that act each on their own observation.

    Args:
        team: the agents.
        one: `(i, what agent i sees, its memory, its noise) -> (its action, its memory)`.
        seen: joint observations and masks.
        memory: the memory of each agent.
        noise: draws, an independent stream for each agent.
    """
    observations = team.observations(seen.obs)
    masks = [None] * len(team.names) if seen.mask is None else team.masks(seen.mask)
    each = cast(tuple[Memory, ...], memory)
    actions: list[jax.Array] = []
    kept: list[Memory] = []
    for i, name in enumerate(team.names):
        action, after = one(i, Seen(observations[i], seen.reward, masks[i], seen.step), each[i], noise.sub(name))
        actions.append(action)
        kept.append(after)
    discrete = team.specs[0].discrete
    return team.joint_action(actions) if discrete else jnp.concatenate(actions, -1), tuple(kept)


def assembled(team: Team, members: Sequence[tuple[Algorithm, Cfg]]) -> Algorithm:
    """A method that only acts: the policies of several agents on joint observations. Its state is a tuple of theirs.

    Args:
        team: the agents.
        members: algorithm and config of each agent.
    """

    def act(
        cfg: Cfg, state: State, seen: Seen, memory: Memory, noise: Noise, mode: Mode
    ) -> tuple[jax.Array, tuple[Memory, ...]]:
        def one(i: int, own: Seen, kept: Memory, draws: Noise) -> tuple[jax.Array, Memory]:
            algorithm, settings = members[i]
            return algorithm.act(as_arrays(settings), state[i], own, kept, draws, mode)

        return acting(team, one, seen, memory, noise)

    def memory(cfg: Cfg, spec: Spec, n: int) -> tuple[Memory, ...]:
        each = zip(members, team.specs, strict=True)
        return tuple(algorithm.memory(as_arrays(settings), own, n) for (algorithm, settings), own in each)

    def init(cfg: Cfg, ctx: Context, noise: Noise) -> State:
        raise TypeError("an assembled team is made from trained policies")

    name = f"team of {', '.join(dict.fromkeys(algorithm.name for algorithm, _ in members))}"
    return Algorithm(name, Assembled, init, None, act, {}, memory=memory)


@config
class Assembled:
    """The settings of a team that only acts: there are none."""
