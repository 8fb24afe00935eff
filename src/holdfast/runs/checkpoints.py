"""The checkpoints of a run. A process that is killed at any moment leaves every finished checkpoint intact."""

from __future__ import annotations

import contextlib
import hashlib
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

from ..core.errors import UserError
from ..core.files import ASIDE, read_checked, read_json, write_atomic, write_json
from ..core.schema import require_types
from ..policy.storage import metadata_of, pack, unpack

T = TypeVar("T")


class Saved(NamedTuple):
    """One verified checkpoint in memory."""

    step: int
    metadata: dict[str, Any]
    data: bytes  # safetensors
    where: str  # its file, for messages

    def tree(self, like: T) -> T:
        """The saved tree, in the structure of `like`.

        Raises:
            UserError: the saved arrays have other names or shapes.
        """
        return unpack(self.data, like, self.where)[0]


class Checkpoints:
    """The newest `keep` checkpoints of a run in one folder.

    Each is a safetensors file, and a small JSON file (the pointer) that is written after it and has its name and
    checksum. A checkpoint exists as soon as its pointer exists. An interrupted save loses nothing, and the next save
    removes its partial files.
    """

    def __init__(self, folder: str | Path, keep: int = 2) -> None:
        self.folder = Path(folder)
        self.keep = keep

    def steps(self) -> list[int]:
        """Steps of the existing checkpoints, oldest first."""
        found = (re.fullmatch(r"step-(\d+)\.json", path.name) for path in self.folder.glob("step-*.json"))
        return sorted(int(match[1]) for match in found if match)

    def latest(self) -> int | None:
        """Step of the newest checkpoint; None if there is no checkpoint."""
        return max(self.steps(), default=None)

    def save(self, step: int, tree: Any, metadata: Mapping[str, Any] | None = None) -> Path:
        """Save a checkpoint, then remove the oldest ones beyond `keep`.

        Args:
            step: its step.
            tree: its arrays.
            metadata: JSON-ready facts.

        Returns:
            The path of the pointer.

        Raises:
            UserError: the disk is full or read-only; the earlier checkpoints are intact.
        """
        self._clear()
        last = self.latest()
        kept = "no checkpoint was there before" if last is None else f"the checkpoint of step {last} is kept"
        data = pack(tree, metadata)
        sha256 = hashlib.sha256(data).hexdigest()
        # named by content, so that saving a step again does not overwrite the file that the old pointer names
        file = self.folder / f"step-{step:09d}-{sha256[:12]}.safetensors"
        try:
            write_atomic(file, data, kept)
            write_json(self._pointer(step), {"format": 1, "step": step, "file": file.name, "sha256": sha256}, kept)
        except UserError:
            self._clear()
            raise
        self.prune()
        return self._pointer(step)

    def prune(self) -> None:
        """Remove the oldest checkpoints beyond `keep`: a process that was killed after a save may have left one."""
        for old in self.steps()[: -self.keep]:
            with contextlib.suppress(OSError):
                self._pointer(old).unlink()
        self._clear()

    def read(self, step: int | None = None) -> Saved:
        """Read and verify the checkpoint of `step` (None: the newest).

        Raises:
            UserError: it does not exist, or it is damaged; an older checkpoint is named.
        """
        steps = self.steps()
        if not steps:
            raise UserError(f"no checkpoint in {self.folder}: train first, or name another run")
        step = steps[-1] if step is None else step
        if step not in steps:
            raise UserError(f"no checkpoint of step {step} in {self.folder}; there are: {', '.join(map(str, steps))}")
        try:
            pointer = read_json(self._pointer(step))
            require_types(pointer, {"file": str, "sha256": str}, str(self._pointer(step)), ("file", "sha256"))
            file = self.folder / Path(pointer["file"]).name
            data = read_checked(file, pointer["sha256"])
        except UserError as error:
            raise UserError(f"{error}{self._others(step)}") from error
        return Saved(step, metadata_of(data, str(file)), data, str(file))

    def load(self, like: T, step: int | None = None) -> tuple[T, dict[str, Any]]:
        """The tree and the metadata of the checkpoint of `step` (None: the newest)."""
        saved = self.read(step)
        return saved.tree(like), saved.metadata

    def _pointer(self, step: int) -> Path:
        return self.folder / f"step-{step:09d}.json"

    def _others(self, step: int) -> str:
        older = [s for s in self.steps() if s < step]
        return f" (to resume from the checkpoint of step {older[-1]}, delete {self._pointer(step)})" if older else ""

    def _clear(self) -> None:
        """Remove files that no pointer names: of interrupted saves and of removed checkpoints."""
        used = set()
        for step in self.steps():
            try:
                used.add(str(read_json(self._pointer(step)).get("file")))
            except UserError:
                return  # a damaged pointer: keep everything for inspection
        for path in [*self.folder.glob(f"{ASIDE}*"), *self.folder.glob("step-*.safetensors")]:
            if path.name not in used:
                with contextlib.suppress(OSError):
                    path.unlink()
