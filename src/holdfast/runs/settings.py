"""The settings of a run: one record, written to the run's folder as `config.json` and read back to repeat or resume it.

`Settings` is the only place that declares a setting of a run, with its type, its default and its help text. The command
line, `train` and `finetune` take its fields from here, so a new setting is one new field.
"""

from __future__ import annotations

import dataclasses
import math
import re
import typing
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

from ..algorithms import registry
from ..core import config as configs
from ..core.contract import Algorithm, Phase, Treatment
from ..core.errors import UserError, require_known
from ..core.files import read_json
from ..core.networks import ROLES, Networks, bound, given, given_by_role, is_own, of_file
from ..core.schema import require_types
from ..core.trust import NAME_IT, environment_in
from ..data.references import env_id_of
from ..data.sources.options import DataOptions
from ..data.tables.roles import read_roles
from ..environments.gym.workers import TIMEOUT
from . import networks as networks_of
from .presets import chosen, resolve

FORMAT = 1
MOST_SEEDS = 2**32  # random keys have 32 bits: two larger seeds could give the same key
RULE = re.compile(r"(return|estimate):[1-9][0-9]{0,5}")  # of --stop-when
REQUIRED = ("algorithm", "data", "steps", "config", "treatment")  # entries that every config.json has
PRECISIONS = ("highest", "tf32", "bf16")
OVERLAPS = ("auto", "on", "off")

# the value of a setting, as `train` and `finetune` take it by keyword
Setting = str | int | float | bool | Sequence[str] | Mapping[str, Any] | None


def at_least(least: int, default: int | None) -> Any:
    """A field with a lower bound. If the default is None, None and 0 both mean: choose automatically."""
    return dataclasses.field(default=default, metadata={"least": least, "automatic": default is None})


@dataclasses.dataclass(frozen=True)
class Settings:
    """What to train on, how long, and what to write.

    `config` and `treatment` are complete: a run that is repeated or resumed never looks a preset up again.
    """

    algorithm: str
    """Name of the algorithm, see `holdfast algorithms`."""
    data: str | None = None
    """Data set: a bundled name, a Minari id or folder, a .hdf5, .npz, .csv or .parquet file. None: learn in the
    environment alone."""
    steps: int = at_least(1, 100_000)
    """Updates of each replica. A phase that collects data counts environment steps instead."""
    config: dict[str, Any] = dataclasses.field(default_factory=dict)
    """All settings of the algorithm."""
    treatment: dict[str, Any] = dataclasses.field(default_factory=dict)
    """How the data are scaled, see `core.contract.Treatment`."""
    preset: str | None = None
    """Preset to start from, see `holdfast algorithms NAME`. None: published, the paper's settings for the data."""
    seeds: int = at_least(1, 1)
    """Number of seeds. All of them are trained in one program."""
    seed: int = at_least(0, 0)
    """The first seed. The others are seed + 1, seed + 2, ..."""
    sweep: dict[str, list[float]] = dataclasses.field(default_factory=dict)
    """Values of a float setting. Every value is trained with every seed, all in one program."""
    paired: bool = False
    """Pair the values of several swept settings in their order, instead of combining each value with each."""
    data_options: dict[str, Any] = dataclasses.field(default_factory=dict)
    """How to read the data set, see `data.sources.options.DataOptions`."""
    allow: list[str] = dataclasses.field(default_factory=list)
    """Kind of fatal data fault to accept, see `holdfast data check`."""
    env: str | None = None
    """Environment of evaluations, or to learn in if there are no data. None: the one that the data came from."""
    evaluate: bool = True
    """Evaluate the policies during training; --no-eval turns it off."""
    eval_episodes: int = at_least(1, 10)
    """Episodes of each replica in one evaluation."""
    overlap: Literal["auto", "on", "off"] = "auto"
    """Train while an evaluation plays: on, off, or auto (on with an accelerator or at least 4 CPU cores)."""
    eval_every: int | None = at_least(1, None)
    """Steps between evaluations. None: a tenth of the run."""
    save_every: int | None = at_least(1, None)
    """Steps between checkpoints. None: every block, or a twentieth of the run if it has replay buffers."""
    block: int = at_least(1, 1000)
    """Steps between rows of metrics."""
    workers: int = at_least(0, 0)
    """Processes that step environments, for collection and evaluation each; a dead one is replaced. 0: no processes."""
    worker_timeout: float = TIMEOUT
    """Seconds that a worker process may take for one step."""
    envs: int | None = at_least(1, None)
    """Environments that each replica collects in at the same time. None: the algorithm's number, usually 1."""
    replay: int | None = at_least(1, None)
    """Size of the replay buffer in rows. None: the algorithm's size, usually 1,000,000."""
    loggers: list[str] = dataclasses.field(default_factory=list)
    """Where else to log: tensorboard, wandb or mlflow."""
    source: dict[str, Any] | None = None
    """The run that this one fine-tunes: its folder and the step of its checkpoint."""
    inputs: dict[str, str] = dataclasses.field(default_factory=dict)
    """Policies of other runs that the algorithm reads: a name of the algorithm's and the policy's folder."""
    dynamics: str | None = None
    """The run whose learned model to use, instead of training one on the same data. None: train one if it is needed."""
    encoder: str = "auto"
    """Encoder of images: nature, impala, or auto (nature from 36 x 36 pixels on); or your own as module:name."""
    activation: str | None = None
    """Activation of all hidden layers: relu, tanh, elu, gelu, mish, silu or swish. None: as published."""
    layer_norm: str | None = None
    """LayerNorm: pre (before each activation), post, first (the first only) or none. None: as published."""
    actor_hidden: tuple[int, ...] = ()
    """Widths of the hidden layers of policies. Empty: those of --hidden."""
    critic_hidden: tuple[int, ...] = ()
    """Widths of the hidden layers of action values. Empty: those of --hidden."""
    value_hidden: tuple[int, ...] = ()
    """Widths of the hidden layers of state values. Empty: those of --hidden."""
    network: dict[str, str] = dataclasses.field(default_factory=dict)
    """Your own networks in place of the published ones: a builder for all roles, or for actor, critic or value."""
    random_shift: int = at_least(0, 0)
    """Shift the images of each batch at random by up to so many pixels (DrQ: 4). 0: do not."""
    keep_policies: bool = False
    """Keep the policies of every evaluation, from which `holdfast data collect` can make logs."""
    stop_when: str | None = None
    """End the run early: return:N, if the mean return of evaluations has not risen for N of them; estimate:N, if the
    estimated value on held-out episodes has not. The policies of all evaluations are kept. None: train to the end."""
    held_out: float = 0.0
    """Share of the episodes that are kept out of training, for estimates. 0: a fifth if --stop-when needs them."""
    agents: Literal["independent"] | None = None
    """How the agents of a team learn: independent, each by itself. None: the data are of one agent, or the method says
    it."""
    growing: float = 0.0
    """Rows of the data that each update adds, as if the log were still being written. 0: all rows from the start."""
    window: int = at_least(0, 0)
    """Rows of a log larger than memory that are in memory at once, exchanged during training. 0: all rows."""
    window_draws: float = 2.0
    """How often a row of the window is drawn, on average, before it leaves. More: the disk is read less often."""
    precision: Literal["highest", "tf32", "bf16"] | None = None
    """Precision of the factors of matrix products in training. None: JAX's default for the device, tf32 on a GPU."""
    devices: int = at_least(0, 1)
    """Devices of this machine that share the replicas equally. 0: all of them."""
    algorithm_module: str | None = None
    """Where an algorithm of your own is, as `my_module:algorithm`. It is imported only for trusted runs."""
    in_memory: bool = False
    """Whether the data set was passed as an object. Then `data` may not be a name that can be loaded."""

    def __post_init__(self) -> None:
        for field in dataclasses.fields(self):
            if field.metadata.get("automatic") and getattr(self, field.name) == 0:
                object.__setattr__(self, field.name, None)  # version 0.1.0 wrote 0 for: choose automatically
        for role in ROLES:
            object.__setattr__(self, f"{role}_hidden", tuple(getattr(self, f"{role}_hidden")))  # JSON has lists

    @classmethod
    def of(
        cls,
        algorithm: str,
        *,
        preset: str | None = None,
        config: Mapping[str, Any] | None = None,
        treatment: Mapping[str, Any] | None = None,
        clip_actions: bool = False,
        allow: Sequence[str] = (),
        sweep: Mapping[str, Sequence[float]] | None = None,
        **settings: Setting,
    ) -> Settings:
        """Complete settings: a preset, with single values changed.

        Args:
            algorithm: registry name.
            preset: name of the preset; None or `published`: the paper's settings for the data set or environment.
            config: settings of the algorithm that differ from the preset.
            treatment: treatments of the data that differ from the preset.
            clip_actions: clip logged actions that are outside the action space, instead of refusing the data.
            allow: fatal faults of the data to accept.
            sweep: values of float settings.
            settings: other fields of `Settings`.

        Raises:
            UserError: an unknown name, or values that the algorithm refuses; one line for all faults.
        """
        found = registry.get(algorithm)
        data, env = (str(settings.get(name) or "") for name in ("data", "env"))
        preset = chosen(found, preset, data, env)
        taken = {name: settings.pop(name) for name in own_settings(found) if settings.get(name)}
        cfg, treated = resolve(found, preset, {**taken, **(config or {})}, treatment)
        require_known(settings, "argument of train", field_names() - {"algorithm_module", "in_memory", "source"})
        if settings.get("dynamics"):
            settings["dynamics"] = str(Path(str(settings["dynamics"])).expanduser().resolve())
        accepted = list(allow)
        if clip_actions:
            accepted += [] if "action_bounds" in accepted else ["action_bounds"]
            treated = treated if treated.clip_actions is not None else treated._replace(clip_actions=0.0)
        options: Any = settings.get("data_options") or {}
        if options.get("columns") is not None:  # the roles themselves, so that the run does not depend on their file
            settings["data_options"] = {**options, "columns": read_roles(options["columns"]).to_dict()}
        values: dict[str, Any] = {
            "config": configs.to_dict(cfg),
            "treatment": treated._asdict(),
            "allow": accepted,
            "network": given_by_role(settings.pop("network", None)),  # type: ignore[arg-type]
            "sweep": {name: [float(value) for value in swept] for name, swept in (sweep or {}).items()},
        }
        encoder: Any = settings.get("encoder")
        if callable(encoder) or (isinstance(encoder, str) and is_own(encoder)):
            settings["encoder"] = given(encoder, "encoder")
        return cls(found.name, preset=preset, **values | settings)

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready values, with the number of the format."""
        values = dataclasses.asdict(self)
        return {"format": FORMAT, **{k: list(v) if isinstance(v, tuple) else v for k, v in values.items()}}

    @classmethod
    def from_dict(cls, values: Mapping[str, Any], where: str) -> Settings:
        """Settings from the values of a `config.json`.

        Args:
            values: what the file holds.
            where: name of the file, for error messages.

        Raises:
            UserError: another format, or unknown, missing or mistyped entries.
        """
        values = {k: v for k, v in values.items() if k != "dataset_fingerprint"}
        if values.pop("format", None) != FORMAT:
            raise UserError(f"{where} is not a config of this version: expected format {FORMAT}")
        require_known(values, f"entry of {where}", field_names())
        missing = [name for name in REQUIRED if name not in values]
        if missing:
            raise UserError(f"{where} lacks {', '.join(missing)}: name the config.json of a run")
        require_types(values, typing.get_type_hints(cls), where)
        require_known(values["treatment"], f"entry of treatment in {where}", Treatment._fields)
        require_types(values["treatment"], typing.get_type_hints(Treatment), f"treatment in {where}")
        options = {**typing.get_type_hints(DataOptions), "action_bounds": list[Any] | None, "env": str | None}
        require_types(values.get("data_options", {}), options, f"data_options in {where}")
        if values.get("source") is not None:
            require_types(values["source"], {"run": str, "step": int}, f"source in {where}", ("run", "step"))
        return cls(**values)

    def bind_networks(self, again: Mapping[str, str], encoder: str | None, where: str, trust: bool = False) -> Settings:
        """The settings of a file, with the functions behind the networks that they name.

        Args:
            again: the builders that the caller gives, by role.
            encoder: the builder of the encoder that the caller gives.
            where: name of the file, for error messages.
            trust: import the modules that the file names.

        Raises:
            UserError: a network whose builder is not known, or other builders than those of the file.
        """
        networks = bound(self.network, again, where, trust)
        made = of_file(self.encoder, encoder, where, trust) if is_own(self.encoder) or encoder else self.encoder
        return dataclasses.replace(self, network=networks, encoder=made)

    def require_no_module(self, where: str, remedy: str = NAME_IT) -> None:
        """Refuse environments whose ids name a module: making them would run code that a file chooses.

        Args:
            where: name of the file that the settings come from.
            remedy: what to do instead, for the error message.

        Raises:
            UserError: naming the environment.
        """
        environment_in(self.env, where, remedy)
        environment_in(self.data_options.get("env"), where, remedy)

    @classmethod
    def read(cls, path: Path) -> Settings:
        """Settings from a `config.json` file.

        Raises:
            UserError: the file cannot be read, or is not the config of a run.
        """
        try:
            values = read_json(path)
        except UserError as error:
            raise UserError(f"{error}; expected the config.json of a run") from error
        return cls.from_dict(values, str(path))

    def steps_of(self, phase: Phase) -> int:
        """Steps of a phase: its own number, or else the run's."""
        return self.steps if phase.steps is None else phase.steps

    def faults(self) -> list[str]:
        """All numbers that are out of range, one text each."""
        found = []
        for field in dataclasses.fields(self):
            least = field.metadata.get("least")
            value = getattr(self, field.name)
            if least is not None and value is not None and value < least:
                found.append(f"--{field.name.replace('_', '-')} is {value}, expected at least {least}")
        if not 0 < self.worker_timeout < math.inf:
            found.append(f"--worker-timeout is {self.worker_timeout}, expected a number of seconds above 0")
        if not 0 <= self.growing < math.inf:
            found.append(f"--growing is {self.growing}, expected at least 0 rows an update")
        if self.growing and self.data is None:
            found.append("--growing needs a data set: name one with --data, or leave it out")
        if self.window and self.data is None:
            found.append("--window needs a data set: name one with --data, or leave it out")
        if self.window and self.growing:
            found.append("--window and --growing exclude each other: drop one")
        if not 0 < self.window_draws < math.inf:
            found.append(f"--window-draws is {self.window_draws}, expected a number above 0")
        if self.stop_when is not None and not RULE.fullmatch(self.stop_when):
            found.append(f"--stop-when is {self.stop_when}, expected return:N or estimate:N (--stop-when estimate:5)")
        if not 0 <= self.held_out < 1:
            found.append(f"--held-out is {self.held_out}, expected a share of the episodes from 0 to below 1")
        if self.held_out and self.rule[0] != "estimate":
            found.append("--held-out keeps episodes for --stop-when estimate:N: give both, or leave it out")
        if self.rule[0] == "estimate" and self.data is None:
            found.append("--stop-when estimate:N needs logged data: name them with --data, or use return:N")
        if self.rule[0] == "return" and not self.evaluate:
            found.append("--stop-when return:N needs evaluations, and --no-eval skips these: drop one")
        if self.keep_policies and not self.evaluate:
            found.append("--keep-policies keeps the policies of evaluations, and --no-eval skips these: drop one")
        if self.seed + self.seeds > MOST_SEEDS:
            found.append(f"the last seed is {self.seed + self.seeds - 1}, expected less than {MOST_SEEDS}")
        if self.paired and len({len(values) for values in self.sweep.values()}) > 1:
            counts = ", ".join(f"{name} has {len(values)}" for name, values in self.sweep.items())
            found.append(f"--paired needs as many values of each swept setting as of the others: {counts}")
        if self.precision is not None and self.precision not in PRECISIONS:
            found.append(f"--precision is {self.precision}, expected one of {', '.join(PRECISIONS)}")
        if self.overlap not in OVERLAPS:
            found.append(f"--overlap is {self.overlap}, expected one of {', '.join(OVERLAPS)}")
        found += networks_of.faults(Networks.of(vars(self)))
        numbers = [*self.config.items(), *self.treatment.items()]
        numbers += [(f"--sweep {name}", value) for name, values in self.sweep.items() for value in values]
        found += [
            f"{name} is {value}, expected a finite number"
            for name, value in numbers
            if isinstance(value, float) and not math.isfinite(value)
        ]
        return found

    @property
    def rule(self) -> tuple[str, int]:
        """What --stop-when looks at, and for how many evaluations it may fail to rise; ("", 0) without a rule."""
        if self.stop_when is None or not RULE.fullmatch(self.stop_when):
            return "", 0
        what, _, count = self.stop_when.partition(":")
        return what, int(count)

    @property
    def evaluation_interval(self) -> int:
        """Steps between evaluations."""
        return self.eval_every or max(1, self.steps // 10)

    @property
    def stage(self) -> str:
        """The kind of run: offline (logged data), online (only an environment) or finetune."""
        if self.source:
            return "finetune"
        return "offline" if self.data is not None else "online"

    @property
    def subject(self) -> str:
        """Name of what the run learns from: the data set, or the environment."""
        return str(self.data if self.data is not None else env_id_of(self.env) or self.env)


def own_settings(algorithm: Algorithm) -> list[str]:
    """The settings of networks that an algorithm has itself, such as the widths of its critics."""
    return sorted({*Networks._fields} & {field.name for field in dataclasses.fields(algorithm.Config)})


def field_names() -> set[str]:
    """Names of all settings."""
    return {field.name for field in dataclasses.fields(Settings)}
