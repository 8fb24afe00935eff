"""`holdfast data collect`: make a log in an environment."""

from __future__ import annotations

import dataclasses
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

from tyro.conf import Positional, arg

from ..collection.flags import LogFlags

if TYPE_CHECKING:
    from ..collection.presets import LogRequest
    from ..data.dataset import Dataset


@dataclasses.dataclass(frozen=True, kw_only=True)
class Collect(LogFlags):
    """Make a log in an environment, with its reference scores. Actions are random, or those of a run, a policy or a
    Stable-Baselines3 zip. The form follows from the target's ending: .hdf5 is D4RL, .npz is NPZ, else Minari."""

    to: Positional[Annotated[str, arg(metavar="TARGET")]]
    """A file, a folder (/..., ./...) or a Minari id."""
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
    mode: Literal["best", "sample"] = "best"
    """best: the most likely action. sample: a draw from the policy."""
    name: str | None = None
    """Name inside the file. A Minari name ends in -v and a number."""
    per_agent: bool = False
    """Write the log of each agent, if the environment is that of a team; TARGET is then a .npz or .hdf5 file. A preset
    that trains an agent first then trains independent learners."""

    def request(self) -> LogRequest:
        """The log to make."""
        from ..collection.presets import LogRequest

        given = {f.name: getattr(self, f.name) for f in dataclasses.fields(LogFlags)}
        return LogRequest(**given, agents="independent" if self.per_agent else None)

    def run(self) -> int:
        """Collect the log, write it, and print its size and mean return."""
        from rich.console import Console

        from ..collection.play import CollectionFailed, mean_return
        from ..collection.presets import make
        from ..core.errors import UserError
        from ..data.convert import require_free
        from ..data.teams.files import require_team_file
        from ..environments.teams import require_team_env
        from ..training.hooks import Progress

        require_free(self.to, self.name)  # before the long part
        if self.per_agent:
            require_team_file(self.to)
            if self.env is not None:
                require_team_env(self.env)
        try:
            data = make(self.request(), self.name or self.to, [Progress()])
        except CollectionFailed as fault:
            if fault.data is None:
                raise
            path = self.write(fault.data)
            raise UserError(f"{fault}; its {fault.data.n_episodes} complete episodes are in {path}") from fault
        path = self.write(data)
        size = f"{data.n_steps} steps in {data.n_episodes} episodes, mean return {mean_return(data):.1f}"
        score = data.normalized(mean_return(data))
        text = f"{path}: {size}" + ("" if score is None else f", normalised score {float(score):.1f}")
        Console(soft_wrap=True, highlight=False).print(text)
        agents = " --agents independent" if self.per_agent else ""
        sys.stdout.write(f"holdfast data check {self.to}; holdfast train ALGO --data {self.to}{agents}\n")
        return 0

    def write(self, data: Dataset) -> Path:
        """Write the log, as that of one agent or of each agent of the team.

        Raises:
            UserError: `per_agent`, and the environment is not that of a team; or the file cannot be written.
        """
        from ..data.convert import convert

        if not self.per_agent:
            return convert(data, self.to, self.name)
        from ..data.teams.dataset import TeamDataset
        from ..data.teams.files import save_team
        from ..environments.teams import require_team_env

        team = require_team_env(data.env_id)
        return save_team(TeamDataset.from_joint(data, team), self.to)
