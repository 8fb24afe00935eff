"""Logs of the games of teams: each agent follows a script, with random actions according to its level."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from gymnasium.spaces import Box, Discrete

from ..core.errors import UserError, unknown
from ..data.dataset import Dataset
from ..data.teams.dataset import TeamDataset
from ..environments.jax import games, spread
from ..environments.jax.games import Behave, Game


class Level(NamedTuple):
    """How well the agents of a log act."""

    uniform: float  # probability that an agent's action is drawn uniformly, at each step
    noise: float  # standard deviation of the noise on its other actions


LEVELS = {"random": Level(1.0, 0.0), "medium": Level(0.5, 0.3), "expert": Level(0.0, 0.1)}
MIXED = ("random", "medium", "expert")  # the levels of a mixed log, as many episodes of each


def scripted(level: Level) -> Behave:
    """The behaviour of a team in Spread at a level."""

    def behave(key: jax.Array, obs: jax.Array) -> jax.Array:
        chosen = spread.joint_script(obs).reshape(len(obs), spread.AGENTS, -1)
        draws, noises, choices = jax.random.split(key, 3)
        uniform = jax.random.uniform(draws, chosen.shape, minval=-1.0, maxval=1.0)
        chosen = jnp.clip(chosen + level.noise * jax.random.normal(noises, chosen.shape), -1.0, 1.0)
        at_random = jax.random.bernoulli(choices, level.uniform, chosen.shape[:2])
        return jnp.where(at_random[..., None], uniform, chosen).reshape(len(obs), -1)

    return behave


def fixed(game: Game, probabilities: Sequence[Sequence[float]]) -> Behave:
    """The behaviour of a team that draws its actions, whatever it sees.

    Args:
        game: a game with discrete actions.
        probabilities: [A] for each agent.
    """
    logits = [jnp.log(jnp.asarray(own)) for own in probabilities]

    def behave(key: jax.Array, obs: jax.Array) -> jax.Array:
        keys = jax.random.split(key, len(logits))
        each = [jax.random.categorical(k, own, shape=(len(obs),)) for k, own in zip(keys, logits, strict=True)]
        return game.team.joint_action(each)

    return behave


def collect_level(env: str, level: str, episodes: int, seed: int = 0) -> TeamDataset:
    """A joint log of Spread.

    Args:
        env: id of the game.
        level: random, medium, expert, or mixed for as many episodes of each.
        episodes: number of episodes.
        seed: seed of the episodes and the actions.

    Raises:
        UserError: an unknown game or level, no episodes, or a game that has no script.
    """
    game = games.get(env)
    if env != spread.ID:
        raise UserError(f"{env} has no levels: expected {spread.ID}; give the probabilities of actions instead")
    if level not in (*LEVELS, "mixed"):
        raise unknown("level", level, (*LEVELS, "mixed"))
    if episodes < 1:
        raise UserError(f"{episodes} episodes: expected at least 1")
    levels = MIXED if level == "mixed" else (level,)
    counts = [len(part) for part in np.array_split(np.arange(episodes), len(levels))]
    played = [
        _played(game, scripted(LEVELS[name]), count, [seed, i])
        for i, (name, count) in enumerate(zip(levels, counts, strict=True))
        if count
    ]
    return logged(game, played, f"{env.removeprefix('jax/').lower()}-{level}", env)


def collect_fixed(env: str, probabilities: Sequence[Sequence[float]], episodes: int, seed: int = 0) -> TeamDataset:
    """A joint log of a matrix game whose agents draw their actions.

    Args:
        env: id of the game.
        probabilities: how often each agent takes each action, [A] each.
        episodes: number of episodes.
        seed: seed of the episodes and the actions.

    Raises:
        UserError: an unknown game, no episodes, or probabilities that do not fit its actions.
    """
    game = games.get(env)
    if not game.env.spec.discrete:
        raise UserError(f"{env} has continuous actions: collect it by levels, {', '.join(LEVELS)}")
    if [len(own) for own in probabilities] != game.team.counts:
        raise UserError(
            f"{env} has {game.team.counts} actions by agent, got probabilities of {list(map(len, probabilities))}"
        )
    for own in probabilities:
        if min(own) < 0 or abs(sum(own) - 1) > 1e-6:
            raise UserError(f"probabilities are {list(own)}, expected numbers from 0 that sum to 1")
    if episodes < 1:
        raise UserError(f"{episodes} episodes: expected at least 1")
    played = [_played(game, fixed(game, probabilities), episodes, [seed, 0])]
    return logged(game, played, env.removeprefix("jax/").lower(), env)


def _played(game: Game, behave: Behave, episodes: int, seed: Sequence[int]) -> games.Played:
    key = jax.random.fold_in(jax.random.PRNGKey(seed[0]), seed[1])
    return jax.jit(lambda own: games.play(game, behave, own, episodes))(key)


def logged(game: Game, played: Sequence[games.Played], id: str, env: str | None) -> TeamDataset:
    """The log of played episodes.

    Args:
        game: the game.
        played: episodes as NumPy arrays.
        id: name of the log.
        env: id of the environment.
    """
    rows = {}
    for name in games.Played._fields:
        parts = [np.asarray(getattr(one, name))[np.asarray(one.valid)] for one in played]
        rows[name] = np.concatenate(parts)
    ends = np.concatenate([_last(np.asarray(one.valid))[np.asarray(one.valid)] for one in played])
    ended = rows["terminated"].astype(bool)
    seen = game.team.observations(rows["obs"])
    acts = game.team.actions(rows["action"])
    after = game.team.observations(rows["next_obs"])
    agents = {}
    for i, (name, spec) in enumerate(zip(game.team.names, game.team.specs, strict=True)):
        bounds = np.ones(spec.action, np.float32)
        agents[name] = Dataset.from_arrays(
            seen[i],
            acts[i],
            rows["reward"],
            ended,
            ends & ~ended,
            after[i],
            action_space=Discrete(spec.action) if spec.discrete else Box(-bounds, bounds),
            id=f"{id}/{name}",
        )
    return TeamDataset.from_agents(agents, joint=True, id=id, env_spec=env)


def _last(valid: np.ndarray) -> np.ndarray:
    """Whether each step [E, T] is the last valid one of its episode."""
    return valid & ~np.concatenate([valid[:, 1:], np.zeros_like(valid[:, :1])], 1)
