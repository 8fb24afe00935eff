"""`holdfast finetune RUN --steps N`: continue an offline run in an environment."""

from __future__ import annotations

import dataclasses
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ..core.errors import UserError
from . import usage
from .train import show


@dataclasses.dataclass(frozen=True)
class PlaceFlags:
    """The new folder."""

    out: Path | None = None
    """Folder of the new run, new or empty. None: a free folder in runs/."""


def main(argv: Sequence[str]) -> int:
    """Fine-tune, and print the result.

    Raises:
        UserError: not a run that can be fine-tuned, or a mistake in the flags or the environment.
        Diverged: a metric became NaN or infinite.
    """
    if not argv or argv[0] in ("-h", "--help"):
        sys.stdout.write(overview())
        return 0
    if argv[0].startswith("-"):
        raise UserError(f"name the offline run before {argv[0]}: holdfast finetune RUN [--env ID] [--steps N]")
    from ..algorithms import registry
    from ..core import config
    from ..runs.settings import field_names
    from ..training.finetune import changeable, finetuning
    from ..training.run import finetune
    from .options import RunFlags, joined, without

    run = argv[0]
    settings = finetuning(run)
    algorithm = registry.get(settings.algorithm)
    cfg: Any = config.from_dict(algorithm.Config, settings.config)
    names = changeable()
    run_flags = without(field_names() - set(names), RunFlags().at(settings))
    title = registry.row(algorithm.name).title
    about = f"Fine-tune {run} ({title}). Settings of the algorithm default to those of that run."
    flags = joined(about, {"run": run_flags, "place": PlaceFlags(), "algorithm": cfg})
    args: Any = usage.parse(type(flags), f"holdfast finetune {run}", argv[1:], flags)
    chosen = config.to_dict(args.algorithm)
    values = args.run.values(names)
    if usage.peek(f"holdfast finetune {run}", argv[1:], "env")[0]["env"] is None:
        del values["env"]  # inherited from the run, whose files may not name modules
    finished = finetune(run, out=args.place.out, config=chosen, **values)
    show(finished.path)
    return 0


def overview() -> str:
    """What `holdfast finetune --help` prints: what can be fine-tuned. The flags are in the help of each run."""
    from ..algorithms import registry

    able = [f"  {one.name:<14} {registry.row(one.name).title}" for one in registry.every() if one.finetune is not None]
    return (
        "usage: holdfast finetune RUN [--env ID] [--steps N] ...   (holdfast finetune RUN --help: all flags)\n\n"
        "Continues from the last checkpoint of an offline run, with all its replicas, in an environment.\n"
        "The new run has its own folder. It can be resumed like any run: holdfast train --resume NEW\n\n"
        "Algorithms that can be fine-tuned:\n" + "\n".join(able) + "\n"
    )
