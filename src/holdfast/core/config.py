"""Configs: frozen dataclasses whose float fields are traced (a sweep is a vmap) and whose other fields are static."""

from __future__ import annotations

import dataclasses
import json
import math
import types
import typing
from typing import TYPE_CHECKING, Any, Literal, TypeVar, dataclass_transform

import jax
import jax.numpy as jnp
import numpy as np

from .errors import UserError, unknown

if TYPE_CHECKING:
    from _typeshed import DataclassInstance

JSON = str | int | float | bool | None | list[Any] | dict[str, Any]
C = TypeVar("C")

# A learning rate over a run: constant, a cosine over all updates of the run, or a cosine over so many updates.
Schedule = int | Literal["constant", "run"]
# A number of updates: those of the whole run, or so many.
Horizon = int | Literal["run"]


def static(*, default: float) -> Any:
    """A float field that decides a shape or a branch: kept out of the trace, refused in sweeps."""
    return dataclasses.field(default=default, metadata={"static": True})


@dataclass_transform(frozen_default=True, field_specifiers=(static, dataclasses.field))
def config(cls: type[C]) -> type[C]:
    """Make `cls` a frozen dataclass and a pytree: plain `float` fields are leaves, everything else is structure."""
    cls = dataclasses.dataclass(frozen=True)(cls)
    names = [f.name for f in dataclasses.fields(cls)]  # type: ignore[arg-type]
    leaves = traced_fields(cls)
    jax.tree_util.register_dataclass(cls, data_fields=leaves, meta_fields=[n for n in names if n not in leaves])
    return cls


def traced_fields(cls: object) -> list[str]:
    """Names of the fields of a config (class or instance) that are traced."""
    return [
        f.name
        for f in dataclasses.fields(typing.cast(Any, cls))
        if f.type in ("float", float) and not f.metadata.get("static")
    ]


def fields_of(cls: type[C] | C, kind: types.UnionType) -> list[str]:
    """Names of the fields of a config (class or instance) whose type is `kind`: `Schedule` or `Horizon`."""
    hints = typing.get_type_hints(cls if isinstance(cls, type) else type(cls))
    return [name for name, hint in hints.items() if hint == kind]


def over_the_run(cfg: C, updates: int) -> C:
    """The config with every `Schedule` and `Horizon` of "run" set to the number of updates of the run."""
    names = [*fields_of(cfg, Schedule), *fields_of(cfg, Horizon)]
    return dataclasses.replace(cfg, **{n: updates for n in names if getattr(cfg, n) == "run"})  # type: ignore[type-var]


def narrowed(cls: type[C], cfg: object) -> C:
    """The settings of `cfg` that `cls` has too, as a `cls`; other fields of `cls` keep their defaults.

    For methods that contain another method with its own config.
    """
    names = [f.name for f in dataclasses.fields(cls) if hasattr(cfg, f.name)]  # type: ignore[arg-type]
    return cls(**{name: getattr(cfg, name) for name in names})


def as_arrays(cfg: C) -> C:
    """Every traced float as an array of the default float type, so that no Python float compiles a second program."""
    kind = jnp.result_type(float)
    # a float is converted by NumPy, because JAX would compile a program for it
    return jax.tree.map(lambda x: jnp.asarray(x if isinstance(x, jax.Array) else np.asarray(x, kind), kind), cfg)


def to_dict(cfg: DataclassInstance) -> dict[str, Any]:
    """A config as JSON-ready values (tuples become lists)."""
    return json.loads(json.dumps({f.name: getattr(cfg, f.name) for f in dataclasses.fields(cfg)}))


def from_dict(cls: type[C], values: dict[str, Any]) -> C:
    """A config from JSON values.

    A class attribute `REMOVED` names settings of older versions, with the value that means what the class does now.

    Raises:
        UserError: a field is not known, or its value is not of the field's type.
    """
    fields = {f.name: f for f in dataclasses.fields(cls)}  # type: ignore[arg-type]
    hints = typing.get_type_hints(cls)
    removed = getattr(cls, "REMOVED", {})
    given = {}
    for name, value in values.items():
        if name in removed and value == removed[name]:
            continue  # an older version had this setting, and this value is what the class does now
        if name not in fields:
            raise unknown(f"{cls.__name__} setting", name, fields)
        given[name] = _of_type(cls, name, value, hints[name])
    return cls(**given)


def _of_type(cls: type, name: str, value: JSON, hint: Any) -> Any:
    if typing.get_origin(hint) is tuple:
        item = typing.get_args(hint)[0]
        if item is float and isinstance(value, (list, tuple)):
            value = [float(v) if isinstance(v, int) and not isinstance(v, bool) else v for v in value]
        if isinstance(value, (list, tuple)) and all(isinstance(v, item) and not isinstance(v, bool) for v in value):
            return tuple(value)
    elif hint in (Schedule, Horizon):
        value = "run" if value == 0 else "constant" if value == -1 else value  # as version 0.1.0 wrote them
        if value in typing.get_args(typing.get_args(hint)[1]):
            return value
        if isinstance(value, int) and not isinstance(value, bool) and value > 0:
            return value
        words = " or ".join(f"'{word}'" for word in typing.get_args(typing.get_args(hint)[1]))
        raise UserError(f"{cls.__name__}.{name} is {value!r}, expected {words} or a number of updates")
    elif hint is float and isinstance(value, (int, float)) and not isinstance(value, bool):
        return float(value)
    elif hint is int and isinstance(value, int) and not isinstance(value, bool):
        return value
    elif hint in (str, bool):
        if isinstance(value, hint):
            return value
    elif hint not in (int, float):
        return value
    wanted = hint.__name__ if isinstance(hint, type) else str(hint)
    raise UserError(f"{cls.__name__}.{name} is {value!r}, expected {wanted}")


def faults(cfg: DataclassInstance, **rules: str) -> list[str]:
    """All settings of `cfg` that break their rule, as text.

    Rules: "positive", "at least 0", "in (0, 1)", "in [0, 1]", "in (0, 1]", "in [0, 1)", or "a|b|c".

    Sizes (`hidden`, `batch_size`) and learning rates are held to "positive" without being named, other floats to
    "finite", schedules and horizons to their words or a positive number.
    """
    holds = {
        "positive": lambda x: x > 0,
        "at least 0": lambda x: x >= 0,
        "in (0, 1)": lambda x: 0 < x < 1,
        "in [0, 1]": lambda x: 0 <= x <= 1,
        "in (0, 1]": lambda x: 0 < x <= 1,
        "in [0, 1)": lambda x: 0 <= x < 1,
        "finite": math.isfinite,
    }
    found = []
    words = dict.fromkeys(fields_of(cfg, Schedule), ("constant", "run")) | dict.fromkeys(
        fields_of(cfg, Horizon), ("run",)
    )
    for name in [f.name for f in dataclasses.fields(cfg)]:
        value = getattr(cfg, name)
        if name in words:
            if value not in words[name] and not (isinstance(value, int) and value > 0):
                expected = " or ".join(map(repr, words[name]))
                found.append(f"{name} is {value!r}, expected {expected} or a positive number of updates")
            continue
        usual = "finite" if isinstance(value, float) else None
        usual = "positive" if name.endswith("lr") or name in ("hidden", "batch_size") else usual
        rule = rules.get(name, usual)
        if rule is None:
            continue
        if rule in holds:
            fine = all(holds[rule](x) for x in (value if isinstance(value, tuple) else (value,)))
        else:
            fine = value in rule.split("|")
        if not fine:
            found.append(
                f"{name} is {value!r}, expected {rule if rule in holds else 'one of ' + rule.replace('|', ', ')}"
            )
    return found
