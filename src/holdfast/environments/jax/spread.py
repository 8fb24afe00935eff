"""Spread: three agents have to cover three places without touching each other.

The rules are those of `simple_spread` (Lowe and others 2017, arXiv:1706.02275) with continuous actions: 25 steps, all
agents share the reward. Ours: agents pass through each other, and a touch costs 1 for each pair of agents, once.

An agent sees its velocity, its position, the places and the other agents, both relative to itself: 14 numbers. Its
action is an acceleration in [-1, 1]^2.
"""

from __future__ import annotations

import itertools

import jax
import jax.numpy as jnp
import numpy as np

from ...core.errors import UserError
from ...core.spec import Spec
from ...core.team import Team
from .env import JaxEnv, Stepped
from .games import Game, register

ID = "jax/Spread-v0"
AGENTS = 3
HORIZON = 25
TICK = 0.1  # seconds a step
DAMPING = 0.25  # share of the velocity that is lost in a step
PUSH = 5.0  # acceleration of an action of 1
TOUCH = 0.3  # distance of two agents that touch: twice their radius of 0.15
WIDTH = 4 + 2 * AGENTS + 2 * (AGENTS - 1)  # of an observation
ORDERS = np.array(list(itertools.permutations(range(AGENTS))))  # [6, N] the place of each agent

# pictures: pixels of a side, the part of the plane that is seen (+-VIEW in both directions), and colours
SIDE = 400
VIEW = 1.5
COLOURS = ("#1f5fa8", "#c8502d", "#4a8f5b")

State = tuple[jax.Array, jax.Array, jax.Array]  # positions [N, 2], velocities [N, 2], places [N, 2]


def spread() -> Game:
    """The game."""
    own = Spec((WIDTH,), 2, horizon=HORIZON)
    team = Team(tuple(f"agent_{i}" for i in range(AGENTS)), (own,) * AGENTS)

    def reset(key: jax.Array) -> tuple[State, jax.Array]:
        drawn = jax.random.uniform(key, (2, AGENTS, 2), minval=-1.0, maxval=1.0)
        state = (drawn[0], jnp.zeros((AGENTS, 2)), drawn[1])
        return state, observe(state)

    def step(key: jax.Array, state: State, action: jax.Array) -> Stepped:
        position, velocity, places = state
        push = jnp.clip(action.reshape(AGENTS, 2), -1.0, 1.0)
        velocity = velocity * (1 - DAMPING) + push * PUSH * TICK
        after = (position + velocity * TICK, velocity, places)
        return after, observe(after), reward(after), jnp.array(False)

    bound = np.ones(2 * AGENTS, np.float32)
    return Game(JaxEnv(team.joint, reset, step, -bound, bound, picture), team)


def picture(state: State) -> np.ndarray:
    """The places (black points) and the agents (coloured discs of their size), RGB [SIDE, SIDE, 3] bytes.

    Raises:
        UserError: the package Pillow is not installed; the extra `video` has it.
    """
    try:
        from PIL import Image, ImageDraw
    except ImportError as fault:
        raise UserError("pictures need a package that is not installed: pip install 'holdfast-rl[video]'") from fault
    position, _, places = (np.asarray(part) for part in state)
    image = Image.new("RGB", (SIDE, SIDE), "white")
    draw = ImageDraw.Draw(image)

    def disc(centre: np.ndarray, radius: float, colour: str) -> None:
        x, y = (1 + centre * (1, -1) / VIEW) * SIDE / 2  # the second coordinate points up
        far = radius / VIEW * SIDE / 2
        draw.ellipse((x - far, y - far, x + far, y + far), fill=colour)

    for centre, colour in zip(position, COLOURS, strict=True):
        disc(centre, TOUCH / 2, colour)
    for centre in places:
        disc(centre, TOUCH / 6, "black")
    return np.array(image)


def observe(state: State) -> jax.Array:
    """The joint observation [N * 14]."""
    position, velocity, places = state
    each = []
    for i in range(AGENTS):
        others = jnp.concatenate([position[:i], position[i + 1 :]]) - position[None, i]
        each += [velocity[i], position[i], (places - position[None, i]).ravel(), others.ravel()]
    return jnp.concatenate(each)


def reward(state: State) -> jax.Array:
    """Minus the distance of each place to the nearest agent, and minus 1 for each pair that touches."""
    position, _, places = state
    far = jnp.linalg.norm(places[:, None] - position[None], axis=-1)
    apart = jnp.linalg.norm(position[:, None] - position[None], axis=-1) + TOUCH * jnp.eye(AGENTS)
    return -far.min(1).sum() - (apart < TOUCH).sum() / 2


def scripted(obs: jax.Array, agent: int, greedy: bool = False) -> jax.Array:
    """The acceleration [..., 2] of an agent that goes to its own place.

    All agents compute the same assignment, that of the smallest sum of distances, because all see the same places and
    positions.

    Args:
        obs: observations [..., 14] of the agent.
        agent: its number.
        greedy: go to the nearest place instead, without regard to the others.
    """
    velocity = obs[..., :2]
    places = obs[..., 4 : 4 + 2 * AGENTS].reshape(*obs.shape[:-1], AGENTS, 2)  # relative to the agent
    others = obs[..., 4 + 2 * AGENTS :].reshape(*obs.shape[:-1], AGENTS - 1, 2)
    here = jnp.zeros_like(others[..., :1, :])
    position = jnp.concatenate([others[..., :agent, :], here, others[..., agent:, :]], -2)
    far = jnp.linalg.norm(position[..., :, None, :] - places[..., None, :, :], axis=-1)  # [..., agent, place]
    total = sum(far[..., i, ORDERS[:, i]] for i in range(AGENTS))
    own = jnp.asarray(ORDERS)[total.argmin(-1), agent]
    own = far[..., agent, :].argmin(-1) if greedy else own
    goal = jnp.take_along_axis(places, own[..., None, None], -2)[..., 0, :]
    return jnp.clip(4.0 * goal - 0.8 * velocity, -1.0, 1.0)


def joint_script(obs: jax.Array) -> jax.Array:
    """The joint actions [n, N * 2] of agents that follow the script, for joint observations [n, N * 14]."""
    each = obs.reshape(len(obs), AGENTS, WIDTH)
    return jnp.concatenate([scripted(each[:, i], i) for i in range(AGENTS)], -1)


register(ID, spread)
