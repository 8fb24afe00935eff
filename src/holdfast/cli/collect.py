"""`holdfast data collect`: make a log in an environment."""

from __future__ import annotations

import dataclasses
import sys
from pathlib import Path
from typing import Annotated, Literal

from tyro.conf import Positional, arg

from ..environments.gym.workers import TIMEOUT


@dataclasses.dataclass(frozen=True)
class Collect:
    """Make a log in an environment, with its reference scores. Actions are random, or those of a run, a policy or a
    Stable-Baselines3 zip. The form follows from the target's ending: .hdf5 is D4RL, .npz is NPZ, else Minari."""

    to: Positional[Annotated[str, arg(metavar="TARGET")]]
    """A file, a folder (/..., ./...) or a Minari id."""
    by: str | None = None
    """Who acts: random, the folder of a run or of a policy, or a zip file (with --sb3)."""
    preset: (
        Literal[
            "final-buffer",
            "concurrent",
            "imitation",
            "imperfect",
            "random",
            "medium",
            "medium-replay",
            "medium-expert",
            "expert",
        ]
        | None
    ) = None
    """A regime of the BCQ paper, or a level of D4RL. If it needs an agent and --by names no run, one is trained."""
    env: str | None = None
    """Environment id. None: the one in which the agent was trained."""
    steps: int | None = None
    """Transitions, exactly. None: 100,000, unless --episodes is given."""
    episodes: int | None = None
    """Whole episodes, exactly."""
    seed: int = 0
    """Seed of the episodes, of random actions and of training."""
    mode: Literal["best", "sample"] = "best"
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
    name: str | None = None
    """Name inside the file. A Minari name ends in -v and a number."""

    def run(self) -> int:
        """Collect the log, write it, and print its size and mean return."""
        from rich.console import Console

        from ..collection.play import CollectionFailed, mean_return
        from ..collection.presets import LogRequest, make
        from ..core.errors import UserError
        from ..data.convert import convert, require_free
        from ..training.hooks import Progress

        require_free(self.to, self.name)  # before the long part
        given = {f.name: getattr(self, f.name) for f in dataclasses.fields(self) if f.name not in ("to", "name")}
        try:
            data = make(LogRequest(**given), self.name or self.to, [Progress()])
        except CollectionFailed as fault:
            if fault.data is None:
                raise
            path = convert(fault.data, self.to, self.name)
            raise UserError(f"{fault}; its {fault.data.n_episodes} complete episodes are in {path}") from fault
        path = convert(data, self.to, self.name)
        size = f"{data.n_steps} steps in {data.n_episodes} episodes, mean return {mean_return(data):.1f}"
        score = data.normalized(mean_return(data))
        text = f"{path}: {size}" + ("" if score is None else f", normalised score {float(score):.1f}")
        Console(soft_wrap=True, highlight=False).print(text)
        sys.stdout.write(f"holdfast data check {self.to}; holdfast train ALGO --data {self.to}\n")
        return 0
