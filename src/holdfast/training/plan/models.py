"""The model that a run takes from another run, and the rule by which its rollouts end."""

from __future__ import annotations

from ...core.contract import Algorithm
from ...core.errors import UserError
from ...core.spec import Cfg
from ...data.dataset import Dataset
from ...data.feed.treatment import Fitted, same_treatment
from ...dynamics.ensemble import Ensemble
from ...dynamics.termination import Rule, chosen, rule_for
from ...policy.dynamics import Dynamics
from ...runs.settings import Settings


def rule_of(algorithm: Algorithm, cfg: Cfg, dataset: Dataset, fitted: Fitted, env: str | None) -> Rule | None:
    """The known rule by which rollouts in a model end; None if the run has no model, or no known rule.

    Raises:
        UserError: see `termination.chosen`.
    """
    if algorithm.dynamics is None:
        return None
    return chosen(cfg.termination, rule_for(dataset.env_id, env, fitted), dataset)


def model_of(
    settings: Settings,
    algorithm: Algorithm,
    cfg: Cfg,
    dataset: Dataset,
    fitted: Fitted,
    fingerprint: str,
    rule: Rule | None,
) -> Ensemble | None:
    """The model that `settings.dynamics` names; None if it names none.

    Args:
        settings: settings of the run.
        algorithm: the algorithm.
        cfg: its config.
        dataset: the data that are learned from.
        fitted: their treatment.
        fingerprint: fingerprint of the whole data set.
        rule: the known rule of ends, if the run has one.

    Raises:
        UserError: the algorithm learns no model, or the model is of other data, another treatment or other shapes, or
            has not learned the ends that the run needs.
    """
    if settings.dynamics is None:
        return None
    if algorithm.dynamics is None:
        raise UserError(f"{algorithm.name} learns no model of the environment: leave --dynamics out")
    found = Dynamics.load(settings.dynamics)
    shapes = (found.spec.obs, found.spec.action, found.spec.discrete)
    if shapes != (dataset.spec.obs, dataset.spec.action, dataset.spec.discrete):
        raise UserError(
            f"--dynamics {settings.dynamics} takes observations {found.spec.obs} and {found.spec.action} actions, "
            f"{dataset.id} has {dataset.spec.obs} and {dataset.spec.action}: name a model of these data"
        )
    if found.info.get("dataset_fingerprint") != fingerprint:
        raise UserError(
            f"--dynamics {settings.dynamics} was trained on {found.info.get('dataset')}, not on these rows of "
            f"{dataset.id}: name a model of these data"
        )
    if not same_treatment(found.fitted, fitted):
        raise UserError(
            f"--dynamics {settings.dynamics} was trained with another treatment of the data: name a model with the "
            "same --normalize-obs, --return-scale, --reward-scale and --reward-shift"
        )
    if ends_of(cfg, rule) == "learned" and not found.info.get("learned_ends"):
        raise UserError(f"--dynamics {settings.dynamics} has learned no ends: use --termination known or never")
    return found.model


def ends_of(cfg: Cfg, rule: Rule | None) -> str:
    """How rollouts end: known, learned or never."""
    if rule is not None:
        return "known"
    return "learned" if cfg.termination in ("auto", "learned") else "never"
