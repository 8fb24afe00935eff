"""The rounds of one search: which trials are trained together, and what follows from their scores."""

from __future__ import annotations

import dataclasses
import functools
import json
from collections.abc import Callable, Generator, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple, cast

from ..core.files import read_json, write_json
from ..core.schema import require_types
from ..runs.settings import Settings
from ..runs.trials import PRESET, Trial, full
from . import samplers
from .samplers import Known, Sampler, Values
from .space import Domain
from .work import DIVERGED, Held, Outcome, Scored, Task


@dataclasses.dataclass(frozen=True)
class Cell:
    """One algorithm on one data set: a search of its own."""

    name: str  # of its folders
    given: Settings  # what the caller wants to train, with the settings of the preset
    base: Settings  # the same, on the data that the trials learn from
    space: tuple[Domain, ...]
    held: Held | None


class How(NamedTuple):
    """How the trials of every cell are chosen."""

    sampler: Sampler
    trials: int
    eta: int  # of successive halving
    at_once: int  # trials that are proposed together
    per_task: int  # trials that share a program, at most
    seed: int


class Asked(NamedTuple):
    """A trial to train."""

    number: int
    origin: str
    values: Values
    steps: int


class Job(NamedTuple):
    """A task, and the trials in its run."""

    task: Task
    asked: list[Asked]


ASKED: dict[str, Any] = {"number": int, "origin": str, "values": dict[str, Any], "steps": int}
Rounds = Generator[list[Asked], list[Trial], None]


def rounds(cell: Cell, how: How, folder: Path) -> Rounds:
    """The trials of each round. The generator is sent the finished trials of the round.

    The trials of a round are written into `folder` before they are trained, so that a resumed search trains the same
    ones, also with another version of Optuna.

    Args:
        cell: what is searched.
        how: how trials are chosen.
        folder: folder of the files `round-N.json`.
    """
    steps = cell.base.steps
    preset = Asked(0, PRESET, {domain.name: cell.base.config[domain.name] for domain in cell.space}, steps)
    if not cell.space:
        yield _kept(cell, folder, 0, lambda: [preset])
    elif how.sampler == "halving":
        yield from _halving(cell, how, folder, preset)
    else:
        yield from _sampled(cell, how, folder, preset)


def _sampled(cell: Cell, how: How, folder: Path, preset: Asked) -> Rounds:
    known: list[Trial] = []
    number = 0
    while len(known) < how.trials:
        asked = _kept(cell, folder, number, functools.partial(_proposed, cell, how, known, number, preset))
        if not asked:  # the space has no more values
            return
        known += yield asked
        number += 1


def _proposed(cell: Cell, how: How, known: Sequence[Trial], number: int, preset: Asked) -> list[Asked]:
    """The trials of a round; the preset is the first of all."""
    first = [] if known else [preset]
    count = min(how.at_once, how.trials - len(known)) - len(first)
    past = [Known(one.values, one.value) for one in known] or [Known(preset.values, None)]
    seed = samplers.seed_of(how.seed, cell.name, number)
    new = samplers.propose(how.sampler, cell.space, past, count, seed) if count > 0 else []
    start = len(known) + len(first)
    return first + [Asked(start + i, how.sampler, values, preset.steps) for i, values in enumerate(new)]


def _halving(cell: Cell, how: How, folder: Path, preset: Asked) -> Rounds:
    """Successive halving. The preset is trained to the end, so that the best trial can be compared with it."""
    plan = samplers.rungs(how.trials, how.eta, preset.steps)
    found: list[Trial] = []
    for number, (count, steps) in enumerate(plan):
        make = functools.partial(_promoted, cell, how, found, count, steps, preset)
        found = yield _kept(cell, folder, number, make)


def _promoted(cell: Cell, how: How, found: Sequence[Trial], count: int, steps: int, preset: Asked) -> list[Asked]:
    """The trials of a rung: new ones in the first, the best of the rung before in the others."""
    if not found:
        seed = samplers.seed_of(how.seed, cell.name, 0)
        new = samplers.propose(how.sampler, cell.space, [Known(preset.values, None)], count - 1, seed)
        asked = [preset, *(Asked(1 + i, how.sampler, values, steps) for i, values in enumerate(new))]
    else:
        best = full(found)[:count]
        asked = [Asked(one.number, one.origin, one.values, steps) for one in best]
        asked += [preset] if preset.number not in [one.number for one in asked] else []
    return [one._replace(steps=steps) for one in asked]


def _kept(cell: Cell, folder: Path, number: int, make: Callable[[], list[Asked]]) -> list[Asked]:
    """The trials of a round: those in its file, or new ones, which are written there.

    Raises:
        UserError: the file is damaged.
    """
    file = folder / f"round-{number}.json"
    if not file.is_file():
        made = make()
        if made:
            write_json(file, {"trials": [one._asdict() for one in made]})
        return made
    entries = require_types(read_json(file), {"trials": list[dict[str, Any]]}, str(file), ("trials",))["trials"]
    asked = [Asked(**require_types(one, ASKED, str(file), tuple(ASKED))) for one in entries]
    hints = {domain.name: float if domain.shared else Any for domain in cell.space}
    for one in asked:
        require_types(one.values, hints, f"values in {file}", tuple(hints))
    return asked


def jobs(cell: Cell, per_task: int, number: int, asked: Sequence[Asked], runs: Path, trust: bool) -> Iterator[Job]:
    """The tasks of a round. Trials that differ in shared settings only are trained in one program.

    Args:
        cell: what is searched.
        per_task: trials that share a program, at most.
        number: number of the round.
        asked: its trials.
        runs: folder of the runs of the cell.
        trust: see `work.Task`.
    """
    groups: dict[str, list[Asked]] = {}
    own = [domain.name for domain in cell.space if not domain.shared]
    for one in asked:
        groups.setdefault(json.dumps([[one.values[name] for name in own], one.steps]), []).append(one)
    pieces = [some[i : i + per_task] for some in groups.values() for i in range(0, len(some), per_task)]
    for index, some in enumerate(pieces):
        yield job(cell, some, runs / f"round-{number}-{index}", trust)


def alone(cell: Cell, failed: Job) -> list[Job]:
    """A task for each trial of a task that diverged: the others have not."""
    folder = Path(failed.task.folder)
    return [
        job(cell, [one], folder.with_name(f"{folder.name}-{one.number}"), failed.task.trust) for one in failed.asked
    ]


def job(cell: Cell, asked: Sequence[Asked], folder: Path, trust: bool) -> Job:
    """The task that trains some trials in one program."""
    settings = settings_of(cell, asked)
    return Job(Task(str(folder), settings.to_dict(), len(asked), cell.held, trust), list(asked))


def settings_of(cell: Cell, asked: Sequence[Asked]) -> Settings:
    """The settings of a run of trials that share a program."""
    shared = [domain.name for domain in cell.space if domain.shared]
    own = {name: value for name, value in asked[0].values.items() if name not in shared}
    sweep: dict[str, list[float]] = {name: [cast(float, one.values[name]) for one in asked] for name in shared}
    steps = asked[0].steps
    every = cell.base.eval_every or steps  # only the last policies are compared
    config = {**cell.base.config, **own}
    return dataclasses.replace(cell.base, config=config, sweep=sweep, paired=bool(sweep), steps=steps, eval_every=every)


def trials_of(cell: Cell, number: int, done: Job, outcome: Outcome, base: Path) -> list[Trial]:
    """The finished trials of a task.

    Args:
        cell: what is searched.
        number: number of the round.
        done: the task.
        outcome: what became of it.
        base: folder of the search; the runs are named from there.
    """
    seeds = list(range(cell.base.seed, cell.base.seed + cell.base.seeds))
    scored = outcome.trials or [Scored(outcome.state, [], note=outcome.note) for _ in done.asked]
    count = len(seeds)
    run = Path(done.task.folder).relative_to(base).as_posix()
    return [
        Trial(
            cell.given.algorithm, cell.given.subject, one.number, number, one.origin, one.values, one.steps, seeds,
            **scored[i]._asdict(), replicas=tuple(outcome.replicas[i * count : (i + 1) * count]), run=run,
        )
        for i, one in enumerate(done.asked)
    ]  # fmt: skip


def divided(outcome: Outcome, done: Job) -> bool:
    """Whether the trials of a task have to be trained alone, because one of them diverged."""
    return outcome.state == DIVERGED and len(done.asked) > 1


def best_settings(cell: Cell, trial: Trial) -> Settings:
    """The settings of a run with the values of a trial, on all its data."""
    return dataclasses.replace(cell.given, config={**cell.given.config, **trial.values})
