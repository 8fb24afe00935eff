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
    from .data.teams.dataset import TeamDataset
    from .data.teams.files import load_team, save_team
    from .evaluation.evaluate import Evaluation, evaluate
    from .evaluation.ope.result import OpeResult
    from .evaluation.teams import TeamEvaluation, evaluate_team
    from .policy.dynamics import Dynamics
    from .policy.policy import Policy
    from .policy.team import TeamPolicy
    from .report.compare import compare
    from .selection.departures import departures
    from .selection.explain import explain
    from .selection.ope import ope
    from .selection.race import Race, race
    from .selection.select import Selection, select
    from .training.run import Run, finetune, resume, train
    from .tuning.results import Tuning
    from .tuning.tune import resume_tune, tune

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
    "TeamDataset": "data.teams.dataset",
    "TeamEvaluation": "evaluation.teams",
    "TeamPolicy": "policy.team",
    "Treatment": "core.contract",
    "UserError": "core.errors",
    "check": "data.checks.check",
    "compare": "report.compare",
    "departures": "selection.departures",
    "evaluate": "evaluation.evaluate",
    "evaluate_team": "evaluation.teams",
    "explain": "selection.explain",
    "finetune": "training.run",
    "load_dataset": "data.sources",
    "load_team": "data.teams.files",
    "ope": "selection.ope",
    "race": "selection.race",
    "register": "algorithms.registry",
    "resume": "training.run",
    "save_team": "data.teams.files",
    "select": "selection.select",
    "resume_tune": "tuning.tune",
    "train": "training.run",
    "tune": "tuning.tune",
    "Tuning": "tuning.results",
}

__all__ = [
    "Algorithm", "Dataset", "Diverged", "Dynamics", "Evaluation", "OpeResult", "Phase", "Policy", "Preset", "Race",
    "Run", "Selection", "TeamDataset", "TeamEvaluation", "TeamPolicy", "Treatment", "Tuning", "UserError",
    "algorithm_names", "check", "compare", "departures", "evaluate", "evaluate_team", "explain", "finetune",
    "load_dataset", "load_team", "ope", "race", "register", "resume", "resume_tune", "save_team", "select", "train",
    "tune",
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
