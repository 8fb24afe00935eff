"""The command that makes a run, from its settings."""

from __future__ import annotations

import dataclasses
import shlex
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ..core import config as configs
from ..runs.presets import resolve
from ..runs.settings import Setting, Settings

# settings with another spelling on the command line, or none
OTHERS = ("algorithm", "algorithm_module", "data", "config", "treatment", "preset", "sweep", "data_options", "allow",
          "evaluate", "loggers", "network", "source", "inputs", "dynamics", "keep_policies", "in_memory")  # fmt: skip


def command_of(settings: Settings) -> str:
    """The command with every setting that differs from the preset and from the defaults.

    Data sets are named without their folders. Options of the data set are not included.
    """
    from ..algorithms import registry

    words = ["holdfast", "train", settings.algorithm]
    if settings.source:
        words = ["holdfast", "finetune", Path(str(settings.source["run"])).name]
    elif settings.data is not None:
        words += ["--data", Path(settings.data).name if Path(settings.data).is_absolute() else settings.data]
    words += ["--preset", settings.preset] if settings.preset is not None and not settings.source else []
    default = Settings(settings.algorithm)
    for field in dataclasses.fields(Settings):
        if field.name not in OTHERS:
            words += _flag(field.name, getattr(settings, field.name), getattr(default, field.name))
    for name, values in settings.sweep.items():
        words += ["--sweep", f"{name}={','.join(map(repr, values))}"]
    words += [word for kind in settings.allow if kind != "action_bounds" for word in ("--allow", kind)]
    words += ["--no-eval"] * (not settings.evaluate) + ["--keep-policies"] * settings.keep_policies
    words += [word for name in settings.loggers for word in ("--log", name)]
    words += [word for name, folder in settings.inputs.items() for word in ("--input", f"{name}={Path(folder).name}")]
    words += ["--dynamics", Path(settings.dynamics).name] if settings.dynamics is not None else []
    words += [word for role, name in settings.network.items() for word in ("--network", f"{role}={name}")]
    cfg, treatment = resolve(registry.get(settings.algorithm), settings.preset, None, None)
    if settings.source:
        return shlex.join(words)  # its settings are those of the offline run
    words += _changed(settings.config, configs.to_dict(cfg))
    scaling = {name: value for name, value in settings.treatment.items() if name != "clip_actions"}
    words += _changed(scaling, treatment._asdict())
    words += ["--clip-actions"] * ("action_bounds" in settings.allow)
    return shlex.join(words)


def _changed(values: Mapping[str, Any], preset: Mapping[str, Any]) -> list[str]:
    return [word for name, value in values.items() if name in preset for word in _flag(name, value, preset[name])]


def _flag(name: str, value: Setting, default: Setting) -> list[str]:
    """The words of a flag; none if the value is the default."""
    if value == default or (isinstance(value, list | tuple) and isinstance(default, list | tuple)
                            and list(value) == list(default)):  # fmt: skip
        return []
    flag = name.replace("_", "-")
    if isinstance(value, bool):
        return [f"--{flag}" if value else f"--no-{flag}"]
    if isinstance(value, list | tuple):
        return [f"--{flag}", *map(str, value)]
    return [f"--{flag}", str(value)]
