"""Games of a team in JAX: the joint environment, and who the agents are."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp

from ...core.errors import unknown
from ...core.team import Team
from . import env as envs
from .env import JaxEnv


class Game(NamedTuple):
    """A game in which all agents share the reward.

    `env` is the game for one agent that sees and does everything: its observations and actions are the joint ones of
    `team`, see `core.team`.
    """

    env: JaxEnv
    team: Team


GAMES: dict[str, Callable[[], Game]] = {}


def register(name: str, make: Callable[[], Game]) -> None:
    """Add a game, and its joint environment of the same name."""
    GAMES[name] = make
    envs.register(name, lambda: make().env)


def find(name: str | None) -> Game | None:
    """The game of that name; None if it is another environment."""
    return GAMES[str(name)]() if name in names() else None


def get(name: str) -> Game:
    """The game of that name.

    Raises:
        UserError: there is none; the line suggests the nearest name.
    """
    found = find(name)
    if found is None:
        raise unknown("game", name, names())
    return found


def names() -> list[str]:
    """The names of all games."""
    envs.find("jax/Pendulum-v1")  # loads them
    return sorted(GAMES)


class Played(NamedTuple):
    """Episodes of a game; steps after an end are not valid."""

    obs: jax.Array  # [E, T, D] joint
    action: jax.Array  # [E, T, A] joint, or [E, T] numbers
    reward: jax.Array  # [E, T]
    next_obs: jax.Array  # [E, T, D]
    terminated: jax.Array  # [E, T] bool
    valid: jax.Array  # [E, T] bool

    @property
    def returns(self) -> jax.Array:
        """The return of each episode, [E]."""
        return (self.reward * self.valid).sum(1)


Behave = Callable[[jax.Array, jax.Array], jax.Array]  # (key, joint obs [E, D]) -> joint actions [E, ...]


def play(game: Game, behave: Behave, key: jax.Array, episodes: int) -> Played:
    """Play episodes from start to end. Compile it: one program plays all of them.

    Args:
        game: a game with a time limit.
        behave: the behaviour of the team.
        key: key of the episodes and the actions.
        episodes: E.
    """
    env = game.env
    starts, steps, acts = jax.random.split(key, 3)
    state, obs = jax.vmap(env.reset)(jax.random.split(starts, episodes))

    def step(carry: tuple, t: jax.Array) -> tuple[tuple, tuple]:
        state, obs, alive = carry
        action = behave(jax.random.fold_in(acts, t), obs)
        keys = jax.random.split(jax.random.fold_in(steps, t), episodes)
        state, after, reward, terminated = jax.vmap(env.step)(keys, state, action)
        return (state, after, alive & ~terminated), (obs, action, reward, after, terminated, alive)

    begin = (state, obs, jnp.ones(episodes, bool))
    _, rows = jax.lax.scan(step, begin, jnp.arange(env.spec.horizon or 1))
    return Played(*(jnp.moveaxis(row, 0, 1) for row in rows))
