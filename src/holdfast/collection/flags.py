"""The flags of `holdfast data collect` that say which log to make."""

from __future__ import annotations

import dataclasses
from pathlib import Path

from ..environments.gym.workers import TIMEOUT


@dataclasses.dataclass(frozen=True, kw_only=True)
class LogFlags:
    """Who acts in which environment, for how long."""

    by: str | None = None
    """Who acts: random, the folder of a run, of a policy or of a team, a zip file (with --sb3), or script (Spread)."""
    preset: str | None = None
    """A regime of the BCQ paper, or a level of D4RL, see `presets.PRESETS`."""
    env: str | None = None
    """Environment id. None: the one in which the agent was trained."""
    steps: int | None = None
    """Transitions, exactly. None: 100,000, unless --episodes is given."""
    episodes: int | None = None
    """Whole episodes, exactly."""
    seed: int = 0
    """Seed of the episodes, of random actions and of training."""
    mode: str = "best"
    """best: the most likely action. sample: a draw from the policy."""
    random_actions: float = 0.0
    """Probability that an action is replaced by a uniform one."""
    noise: float = 0.0
    """Standard deviation of normal noise on the other actions, as a share of half the action range."""
    replica: int = 0
    """Index of the policy in a run of several seeds, from 0."""
    sb3: str | None = None
    """Class of a Stable-Baselines3 zip: ddpg, td3, sac, ppo, a2c or dqn. Loading a zip runs code that it names."""
    train_steps: int = 100_000
    """Environment steps of an agent that the preset trains first."""
    agent: Path | None = None
    """Folder of that agent's run, which is kept and used again. None: a folder in runs/."""
    workers: int = 0
    """Processes that step environments; a dead one is replaced. 0: no processes."""
    worker_timeout: float = TIMEOUT
    """Seconds that a worker process may take for one step."""
