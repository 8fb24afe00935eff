"""`holdfast data collect`: logs made in an environment."""

from __future__ import annotations

import dataclasses
import sys
from pathlib import Path
from typing import Literal

import tyro


@dataclasses.dataclass(frozen=True)
class Collect:
    """Make a log in an environment: by uniform actions, a run, a policy or a Stable-Baselines3 zip; with its reference
    scores. The target's ending names the form: .hdf5 D4RL, .npz, else Minari."""

    to: tyro.conf.Positional[str]
    """A file, a folder (/..., ./...) or a Minari id."""
    by: str | None = None
    """Who acts: random, a run's folder, a policy's, or a zip (with --sb3)."""
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
    """A regime of BCQ's paper, or a level of D4RL's. Those that need an agent train one where --by names no run."""
    env: str | None = None
    """Environment id; the one that the agent knows where not given."""
    steps: int | None = None
    """Transitions, exactly; 100 000 where neither this nor --episodes is given."""
    episodes: int | None = None
    """Whole episodes, exactly."""
    seed: int = 0
    """Of episodes, draws and training."""
    mode: Literal["best", "sample"] = "best"
    """best: the most likely action; sample: a draw from the policy."""
    random_actions: float = 0.0
    """Probability of a uniform action in place of the behaviour's."""
    noise: float = 0.0
    """Standard deviation of normal noise on its other actions, as a share of half the action range."""
    replica: int = 0
    """Which policy of a run of several seeds, from 0."""
    sb3: str | None = None
    """The class of a Stable-Baselines3 zip: ddpg, td3, sac, ppo, a2c, dqn. Loading one runs code that it names."""
    train_steps: int = 100_000
    """Environment steps of an agent that a preset trains first."""
    agent: Path | None = None
    """Folder of that agent's run, which is kept and used again; under runs/ where not given."""
    workers: int = 0
    """Processes that step the environments; one that dies or hangs is replaced. 0: none."""
    worker_timeout: float = 60.0
    """Seconds that a step may take in one of them."""
    name: str | None = None
    """Name inside the file; for Minari it ends in -v and a number."""

    def run(self) -> int:
        """Collect, write, and say what it came to."""
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
            raise UserError(f"{fault}; the {fault.data.n_episodes} whole episodes before it are in {path}") from fault
        path = convert(data, self.to, self.name)
        size = f"{data.n_steps} steps in {data.n_episodes} episodes, mean return {mean_return(data):.1f}"
        score = data.normalized(mean_return(data))
        says = f"{path}: {size}" + ("" if score is None else f", normalised score {float(score):.1f}")
        Console(soft_wrap=True, highlight=False).print(says)
        sys.stdout.write(f"holdfast data check {self.to}; holdfast train ALGO --data {self.to}\n")
        return 0
