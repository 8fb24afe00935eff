"""Episodes that a run does not learn from, so that its policies can be estimated on them."""

from __future__ import annotations

from ...data.dataset import Dataset
from ...runs.settings import Settings

HOLDOUT = 0.2  # of the episodes, for --stop-when estimate:N


def divided(settings: Settings, whole: Dataset) -> tuple[Dataset, Dataset | None]:
    """The episodes that are learned from, and those that are kept for estimates; None: all are learned from.

    Args:
        settings: settings of the run.
        whole: the data set.

    Raises:
        UserError: fewer than two episodes.
    """
    if settings.rule[0] != "estimate":
        return whole, None
    share = settings.held_out or HOLDOUT
    parts = whole.split({"train": 1 - share, "held out": share}, settings.seed)
    return parts["train"], parts["held out"]
