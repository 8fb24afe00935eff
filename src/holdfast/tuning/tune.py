"""`tune`: a search for settings, as tasks that can be interrupted and resumed on one machine or on many."""

from __future__ import annotations

import contextlib
import json
import shutil
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from ..core.errors import Stopped, UserError, one_line
from ..core.locks import Lock
from ..data.convert import convert
from ..data.dataset import Dataset
from ..evaluation.progress import Display, display
from ..runs import trials as tables
from ..runs.folder import LOCK, RunFolder
from ..runs.settings import Setting
from ..runs.trials import Trial
from . import space as spaces
from .engines import Engine, EngineOptions, Workers, opened
from .plan import FILE, By, Search, cells
from .results import Tuning, write
from .samplers import Sampler
from .search import Asked, Cell, Job, Rounds, alone, divided, jobs, rounds, trials_of
from .space import Given
from .work import FAILED, Outcome


def tune(
    algorithms: str | Sequence[str],
    data: str | Path | Dataset | Sequence[str | Path],
    *,
    space: Mapping[str, Given] | None = None,
    trials: int | None = None,
    sampler: Sampler = "tpe",
    eta: int = 3,
    by: By = "return",
    estimator: str = "fqe",
    estimate_log: str | Path | Sequence[str | Path] = (),
    estimate_share: float = 0.2,
    at_once: int | None = None,
    per_task: int = 16,
    skip_unfit: bool = False,
    engine: Engine = "local",
    address: str | None = None,
    cpus: float = 1.0,
    gpus: float = 0.0,
    retries: int = 5,
    out: str | Path | None = None,
    progress: bool = True,
    config: Mapping[str, Any] | None = None,
    **settings: Setting,
) -> Tuning:
    """Search for settings of algorithms on data sets. Each algorithm on each data set is a search of its own.

    Args:
        algorithms: registry names, see `holdfast algorithms`.
        data: data sets, or a data set in memory, which is written into the folder of the search.
        space: values by setting: a range `(low, high)`, a list of values, or a text as on the command line
            (`"log(1..10)"`). None: the preset alone is trained.
        trials: settings to try in each search, those of the preset included. None: 16; of a grid, all.
        sampler: tpe, random, grid or halving, see `tuning.samplers`.
        eta: one of `eta` trials of halving continues, for `eta` times the steps.
        by: return: the average return of the last policies; estimate: its estimate from logged episodes that no trial
            learns from.
        estimator: estimator of `by="estimate"`.
        estimate_log: data for the estimates, one for each data set. Empty: a part of the data set.
        estimate_share: share of the episodes of that part.
        at_once: trials that are proposed and trained together. None: a quarter of the trials with tpe, at least 4;
            else all.
        per_task: trials that share one program, at most.
        skip_unfit: leave out an algorithm on data whose kind of actions it does not learn, instead of refusing them.
        engine: local: in this process; ray: on the workers of a Ray cluster.
        address: address of the cluster. None: that of RAY_ADDRESS, else a new cluster of this machine.
        cpus: cores that Ray reserves for a task.
        gpus: GPUs that Ray reserves for a task.
        retries: how often a task starts again after its worker was lost.
        out: folder of the search. None: a free folder in `runs/`.
        progress: show the progress.
        config: settings of the algorithms that are not searched and differ from the preset.
        settings: other arguments of `train`, for example `steps`, `seeds`, `preset`, `env` or `save_every`.

    Returns:
        The finished search: its trials, and the best settings as a preset file.

    Raises:
        UserError: a mistake in the arguments, or no trial that could be trained.
        Stopped: a signal came; the search can be resumed.
    """
    options = _options(engine, address, cpus, gpus, retries)
    names = (algorithms,) if isinstance(algorithms, str) else tuple(algorithms)
    logs = (str(estimate_log),) if isinstance(estimate_log, str | Path) else tuple(map(str, estimate_log))
    sets = (data,) if isinstance(data, str | Path | Dataset) else tuple(data)
    run = _plain({**settings, **({"config": dict(config)} if config else {})})
    stem = f"tune-{'-'.join(names[:3])}"
    with _folder(out, stem) as folder:
        kept = tuple(_kept(one, folder) for one in sets)
        given = spaces.written(space or {})
        search = Search(
            names, kept, given, trials, sampler, eta, by, estimator, logs, estimate_share, at_once, per_task,
            skip_unfit, run,
        )  # fmt: skip
        made = cells(search, folder, trust=True)
        search.write(folder)
        return _run(search, made, folder, options, progress, trust=True)


def resume_tune(
    folder: str | Path,
    *,
    engine: Engine = "local",
    address: str | None = None,
    cpus: float = 1.0,
    gpus: float = 0.0,
    retries: int = 5,
    trust: bool = False,
    progress: bool = True,
) -> Tuning:
    """Resume a search. It has the trials and the results of a search without an interruption.

    A finished search writes its files again. Trials that failed are tried again.

    Args:
        folder: folder of the search.
        engine: as for `tune`; it may be another one than before.
        address: as for `tune`.
        cpus: as for `tune`.
        gpus: as for `tune`.
        retries: as for `tune`.
        trust: do what `tune.json` says even if it imports a module, downloads data or logs to a service.
        progress: show the progress.

    Raises:
        UserError: the folder is not that of a search, another process works in it, or a file is damaged.
        Stopped: a signal came; the search can be resumed again.
    """
    options = _options(engine, address, cpus, gpus, retries)
    path = Path(folder).absolute()
    search = Search.read(path)
    with _locked(path):
        return _run(search, cells(search, path, trust), path, options, progress, trust)


def _options(engine: Engine, address: str | None, cpus: float, gpus: float, retries: int) -> EngineOptions:
    options = EngineOptions(engine, address, cpus, gpus, retries)
    faults = options.faults()
    if faults:
        raise UserError("; ".join(faults))
    return options


def _plain(run: Mapping[str, Any]) -> dict[str, Any]:
    """The settings of the runs as they are read back from `tune.json`.

    Raises:
        UserError: an object that a file cannot hold.
    """
    try:
        return json.loads(json.dumps(run))
    except TypeError as error:
        raise UserError(
            f"the settings of a search are read by other processes: {one_line(error)}; name environments and networks "
            "by their module instead of passing them"
        ) from error


@contextlib.contextmanager
def _folder(out: str | Path | None, stem: str) -> Iterator[Path]:
    """The locked folder of a new search. It is removed if nothing could be started."""
    folder = RunFolder.free(Path("runs"), stem) if out is None else RunFolder(out)
    with contextlib.closing(folder):
        if out is not None and (folder.path / FILE).exists():
            raise UserError(f"{out} contains a search: resume it with --resume {out}, or name another folder")
        folder.create()
        path = folder.path.absolute()  # a link may lead to another path on another machine
        try:
            yield path
        finally:
            if not (path / FILE).exists():
                shutil.rmtree(path / "data", ignore_errors=True)


@contextlib.contextmanager
def _locked(folder: Path) -> Iterator[None]:
    lock = Lock(folder / LOCK)
    if not lock.acquire():
        raise UserError(f"{folder} is in use: another process works on this search; wait for its end")
    try:
        yield
    finally:
        lock.release()


def _kept(data: str | Path | Dataset, folder: Path) -> str:
    """The name of a data set; one in memory is written into the folder of the search first."""
    if not isinstance(data, Dataset):
        return str(data)
    (folder / "data").mkdir(exist_ok=True)
    file = folder / "data" / f"{Path(data.id).stem}.npz"
    return str(convert(data, file, data.id))


def _run(
    search: Search, made: Sequence[Cell], folder: Path, options: EngineOptions, progress: bool, trust: bool
) -> Tuning:
    """Train all rounds of all cells and write the results."""
    shown = display() if progress else None
    done: dict[str, list[Trial]] = {cell.name: [] for cell in made}
    try:
        with opened(options, progress) as workers:
            for cell, trials in _finished(search, made, folder, workers, trust):
                done[cell.name] += trials
                _say(shown, cell, done[cell.name])
    except Stopped as stop:
        raise Stopped(stop.signum, f"resume with: holdfast tune --resume {folder}") from stop
    found = [trial for trials in done.values() for trial in trials]
    if not any(trial.value is not None for trial in found):
        raise UserError(f"no trial has a value; the first one: {found[0].note}; the files are in {folder}")
    written = write(folder, [(cell, done[cell.name]) for cell in made], search)
    if shown is not None:
        for note in written.notes:
            shown.say(note, "note")
    return written.tuning


def _finished(
    search: Search, made: Sequence[Cell], folder: Path, workers: Workers, trust: bool
) -> Iterator[tuple[Cell, list[Trial]]]:
    """The trials of each round, when it is finished. All cells are trained at the same time."""
    where: dict[str, _Round] = {}
    for cell in made:
        how = search.how(cell)
        one = _Round(cell, rounds(cell, how, folder / "rounds" / cell.name), folder, trust, how.per_task)
        one.begin(next(one.rounds), workers, where)
    while where:
        task, outcome = workers.next()
        one = where.pop(task.folder)
        trials = one.take(task.folder, outcome, workers, where)
        if trials is None:
            continue
        yield one.cell, trials
        with contextlib.suppress(StopIteration):
            one.begin(one.rounds.send(trials), workers, where)


class _Round:
    """The open round of a cell."""

    def __init__(self, cell: Cell, stream: Rounds, folder: Path, trust: bool, per_task: int) -> None:
        self.cell = cell
        self.rounds = stream
        self.folder = folder
        self.trust = trust
        self.per_task = per_task
        self.number = -1
        self.open: dict[str, Job] = {}
        self.trials: list[Trial] = []

    def begin(self, asked: list[Asked], workers: Workers, where: dict[str, _Round]) -> None:
        """Submit the tasks of the next round."""
        self.number += 1
        self.trials = []
        runs = self.folder / "runs" / self.cell.name
        self._submit(jobs(self.cell, self.per_task, self.number, asked, runs, self.trust), workers, where)

    def take(self, folder: str, outcome: Outcome, workers: Workers, where: dict[str, _Round]) -> list[Trial] | None:
        """The trials of the round if this was its last task, by number; else None."""
        job = self.open.pop(folder)
        if divided(outcome, job):
            self._submit(alone(self.cell, job), workers, where)
        else:
            self.trials += trials_of(self.cell, self.number, job, outcome, self.folder)
        return None if self.open else sorted(self.trials, key=lambda one: one.number)

    def _submit(self, some: Iterator[Job] | list[Job], workers: Workers, where: dict[str, _Round]) -> None:
        for job in some:
            self.open[job.task.folder] = job
            where[job.task.folder] = self
            workers.submit(job.task)


def _say(shown: Display | None, cell: Cell, trials: Sequence[Trial]) -> None:
    """One line about the best trial so far."""
    if shown is None:
        return
    best = tables.full(trials)
    failed = sum(trial.state == FAILED for trial in trials)
    text = f"best {best[0].label}: {best[0].estimate}" if best else "none has a value"
    shown.say(f"{cell.name}: {len(trials)} trials, {text}{f'; {failed} failed' if failed else ''}")
