"""Holdfast: offline and offline-to-online reinforcement learning in JAX.

The names below load their modules when they are first used, so that `import holdfast` is quick.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from .core.version import __version__ as __version__

if TYPE_CHECKING:
    from .algorithms.registry import register
    from .core.contract import Algorithm, Phase, Preset, Treatment
    from .core.errors import Diverged, UserError
    from .data.checks.check import check
    from .data.dataset import Dataset
    from .data.sources import load_dataset
    from .evaluation.evaluate import Evaluation, evaluate
    from .evaluation.ope.result import OpeResult
    from .policy.dynamics import Dynamics
    from .policy.policy import Policy
    from .report.compare import compare
    from .selection.departures import departures
    from .selection.explain import explain
    from .selection.ope import ope
    from .selection.race import Race, race
    from .selection.select import Selection, select
    from .training.run import Run, finetune, resume, train

_HOMES = {
    "Algorithm": "core.contract",
    "Dataset": "data.dataset",
    "Diverged": "core.errors",
    "Dynamics": "policy.dynamics",
    "Evaluation": "evaluation.evaluate",
    "OpeResult": "evaluation.ope.result",
    "Phase": "core.contract",
    "Policy": "policy.policy",
    "Preset": "core.contract",
    "Race": "selection.race",
    "Run": "training.run",
    "Selection": "selection.select",
    "Treatment": "core.contract",
    "UserError": "core.errors",
    "check": "data.checks.check",
    "compare": "report.compare",
    "departures": "selection.departures",
    "evaluate": "evaluation.evaluate",
    "explain": "selection.explain",
    "finetune": "training.run",
    "load_dataset": "data.sources",
    "ope": "selection.ope",
    "race": "selection.race",
    "register": "algorithms.registry",
    "resume": "training.run",
    "select": "selection.select",
    "train": "training.run",
}

__all__ = [
    "Algorithm", "Dataset", "Diverged", "Dynamics", "Evaluation", "OpeResult", "Phase", "Policy", "Preset", "Race",
    "Run", "Selection", "Treatment", "UserError", "algorithm_names", "check", "compare", "departures", "evaluate",
    "explain", "finetune", "load_dataset", "ope", "race", "register", "resume", "select", "train",
]  # fmt: skip


def algorithm_names() -> list[str]:
    """Names of all algorithms, as `train` takes them. (`holdfast.algorithms` is the package with their modules.)"""
    from .algorithms import registry

    return registry.names()


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'holdfast' has no attribute '{name}'")
    return getattr(importlib.import_module(f".{_HOMES[name]}", __name__), name)


def __dir__() -> list[str]:
    return sorted([*__all__, "__version__"])
