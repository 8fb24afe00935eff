"""What a run is asked to do, as one record that is written into its folder and read back to repeat or resume it."""

from __future__ import annotations

import dataclasses
import itertools
import math
import typing
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from ..core import config
from ..core.contract import Algorithm, Phase, Treatment
from ..core.errors import UserError, unknown
from ..environments.gym.workers import TIMEOUT

FORMAT = 1
MOST_SEEDS = 2**32  # keys have 32 bits: beyond, two seeds would be the same
MOST_REPLICAS = 4096  # far above what a machine holds: a slip of the keyboard, not a plan


@dataclasses.dataclass(frozen=True)
class Settings:
    """One run. `config` and `treatment` are complete: nothing of a preset is looked up again."""

    algorithm: str
    data: str | None  # name or path, as `load_dataset` takes it; None: the environment alone
    steps: int  # updates of each replica
    config: dict[str, Any]
    treatment: dict[str, Any]
    preset: str | None = None  # where the settings started from
    seeds: int = 1
    seed: int = 0  # the first; replicas take seed, seed + 1 ...
    sweep: dict[str, list[float]] = dataclasses.field(default_factory=dict)
    data_options: dict[str, Any] = dataclasses.field(default_factory=dict)
    allow: list[str] = dataclasses.field(default_factory=list)  # fatal faults of the data taken on
    env: str | None = None  # environment of the evaluations; None: the data set's own
    evaluate: bool = True
    eval_episodes: int = 10
    eval_every: int = 0  # updates between evaluations; 0: a tenth of the run
    save_every: int = 0  # updates between checkpoints; 0: every block
    block: int = 1000  # updates between rows of metrics
    workers: int = 0  # processes that step the environments, of collection and of evaluation each; 0: this one
    worker_timeout: float = TIMEOUT  # seconds that a step may take in one of them
    envs: int = 0  # environments that each replica collects in at once; 0: the algorithm's, mostly one
    replay: int = 0  # newest collected rows that are kept; 0: the algorithm's, mostly a million
    loggers: list[str] = dataclasses.field(default_factory=list)
    source: dict[str, Any] | None = None  # the run that this one fine-tunes: its folder and the step of its checkpoint
    inputs: dict[str, str] = dataclasses.field(default_factory=dict)  # policies of other runs: name -> folder
    keep_policies: bool = False  # keep the policies of every evaluation, in policies/step-N
    growing: float = 0.0  # rows of the log that arrive with each update, as if it were being written; 0: all are there
    in_memory: bool = False  # whether the data set was given as an object: `data` may be no name to load

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready, with the format's number."""
        return {"format": FORMAT, **dataclasses.asdict(self)}

    @classmethod
    def from_dict(cls, values: Mapping[str, Any], where: str) -> Settings:
        """Settings from a `config.json`; `where` names it in errors.

        Raises:
            UserError: another format, or unknown or missing entries.
        """
        values = {k: v for k, v in values.items() if k != "dataset_fingerprint"}
        if values.pop("format", None) != FORMAT:
            raise UserError(f"{where} is no config of this version: expected format {FORMAT}")
        known = {f.name for f in dataclasses.fields(cls)}
        for name in values:
            if name not in known:
                raise unknown(f"entry of {where}", name, known)
        missing = [n for n in ("algorithm", "data", "steps", "config", "treatment") if n not in values]
        if missing:
            raise UserError(f"{where} lacks {', '.join(missing)}: name the config.json of a run")
        _require_types(values, typing.get_type_hints(cls), where)
        _require_types(values["treatment"], typing.get_type_hints(Treatment), f"treatment in {where}")
        return cls(**values)

    def steps_of(self, phase: Phase) -> int:
        """How many a phase takes: its own, or those of the run."""
        return self.steps if phase.steps is None else phase.steps

    def faults(self) -> list[str]:
        """What is wrong with the numbers, all at once."""
        found = []
        least = {"steps": 1, "seeds": 1, "seed": 0, "eval_episodes": 1, "block": 1, "eval_every": 0, "save_every": 0}
        least |= {"workers": 0, "envs": 0, "replay": 0}
        for name, lowest in least.items():
            value = getattr(self, name)
            if value < lowest:
                found.append(f"--{name.replace('_', '-')} is {value}, expected at least {lowest}")
        if not 0 < self.worker_timeout < math.inf:
            found.append(f"--worker-timeout is {self.worker_timeout}, expected seconds, more than 0")
        if not 0 <= self.growing < math.inf or (self.growing and self.data is None):
            found.append(f"--growing is {self.growing}, expected rows of logged data an update, at least 0")
        if self.keep_policies and not self.evaluate:
            found.append("--keep-policies keeps those of the evaluations, and --no-eval asks for none: drop one")
        if self.seed + self.seeds > MOST_SEEDS:
            found.append(f"the last seed is {self.seed + self.seeds - 1}, expected less than {MOST_SEEDS}")
        numbers = [*self.config.items(), *self.treatment.items()]
        numbers += [(f"--sweep {name}", value) for name, values in self.sweep.items() for value in values]
        found += [
            f"{name} is {value}, expected a finite number"
            for name, value in numbers
            if isinstance(value, float) and not math.isfinite(value)
        ]
        return found

    @property
    def evaluation_interval(self) -> int:
        """Updates between evaluations."""
        return self.eval_every or max(1, self.steps // 10)

    @property
    def stage(self) -> str:
        """What kind of run it is: offline (from data), online (an environment alone) or finetune."""
        return "finetune" if self.source else "offline" if self.data is not None else "online"

    @property
    def subject(self) -> str:
        """What is learned from, in a word: the data set, or the environment."""
        return str(self.data if self.data is not None else self.env)


class Replica(NamedTuple):
    """One of the runs in the program."""

    name: str  # of its folder: seed-0, expectile-0.5-seed-0
    seed: int
    values: dict[str, float]  # swept settings
    cfg: Any


def resolve(
    algorithm: Algorithm,
    preset: str | None,
    overrides: Mapping[str, Any] | None,
    treatment: Mapping[str, Any] | None,
) -> tuple[Any, Treatment]:
    """Config and treatment: a preset (None: the algorithm's first) with single settings changed.

    Raises:
        UserError: an unknown preset or setting, or values that the algorithm refuses, all in one line.
    """
    if preset is not None and preset not in algorithm.presets:
        raise unknown(f"preset of {algorithm.name}", preset, algorithm.presets)
    base = algorithm.presets[preset or next(iter(algorithm.presets))]
    cfg: Any = config.from_dict(algorithm.Config, {**config.to_dict(base.config), **(overrides or {})})
    faults = algorithm.check(cfg)
    if faults:
        raise UserError(f"{algorithm.name}: {'; '.join(faults)}")
    for name in treatment or {}:
        if name not in Treatment._fields:
            raise unknown("treatment of the data", name, Treatment._fields)
    return cfg, base.treatment._replace(**(treatment or {}))


def parse_sweep(texts: Sequence[str]) -> dict[str, list[float]]:
    """`["expectile=0.5,0.7", ...]` as values by name.

    Raises:
        UserError: an entry that is not NAME=NUMBER,NUMBER...
    """
    found: dict[str, list[float]] = {}
    for text in texts:
        name, _, values = text.partition("=")
        name = name.strip().lstrip("-").replace("-", "_")
        try:
            found[name] = [float(v) for v in values.split(",")]
        except ValueError:
            raise UserError(f"--sweep {text}: expected NAME=NUMBER,NUMBER... (--sweep expectile=0.5,0.7,0.9)") from None
    return found


def replicas(
    algorithm: Algorithm, cfg: Any, sweep: Mapping[str, Sequence[float]], seeds: Sequence[int]
) -> list[Replica]:
    """Every combination of swept values with every seed.

    Raises:
        UserError: a setting that is unknown, no traced float or out of range, or values not all different.
    """
    fields = {f.name: f for f in dataclasses.fields(cfg)}
    for name, values in sweep.items():
        if name not in fields:
            raise unknown(f"setting of {algorithm.name}", name, fields)
        if name not in config.traced_fields(cfg):
            why = f"it is a {fields[name].type}"
            if fields[name].metadata.get("static"):
                why = "it decides the shape of the data or of the program"
            raise UserError(
                f"--sweep {name}: {why}, and only settings that leave the program as it is share one "
                f"({', '.join(config.traced_fields(cfg))}); start one run for each value"
            )
        if not values or len(set(values)) < len(values):
            raise UserError(f"--sweep {name}: expected different numbers, got {list(values)}")
    count = len(seeds) * math.prod(map(len, sweep.values()))
    if count > MOST_REPLICAS:
        raise UserError(f"{count} replicas in one program: expected at most {MOST_REPLICAS}; sweep or seed fewer")
    found = []
    for combination in itertools.product(*sweep.values()):
        chosen = dict(zip(sweep, combination, strict=True))
        one = dataclasses.replace(cfg, **chosen)
        faults = algorithm.check(one)
        if faults:
            raise UserError(f"--sweep: {'; '.join(faults)}")
        label = "".join(f"{name}-{value:g}-" for name, value in chosen.items())
        found += [Replica(f"{label}seed-{seed}", seed, chosen, one) for seed in seeds]
    return found


def _require_types(values: Mapping[str, Any], hints: Mapping[str, Any], where: str) -> None:
    for name, value in values.items():
        if name not in hints:
            raise unknown(f"entry of {where}", name, hints)
        if not _fits(value, hints[name]):
            wanted = getattr(hints[name], "__name__", hints[name]) if not typing.get_args(hints[name]) else hints[name]
            raise UserError(f"{name} in {where} is {value!r}, expected {wanted}")


def _fits(value: Any, hint: Any) -> bool:
    """Whether a JSON value is of a field's type."""
    kind, parts = typing.get_origin(hint), typing.get_args(hint)
    if hint is Any:
        return True
    if kind is list:
        return isinstance(value, list) and all(_fits(v, parts[0]) for v in value)
    if kind is dict:
        return isinstance(value, dict) and all(_fits(v, parts[1]) for v in value.values())
    if parts:  # one of several
        return any(_fits(value, part) for part in parts)
    if isinstance(value, bool):
        return hint is bool
    return isinstance(value, (int, float) if hint is float else hint)
