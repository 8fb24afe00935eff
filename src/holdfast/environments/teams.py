"""Which agents an environment of joint observations and actions consists of."""

from __future__ import annotations

from ..core.errors import UserError
from ..core.team import Team
from .gym.pettingzoo import PREFIX, team_of
from .jax import games


def team_in(env: str | None) -> Team | None:
    """The agents of an environment; None if it is not known as the environment of a team.

    Args:
        env: id of a game in JAX (`jax/Spread-v0`), or of PettingZoo (`pettingzoo/mpe2.simple_spread_v3`).

    Raises:
        UserError: PettingZoo or the package of the environment is not installed, or it cannot be made.
    """
    if env is None:
        return None
    if env.startswith(PREFIX):
        return team_of(env)
    game = games.find(env)
    return None if game is None else game.team


def require_team_env(env: str | None) -> Team:
    """The agents of an environment.

    Raises:
        UserError: it is not known as the environment of a team, or see `team_in`.
    """
    found = team_in(env)
    if found is None:
        raise UserError(
            f"{env} is the environment of one agent, expected that of a team: jax/Spread-v0, or pettingzoo/PACKAGE.NAME"
        )
    return found
