"""A small task whose observations are images: catch a falling ball. In two sizes, 12 x 12 and 36 x 36 pixels."""

import functools

import jax
import jax.numpy as jnp
import numpy as np

from holdfast.core.spec import ArraySpec, Spec
from holdfast.data import Dataset
from holdfast.environments.jax.env import JaxEnv, register

SIZE = 6  # fields in each direction
STEPS = SIZE - 1  # of an episode: the ball falls by one field a step
ZOOM = {"jax/Catch12-v0": 2, "jax/Catch36-v0": 6}  # pixels of a field, in each direction


def picture(state, zoom):
    """The image [6 zoom, 6 zoom, 1] of a state (column of the ball, its row, column of the bar)."""
    ball, row, bar = state
    rows = np.arange(SIZE).repeat(zoom)[:, None]
    columns = np.arange(SIZE).repeat(zoom)[None]
    ball_here = (rows == row) & (columns == ball)
    bar_here = (rows == SIZE - 1) & (columns == bar)
    return (ball_here | bar_here)[..., None] * np.uint8(255)


def moved(state, action):
    """The state after a step: the bar moves by action - 1 fields, the ball falls by one."""
    ball, row, bar = state
    xp = jnp if isinstance(ball, jax.Array) else np
    return ball, row + 1, xp.clip(bar + action - 1, 0, SIZE - 1)


def catch(zoom):
    """The ball starts in a random column, the bar in the middle. The end pays 1 if the ball is on the bar, else -1."""

    def reset(key):
        state = (jax.random.randint(key, (), 0, SIZE), jnp.int32(0), jnp.int32(SIZE // 2))
        return state, picture(state, zoom)

    def step(key, state, action):
        state = moved(state, action)
        ball, row, bar = state
        ended = row == STEPS
        caught = jnp.where(ball == bar, 1.0, -1.0)
        return state, picture(state, zoom), jnp.where(ended, caught, 0.0), ended

    return JaxEnv(Spec(ArraySpec((SIZE * zoom, SIZE * zoom, 1), "uint8"), 3, discrete=True), reset, step)


for name, zoom in ZOOM.items():
    register(name, functools.partial(catch, zoom))


def episode(rng, skill, zoom):
    """Columns of one episode of a player who follows the ball with probability `skill`, else acts at random."""
    state = (int(rng.integers(SIZE)), 0, SIZE // 2)
    seen = [picture(state, zoom)]
    actions = []
    for _ in range(STEPS):
        best = 1 + int(np.sign(state[0] - state[2]))
        actions.append(best if rng.random() < skill else int(rng.integers(3)))
        state = moved(state, actions[-1])
        seen.append(picture(state, zoom))
    ends = np.arange(STEPS) == STEPS - 1
    return {
        "observations": np.stack(seen),
        "actions": np.array(actions),
        "rewards": np.where(ends, 1.0 if state[0] == state[2] else -1.0, 0.0),
        "terminations": ends,
        "truncations": np.zeros(STEPS, bool),
    }


def episodes(count=60, skill=0.9, zoom=6, seed=0):
    """Episodes of catching, as `Dataset.from_episodes` takes them."""
    rng = np.random.default_rng(seed)
    return [episode(rng, skill, zoom) for _ in range(count)]


def log(count=60, skill=0.9, zoom=6, seed=0):
    """A log of catching."""
    names = {number: name for name, number in ZOOM.items()}
    return Dataset.from_episodes(episodes(count, skill, zoom, seed), id="catch", env_spec=names[zoom])
