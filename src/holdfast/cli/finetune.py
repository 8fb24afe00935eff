"""`holdfast finetune RUN --steps N`: take an offline run online."""

from __future__ import annotations

import dataclasses
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import tyro

from ..core.errors import UserError
from . import usage


@dataclasses.dataclass(frozen=True)
class Options:
    """How long, where, and what to leave behind."""

    steps: int = 100_000
    """Environment steps of each replica."""
    env: str | None = None
    """Environment; the one that the run's data came from where not given."""
    out: Path | None = None
    """The new run's folder, new or empty; a free one under runs/ where not given."""
    no_eval: bool = False
    """Do not evaluate: nothing is then known of the switch."""
    eval_episodes: int | None = None
    """Episodes of an evaluation, for each replica; as in the offline run where not given."""
    eval_every: int = 0
    """Steps between evaluations; 0: a tenth of the run."""
    save_every: int = 0
    """Steps between checkpoints; 0: a twentieth of the run."""
    block: int = 1000
    """Steps between rows of metrics."""
    workers: int = 0
    """Processes that step environments, in collection and in evaluation each; one that dies or hangs is replaced."""
    worker_timeout: float = 60.0
    """Seconds that a step may take in one of them."""
    envs: int = 0
    """Environments that each replica collects in at once; 0: as the algorithm has it, mostly one."""
    replay: int = 0
    """Newest collected rows that are kept; 0: as the algorithm has it, mostly 1 000 000."""
    keep_policies: bool = False
    """Keep the policies of every evaluation, in policies/step-N."""
    log: tyro.conf.UseAppendAction[tuple[str, ...]] = ()
    """Where else to log: tensorboard, wandb or mlflow; may be given again."""


def main(argv: Sequence[str]) -> int:
    """Fine-tune, and print the result.

    Raises:
        UserError: no run there, one that cannot be fine-tuned, a mistake in the flags or the environment.
        Diverged: a metric became NaN or infinite.
    """
    if not argv or argv[0] in ("-h", "--help"):
        sys.stdout.write(overview())
        return 0
    if argv[0].startswith("-"):
        raise UserError(f"name the offline run before {argv[0]}: holdfast finetune RUN [--env ID] [--steps N]")
    from ..algorithms import registry
    from ..core import config
    from ..training.hooks import Progress
    from ..training.run import constant_rates, finetunable, finetune
    from .train import show

    run, source = argv[0], finetunable(argv[0])
    algorithm = registry.get(source.algorithm)
    cfg: Any = config.from_dict(algorithm.Config, constant_rates(algorithm, source.config))
    made = dataclasses.make_dataclass("Args", [("run", Options), ("method", algorithm.Config)])
    made.__doc__ = f"Fine-tune {run} ({registry.ROWS[algorithm.name].title}); its own settings are the defaults."
    args: Any = usage.parse(
        made,
        f"holdfast finetune {run}",
        argv[1:],
        default=made(Options(), cfg),
        config=(tyro.conf.OmitArgPrefixes, tyro.conf.FlagCreatePairsOff),
    )
    options = args.run
    finished = finetune(
        run,
        steps=options.steps,
        env=options.env,
        out=options.out,
        config=config.to_dict(args.method),
        hooks=[Progress()],
        evaluate=not options.no_eval,
        eval_episodes=source.eval_episodes if options.eval_episodes is None else options.eval_episodes,
        eval_every=options.eval_every,
        save_every=options.save_every,
        block=options.block,
        workers=options.workers,
        worker_timeout=options.worker_timeout,
        envs=options.envs,
        replay=options.replay,
        keep_policies=options.keep_policies,
        loggers=list(options.log),
    )
    show(finished.path)
    return 0


def overview() -> str:
    """What `holdfast finetune --help` prints: what can be fine-tuned; the flags stand under each run."""
    from ..algorithms.registry import ROWS, get

    able = [f"  {name:<14} {row.title}" for name, row in sorted(ROWS.items()) if get(name).finetune is not None]
    return (
        "usage: holdfast finetune RUN [--env ID] [--steps N] ...   (holdfast finetune RUN --help: all flags)\n"
        "\nTakes up the last checkpoint of an offline run, with every replica, and goes on in an environment.\n"
        "The new run has a folder of its own, and resumes like any: holdfast train --resume NEW\n\nRuns of:\n"
        + "\n".join(able)
        + "\n"
    )
