"""What differs between the settings of two runs."""

from __future__ import annotations

import dataclasses
from typing import Any

from .settings import Settings

# settings that say how a run is executed, described or found, and not what it computes
EXECUTION = (
    "allow", "block", "data_options", "devices", "in_memory", "loggers", "overlap", "preset", "save_every",
    "source", "worker_timeout", "workers",
)  # fmt: skip


def differences(found: Settings, wanted: Settings) -> list[str]:
    """What differs in what two runs compute, one text for each setting."""
    pairs: list[tuple[str, Any, Any]] = []
    for field in dataclasses.fields(Settings):
        one = getattr(found, field.name)
        other = getattr(wanted, field.name)
        if field.name in ("config", "treatment"):
            pairs += [(name, one.get(name), other.get(name)) for name in other]
        elif field.name not in EXECUTION:
            pairs.append((field.name, one, other))
    return [f"{name} {one} instead of {other}" for name, one, other in pairs if one != other]
