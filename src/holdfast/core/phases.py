"""The phases of a run, by the kind of run: offline, online or fine-tuning."""

from __future__ import annotations

from .contract import Algorithm, Phase
from .spec import Cfg


def stages(algorithm: Algorithm, cfg: Cfg, stage: str) -> tuple[Phase, ...]:
    """All phases of one kind of run, in order.

    Args:
        algorithm: the algorithm.
        cfg: an instance of its `Config`.
        stage: "offline" (learns from data), "online" (learns in an environment, without data) or "finetune" (the
            offline phases, then those that continue in an environment).
    """
    if stage == "online" and algorithm.online is not None:
        return algorithm.online(cfg)
    if stage == "finetune" and algorithm.finetune is not None:
        return (*algorithm.phases(cfg), *algorithm.finetune(cfg))
    return algorithm.phases(cfg)
