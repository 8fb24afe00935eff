"""What is printed when a run starts: its preset, and what the preset does not suit."""

from __future__ import annotations

from ..algorithms import registry
from ..core.networks import Networks
from .presets import OURS, TUNED, described, preset_note
from .settings import Settings


def notes_for(settings: Settings, steps: int | None) -> list[str]:
    """What to print when a run starts: the preset, and a hint if another preset suits the length of the data.

    Args:
        settings: settings of the run.
        steps: steps of the data; None: the run has no data.
    """
    algorithm = registry.get(settings.algorithm)
    name = settings.preset or ""
    if settings.source or name not in algorithm.presets:  # an older version had other names
        return []
    notes = [described(algorithm, name, settings.data, settings.env)]
    if steps is not None and TUNED in algorithm.presets and not name.startswith(OURS):
        notes.append(preset_note(settings.subject, steps) or "")
    changed = Networks.of(vars(settings)).changed
    if changed:
        texts = ", ".join(f"{name} {value}" for name, value in changed.items())
        notes.append(f"note: the networks are not those of preset {name} ({texts}): its published results do not apply")
    return [note for note in notes if note]
