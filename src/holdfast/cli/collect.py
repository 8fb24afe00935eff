"""`holdfast data collect`: make a log in an environment."""

from __future__ import annotations

import dataclasses
import sys
from typing import Annotated, Literal

from tyro.conf import Positional, arg

from ..collection.flags import LogFlags


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

    def run(self) -> int:
        """Collect the log, write it, and print its size and mean return."""
        from rich.console import Console

        from ..collection.play import CollectionFailed, mean_return
        from ..collection.presets import LogRequest, make
        from ..core.errors import UserError
        from ..data.convert import convert, require_free
        from ..training.hooks import Progress

        require_free(self.to, self.name)  # before the long part
        given = {f.name: getattr(self, f.name) for f in dataclasses.fields(LogFlags)}
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
