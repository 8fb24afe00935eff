"""The runs that are trained together in one program: every combination of swept values with every seed."""

from __future__ import annotations

import dataclasses
import itertools
import math
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

from ..core import config as configs
from ..core.contract import Algorithm
from ..core.errors import UserError, unknown

if TYPE_CHECKING:
    from _typeshed import DataclassInstance

MOST_REPLICAS = 4096  # far more than a machine can hold, so a larger number is a typing mistake


class Replica(NamedTuple):
    """One of the runs that are trained together in one program."""

    name: str  # the folder's name: seed-0, expectile-0.5-seed-0
    seed: int
    values: dict[str, float]  # the swept settings
    cfg: Any


def replicas(
    algorithm: Algorithm,
    cfg: DataclassInstance,
    sweep: Mapping[str, Sequence[float]],
    seeds: Sequence[int],
    paired: bool = False,
) -> list[Replica]:
    """Every combination of swept values with every seed.

    Args:
        algorithm: the algorithm.
        cfg: its config, with the settings that are not swept.
        sweep: values by name.
        seeds: the seeds.
        paired: combine the first values of all settings, the second values, and so on, instead of each with each.

    Raises:
        UserError: a swept setting that is unknown, static or out of range, repeated values, or too many replicas.
    """
    for name, values in sweep.items():
        _require_sweepable(algorithm, cfg, name)
        if not values or (len(set(values)) < len(values) and not paired):
            raise UserError(f"--sweep {name}: expected different numbers, got {list(values)}")
    combinations = list(zip(*sweep.values(), strict=True)) if paired and sweep else []
    if len(set(combinations)) < len(combinations):
        raise UserError("--paired: the same values are paired twice; name each pair once")
    count = len(seeds) * (len(combinations) or math.prod(map(len, sweep.values())))
    if count > MOST_REPLICAS:
        raise UserError(f"{count} replicas in one program: expected at most {MOST_REPLICAS}; sweep or seed fewer")
    texts = {name: value_texts(values) for name, values in sweep.items()}
    found = []
    for combination in combinations or itertools.product(*sweep.values()):
        chosen = dict(zip(sweep, combination, strict=True))
        one = dataclasses.replace(cfg, **chosen)
        faults = algorithm.check(one)
        if faults:
            raise UserError(f"--sweep: {'; '.join(faults)}")
        label = "".join(f"{name}-{texts[name][value]}-" for name, value in chosen.items())
        found += [Replica(f"{label}seed-{seed}", seed, chosen, one) for seed in seeds]
    return found


def value_texts(values: Iterable[float]) -> dict[float, str]:
    """A text for each swept value: six digits, or all digits if two values have the same six."""
    values = list(dict.fromkeys(values))
    short = {value: f"{value:g}" for value in values}
    return short if len(set(short.values())) == len(short) else {value: repr(float(value)) for value in values}


def _require_sweepable(algorithm: Algorithm, cfg: DataclassInstance, name: str) -> None:
    """Refuse a sweep over a setting that is not traced: its values cannot share one program."""
    fields = {field.name: field for field in dataclasses.fields(cfg)}
    if name not in fields:
        raise unknown(f"setting of {algorithm.name}", name, fields)
    traced = configs.traced_fields(cfg)
    if name in traced:
        return
    why = "it changes the compiled program"
    if not fields[name].metadata.get("static"):
        why = f"its type is {fields[name].type}, not float"
    raise UserError(
        f"--sweep {name}: {why}; only float settings that leave the program unchanged can be swept "
        f"({', '.join(traced)}); start one run for each value, then holdfast compare"
    )
