"""Flags of `holdfast train`, `holdfast finetune` and `holdfast data`.

The fields of `Settings`, `Treatment` and `DataOptions` are the flags, with their defaults and help texts. This module
only has what the command line spells differently or does not offer.
"""

from __future__ import annotations

import ast
import dataclasses
import functools
import inspect
import itertools
import typing
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from tyro.conf import Suppress, UseAppendAction, arg

from ..core.contract import Treatment
from ..data.sources.options import DataOptions
from ..runs.settings import Settings
from .values import parse_inputs, parse_networks, parse_sweep

if TYPE_CHECKING:
    from _typeshed import DataclassInstance

    from ..data.dataset import Dataset


# without a help text, tyro would parse the source of the class for one at every start
Hidden = Suppress[Annotated[dict[str, Any], arg(help="")]]


@dataclasses.dataclass(frozen=True)
class RunFlags(Settings):
    """What to train on, how long, and what to write. A step is an update, or an environment step in phases that collect
    data."""

    algorithm: Suppress[str] = ""
    data: Annotated[tuple[str, ...], arg(metavar="NAME [NAME ...]")] = ()  # type: ignore[assignment]
    """Data set: a bundled name, a Minari id or folder, a .hdf5, .npz, .csv or .parquet file. Several are joined. None:
    learn in the environment alone."""
    config: Hidden = dataclasses.field(default_factory=dict)
    treatment: Hidden = dataclasses.field(default_factory=dict)
    data_options: Hidden = dataclasses.field(default_factory=dict)
    source: Suppress[dict[str, Any] | None] = None
    in_memory: Suppress[bool] = False
    algorithm_module: Suppress[str | None] = None
    sweep: UseAppendAction[Annotated[tuple[str, ...], arg(metavar="NAME=A,B")]] = ()  # type: ignore[assignment]
    inputs: UseAppendAction[Annotated[tuple[str, ...], arg(name="input", metavar="NAME=FOLDER")]] = ()  # type: ignore[assignment]
    network: UseAppendAction[Annotated[tuple[str, ...], arg(metavar="[ROLE=]MODULE:NAME")]] = ()  # type: ignore[assignment]
    allow: UseAppendAction[Annotated[list[str], arg(metavar="FAULT")]] = dataclasses.field(default_factory=list)
    evaluate: Annotated[bool, arg(name="eval")] = True
    loggers: UseAppendAction[Annotated[list[str], arg(name="log")]] = dataclasses.field(default_factory=list)

    def at(self, settings: Settings) -> RunFlags:
        """These flags with the values of `settings` as defaults."""
        values = {field.name: getattr(settings, field.name) for field in dataclasses.fields(Settings)}
        values["data"] = () if settings.data is None else (settings.data, *settings.data_options.get("also", ()))
        values["sweep"] = tuple(f"{name}={','.join(map(repr, swept))}" for name, swept in settings.sweep.items())
        values["network"] = tuple(f"{role}={name}" for role, name in settings.network.items())
        values["inputs"] = tuple(f"{name}={folder}" for name, folder in settings.inputs.items())
        return dataclasses.replace(self, **values)

    def values(self, names: Iterable[str]) -> dict[str, Any]:
        """The settings of these names."""
        found = {name: getattr(self, name) for name in names}
        if "sweep" in found:
            found["sweep"] = parse_sweep(found["sweep"])
        if "network" in found:
            found["network"] = parse_networks(found["network"])
        if "inputs" in found:
            found["inputs"] = parse_inputs(found["inputs"])
        return found


@dataclasses.dataclass(frozen=True)
class DataFlags(DataOptions):
    """How to read the data set."""

    cut_jumps: bool = False
    columns: Annotated[str | None, arg(metavar="FILE")] = None
    id: Suppress[str | None] = None

    def values(self) -> dict[str, Any]:
        """The options that were given, as keyword arguments of `load_dataset`."""
        default = DataFlags()
        names = [field.name for field in dataclasses.fields(self)]
        return {name: getattr(self, name) for name in names if getattr(self, name) != getattr(default, name)}

    def load(self, name: str) -> Dataset:
        """Load a data set with these options."""
        from ..data.sources import load_dataset

        return load_dataset(name, **self.values())


@dataclasses.dataclass(frozen=True)
class StartFlags:
    """What the run starts from, and its folder."""

    out: Path | None = None
    """Folder of the run, new or empty. None: a free folder in runs/."""
    config: Path | None = None
    """The config.json of a run to repeat. Other flags change its settings."""
    resume: Path | None = None
    """Folder of an interrupted run to resume. Other flags: --trust, the number of devices, and --steps, which
    prolongs a run."""
    trust: bool = False
    """With --resume: do what the run says even if it imports a module, downloads data or logs to a service."""
    dry_run: bool = False
    """Print the plan of the run and stop. Nothing is compiled or written."""


def treatment_flags(treatment: Treatment) -> DataclassInstance:
    """`Treatment` as flags with these values as defaults.

    `--clip-actions` is a switch: the preset says how far to clip.
    """
    hints = typing.get_type_hints(Treatment)
    texts = documented(Treatment)
    fields: list[Any] = [
        (name, Annotated[hints[name], arg(help=texts[name])], dataclasses.field(default=value))
        for name, value in treatment._asdict().items()
        if name != "clip_actions"
    ]
    clip = "Clip logged actions that are outside the action space. Without it such data are refused."
    fields.append(("clip_actions", Annotated[bool, arg(help=clip)], dataclasses.field(default=False)))
    made = dataclasses.make_dataclass("TreatmentFlags", fields, frozen=True)
    made.__doc__ = "How the data are scaled. The defaults are those of the preset."
    return made()


def documented(cls: type) -> dict[str, str]:
    """The docstrings of the fields of a class."""
    tree = ast.parse(inspect.getsource(cls)).body[0]
    found = {}
    for one, other in itertools.pairwise(typing.cast(ast.ClassDef, tree).body):
        if isinstance(one, ast.AnnAssign) and isinstance(other, ast.Expr) and isinstance(other.value, ast.Constant):
            found[ast.unparse(one.target)] = inspect.cleandoc(str(other.value.value))
    return found


def without(names: Iterable[str], flags: DataclassInstance) -> DataclassInstance:
    """The same flags, but those of these names are not on the command line."""
    hints = typing.get_type_hints(type(flags), include_extras=True)
    hidden: list[Any] = []
    for name in names:
        same = dataclasses.field(default_factory=functools.partial(getattr, flags, name))
        hidden.append((name, Annotated[hints[name], Suppress], same))
    made = dataclasses.make_dataclass(type(flags).__name__, hidden, bases=(type(flags),), frozen=True)
    made.__doc__ = type(flags).__doc__
    return made(**{field.name: getattr(flags, field.name) for field in dataclasses.fields(flags)})


def joined(doc: str, parts: Mapping[str, DataclassInstance]) -> DataclassInstance:
    """Groups of flags as one dataclass, with their values as defaults."""
    kinds = [(name, Annotated[type(part), arg(help=_described(type(part)))]) for name, part in parts.items()]
    made = dataclasses.make_dataclass("Args", kinds)
    made.__doc__ = doc
    return made(**parts)


def _described(cls: type) -> str:
    """The docstring of a class; empty if it is only the signature that `dataclasses` writes."""
    text = inspect.getdoc(cls) or ""
    return "" if text.startswith(f"{cls.__name__}(") else text
