"""Matrix games: two agents choose at once, and the pair of actions decides what the team is paid.

An episode has two steps. In the first, the agents choose, nothing is paid, and the next state shows which payoff the
pair has. In the second, that payoff is paid whatever is done, and the episode ends. So the value of the next state is
the payoff, and an agent's log shows how often each payoff followed its own action.

* `climbing` (Claus, Boutilier 1998, "The dynamics of reinforcement learning in cooperative multiagent systems"): the
  best pair is next to the worst ones.
* `stag_hunt`: both hunt the stag for 10, or both the hare for 6; if each hunts another, they get nothing.
"""

from __future__ import annotations

import functools

import jax
import jax.numpy as jnp
import numpy as np

from ...core.errors import unknown
from ...core.spec import Spec
from ...core.team import Team
from .env import JaxEnv, Stepped
from .games import Game, register

PAYOFFS = {
    "climbing": np.array([[11.0, -30.0, 0.0], [-30.0, 7.0, 6.0], [0.0, 0.0, 5.0]]),
    "stag_hunt": np.array([[10.0, 0.0], [0.0, 6.0]]),
}
IDS = {"climbing": "jax/Climbing-v0", "stag_hunt": "jax/StagHunt-v0"}


def payoff(name: str) -> np.ndarray:
    """What the team is paid for each pair of actions, [A, A].

    Raises:
        UserError: there is no such game; the line suggests the nearest name.
    """
    if name not in PAYOFFS:
        raise unknown("matrix game", name, PAYOFFS)
    return PAYOFFS[name]


def matrix_game(name: str) -> Game:
    """The game of two agents. Observations are one-hot: the first state, then one for each different payoff.

    Raises:
        UserError: there is no such game.
    """
    table = payoff(name)
    values, found = np.unique(table, return_inverse=True)
    outcome = jnp.asarray(found.reshape(table.shape) + 1)
    paid = jnp.asarray(np.append(0.0, values), jnp.float32)
    states = len(values) + 1
    own = [Spec((states,), count, discrete=True, horizon=2) for count in table.shape]
    team = Team(("agent_0", "agent_1"), tuple(own))

    def observe(state: jax.Array) -> jax.Array:
        return jnp.tile(jax.nn.one_hot(state, states), 2)

    def reset(key: jax.Array) -> tuple[jax.Array, jax.Array]:
        state = jnp.zeros((), jnp.int32)
        return state, observe(state)

    def step(key: jax.Array, state: jax.Array, action: jax.Array) -> Stepped:
        first, second = team.actions(action)
        after = jnp.where(state == 0, outcome[first, second], state).astype(jnp.int32)
        return after, observe(after), paid[state], state > 0

    return Game(JaxEnv(team.joint, reset, step), team)


for _name, _id in IDS.items():
    register(_id, functools.partial(matrix_game, _name))
