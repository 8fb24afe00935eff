"""The values of flags that are written as NAME=VALUE."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from ..core.errors import UserError
from ..core.networks import ALL


def parse_sweep(texts: Sequence[str]) -> dict[str, list[float]]:
    """`["expectile=0.5,0.7", ...]` as values by name.

    Raises:
        UserError: an entry that is not NAME=NUMBER,NUMBER...
    """
    found: dict[str, list[float]] = {}
    for text in texts:
        name, _, values = text.partition("=")
        name = name.strip().lstrip("-").replace("-", "_")
        try:
            found[name] = [float(value) for value in values.split(",")]
        except ValueError:
            raise UserError(f"--sweep {text}: expected NAME=NUMBER,NUMBER... (--sweep expectile=0.5,0.7,0.9)") from None
    return found


def parse_inputs(texts: Sequence[str]) -> dict[str, str]:
    """`["policy=runs/bc-1", ...]` as folders by name, as absolute paths.

    Raises:
        UserError: an entry that is not NAME=FOLDER.
    """
    found: dict[str, str] = {}
    for text in texts:
        name, equals, folder = text.partition("=")
        if not (name.strip() and equals and folder.strip()):
            raise UserError(f"--input {text}: expected NAME=FOLDER (--input policy=runs/bc-1)")
        found[name.strip()] = str(Path(folder.strip()).expanduser().resolve())
    return found


def parse_networks(texts: Sequence[str]) -> dict[str, str]:
    """`["critic=my_nets:tower", ...]` as builders by role; without a role, for all roles."""
    pairs = [text.rpartition("=") for text in texts]
    return {role.strip() or ALL: name.strip() for role, _, name in pairs}
