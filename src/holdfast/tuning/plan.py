"""The plan of a search: its record `tune.json`, and its cells. Everything that can be refused is refused here."""

from __future__ import annotations

import dataclasses
import math
import typing
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

from ..algorithms import registry
from ..core import config as configs
from ..core.errors import UserError, unknown
from ..core.files import read_json, write_json
from ..core.schema import require_types
from ..data.convert import convert
from ..data.dataset import Dataset
from ..data.sources import load_dataset
from ..evaluation.ope.estimators import ESTIMATORS
from ..runs.settings import Settings
from ..training.launch import located
from ..training.plan.plan import plan
from ..training.trackers import LOCAL
from . import space as spaces
from .samplers import Sampler, require_grid
from .search import Cell, How
from .work import Held

FORMAT = 1
FILE = "tune.json"
By = Literal["return", "estimate"]
TRIALS = 16  # of each algorithm on each data set
RUN: dict[str, Any] = {  # entries of `Search.run` that differ from those of Settings
    "config": dict[str, Any], "treatment": dict[str, Any], "preset": str | None, "allow": list[str],
    "data_options": dict[str, Any], "clip_actions": bool, "env": str | None, "dynamics": str | None,
    "network": dict[str, str] | str, "encoder": str,
}  # fmt: skip
WHOLE_RANGE = ("random", "grid", "halving")  # samplers that do not learn from finished trials


@dataclasses.dataclass(frozen=True)
class Search:
    """What to search and how, as the caller gave it. `tune.json` contains it."""

    algorithms: tuple[str, ...]
    """Algorithms. Each is searched on its own."""
    data: tuple[str, ...]
    """Data sets. Each is searched on its own."""
    space: dict[str, str] = dataclasses.field(default_factory=dict)
    """Values of each setting: LOW..HIGH, LOW..HIGH:STEP, log(LOW..HIGH) or [A,B,...]. A setting of one algorithm only:
    ALGORITHM.NAME. Without any, the preset alone is trained."""
    trials: int | None = None
    """Settings to try of each algorithm on each data set, those of the preset included. None: 16; of a grid, all."""
    sampler: Sampler = "tpe"
    """Who proposes the settings: tpe (learns from finished trials), random, grid, or halving (random settings, of which
    the best are trained for longer)."""
    eta: int = 3
    """Of halving: one of so many trials continues, for so many times the steps."""
    by: By = "return"
    """What is compared: the return in the environment, or its estimate from episodes that no trial learns from."""
    estimator: str = "fqe"
    """Estimator of --by estimate, see `holdfast ope`."""
    estimate_log: tuple[str, ...] = ()
    """Data for --by estimate, one for each data set. None: a part of the data set, see --estimate-share."""
    estimate_share: float = 0.2
    """Share of the episodes that --by estimate keeps for the estimates if there is no --estimate-log."""
    at_once: int | None = None
    """Trials that are proposed and trained together. None: a quarter of the trials with tpe, at least 4; else all."""
    per_task: int = 16
    """Trials that share one program, at most. A cluster has more tasks to distribute if it is small."""
    skip_unfit: bool = False
    """Leave out an algorithm on data whose kind of actions it does not learn, instead of refusing them."""
    run: dict[str, Any] = dataclasses.field(default_factory=dict)
    """Other settings of every run: arguments of `train`, such as `steps`, `seeds`, `preset`, `config` and `env`."""

    def faults(self) -> list[str]:
        """All values that are out of range, one text each."""
        found = []
        least = {"trials": 1, "eta": 2, "at_once": 1, "per_task": 1}
        for name, low in least.items():
            value = getattr(self, name)
            if value is not None and value < low:
                found.append(f"--{name.replace('_', '-')} is {value}, expected at least {low}")
        if not 0 < self.estimate_share < 1:
            found.append(f"--estimate-share is {self.estimate_share}, expected a share between 0 and 1")
        if self.estimate_log and self.by == "return":
            found.append("--estimate-log is for estimates: add --by estimate, or leave it out")
        if self.estimate_log and len(self.estimate_log) != len(self.data):
            found.append(
                f"--estimate-log names {len(self.estimate_log)} data sets, expected one for each of {len(self.data)}"
            )
        own = {"algorithm", "data", "in_memory", "paired", "source", "sweep"} & self.run.keys()
        found += [f"{name} is not a setting of the runs of a search: use its own arguments" for name in sorted(own)]
        for what, names in (("ALGORITHM", self.algorithms), ("--data", self.data)):
            if not names or len(set(names)) < len(names):
                found.append(f"{what} has {len(names)} names, expected at least one, each once")
        return found

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready values, with the number of the format."""
        values = dataclasses.asdict(self)
        return {"format": FORMAT, **{k: list(v) if isinstance(v, tuple) else v for k, v in values.items()}}

    @classmethod
    def read(cls, folder: Path) -> Search:
        """The search of a folder.

        Raises:
            UserError: the folder has none, or its file is damaged.
        """
        file = folder / FILE
        if not file.is_file():
            raise UserError(f"{folder} is not a search: it has no {FILE}; name a folder that `holdfast tune` made")
        values = read_json(file)
        if values.pop("format", None) != FORMAT:
            raise UserError(f"{file} is not a search of this version: expected format {FORMAT}")
        lists = {"algorithms": list[str], "data": list[str], "estimate_log": list[str]}
        require_types(values, {**typing.get_type_hints(cls), **lists}, str(file), ("algorithms", "data"))
        found: dict[str, Any] = {k: tuple(v) if isinstance(v, list) else v for k, v in values.items()}
        return cls(**found)

    def write(self, folder: Path) -> None:
        """Write `tune.json`."""
        write_json(folder / FILE, self.to_dict())

    def how(self, cell: Cell) -> How:
        """How the trials of a cell are chosen."""
        trials = self.trials or TRIALS
        if self.sampler == "grid":
            points = math.prod(len(domain.grid()) for domain in cell.space)
            preset = all(domain.contains(cell.base.config[domain.name]) for domain in cell.space)
            trials = min(self.trials or points + 1, points + (not preset))
        usual = trials if self.sampler in WHOLE_RANGE else max(4, -(-trials // 4))
        return How(self.sampler, trials, self.eta, self.at_once or usual, self.per_task, cell.base.seed)


def cells(search: Search, folder: Path, trust: bool) -> list[Cell]:
    """The cells of a search, after a check of everything that can be refused.

    Args:
        search: what to search.
        folder: its folder; parts of data sets are written into it.
        trust: do what the settings say even if a module is imported or data are downloaded.

    Raises:
        UserError: settings, data or environments that do not fit, in one line.
    """
    faults = search.faults()
    if faults:
        raise UserError("; ".join(faults))
    if search.by == "estimate" and search.estimator not in ESTIMATORS:
        raise unknown("estimator", search.estimator, ESTIMATORS)
    for name in search.algorithms:
        registry.get(name)
    spaces.require_used(search.space, search.algorithms)
    names: list[str] = []
    found = []
    for index, data in enumerate(search.data):
        dataset = None
        for algorithm in search.algorithms:
            given = _given(search, algorithm, data, folder, trust)
            if dataset is None:
                dataset = load_dataset(given.subject, **given.data_options)
            kind = "discrete" if dataset.discrete else "continuous"
            if search.skip_unfit and kind not in registry.get(algorithm).actions:
                continue
            name = _name(algorithm, data, names)
            names.append(name)
            found.append(_cell(search, name, given, dataset, folder, index))
    if not found:
        raise UserError(f"none of {', '.join(search.algorithms)} learns from the actions of these data: name others")
    return found


def _given(search: Search, algorithm: str, data: str, folder: Path, trust: bool) -> Settings:
    """The settings that a caller asks for, of one algorithm on one data set."""
    where = str(folder / FILE)
    values: dict[str, Any] = dict(require_types(search.run, RUN, f"run in {where}"))
    own = {field.name for field in dataclasses.fields(registry.get(algorithm).Config)}
    config: Mapping[str, Any] = values.pop("config", None) or {}
    if len(search.algorithms) > 1:  # each takes what it has
        known = {f.name for name in search.algorithms for f in dataclasses.fields(registry.get(name).Config)}
        config = {name: value for name, value in config.items() if name in own or name not in known}
    made = Settings.of(algorithm, config=config, **{**values, "data": located(data)})
    given = Settings.from_dict(made.to_dict(), where)  # which checks the types
    if trust:
        return given
    given.require_no_module(where, "add --trust (trust=True in Python)")
    options = {name: value for name, value in given.data_options.items() if name != "download"}
    loggers = [name for name in given.loggers if name in LOCAL]
    return dataclasses.replace(given, data_options=options, loggers=loggers).bind_networks({}, None, where)


def _cell(search: Search, name: str, given: Settings, dataset: Dataset, folder: Path, index: int) -> Cell:
    algorithm = registry.get(given.algorithm)
    cfg: Any = configs.from_dict(algorithm.Config, given.config)
    domains = spaces.domains(search.space, algorithm, cfg)
    if search.sampler == "grid":
        require_grid(domains)
    held = None
    base = given
    if search.by == "estimate":
        log = search.estimate_log[index] if search.estimate_log else None
        if log is None:
            base, log = _parts(search, given, dataset, folder / "data" / str(index))
        held = Held(located(log), search.estimator)
        base = dataclasses.replace(base, evaluate=False)
    made = plan(base, dataset)  # of the whole data set: a part of it has the same columns and spaces
    if held is None and made.evaluator is None:
        raise UserError(
            f"{given.subject}: no environment is known to compare returns in: name one with --env, or add --by estimate"
        )
    return Cell(name, given, base, domains, held)


def _parts(search: Search, given: Settings, dataset: Dataset, folder: Path) -> tuple[Settings, str]:
    """Settings on the part of a data set that is learned from, and the file of the other part."""
    files = {part: folder / f"{_slug(given.subject)}-{part}.npz" for part in ("train", "held-out")}
    if not all(file.is_file() for file in files.values()):
        shares = {"train": 1 - search.estimate_share, "held-out": search.estimate_share}
        folder.mkdir(parents=True, exist_ok=True)
        for part, some in dataset.split(shares, given.seed).items():
            if not files[part].is_file():
                convert(some, files[part], dataset.id)
    kept = {name: value for name, value in given.data_options.items() if name == "env"}
    return dataclasses.replace(given, data=str(files["train"]), data_options=kept), str(files["held-out"])


def _name(algorithm: str, data: str, taken: Sequence[str]) -> str:
    """Name of the folders of a cell: `iql-pendulum-mixed`."""
    stem = f"{algorithm}-{_slug(data)}"
    return stem if stem not in taken else f"{stem}-{len(taken)}"


def _slug(data: str) -> str:
    path = Path(data)
    name = "-".join(path.parts[-2:]) if not path.suffix and not path.is_absolute() else path.stem
    return name.replace("bundled-", "")
