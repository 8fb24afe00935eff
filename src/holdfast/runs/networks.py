"""Checks of the settings of networks, see `core.networks`."""

from __future__ import annotations

from ..core.errors import unknown
from ..core.networks import ALL, ROLES, Networks
from ..parts.layers import ACTIVATIONS, NORMS


def faults(settings: Networks) -> list[str]:
    """All settings of networks that are not among the known names, or out of range; one text each."""
    found = []
    if settings.activation is not None and settings.activation not in ACTIVATIONS:
        found.append(str(unknown("activation (--activation)", settings.activation, ACTIVATIONS)))
    if settings.layer_norm is not None and settings.layer_norm not in NORMS:
        found.append(str(unknown("position of LayerNorm (--layer-norm)", settings.layer_norm, NORMS)))
    for role in ROLES:
        widths = getattr(settings, f"{role}_hidden")
        if not all(isinstance(width, int) and 0 < width < 2**20 for width in widths):
            found.append(f"--{role}-hidden is {list(widths)}, expected widths of layers, such as 256,256")
    roles = (*ROLES, ALL)
    found += [str(unknown("role of a network", role, roles)) for role, _ in settings.network if role not in roles]
    return found
