"""Files that are either whole or not there: written aside and renamed, checked by sha256 when read."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
from pathlib import Path
from typing import Any

from .errors import UserError

ASIDE = ".aside-"  # prefix of files being written; whatever is left of an interrupted write bears it


def write_atomic(path: str | Path, data: bytes, kept: str = "") -> None:
    """Write `data` to `path` so that a reader finds the old file or the new one, whatever happens in between.

    Args:
        path: the file; its folder is made where missing.
        data: its whole content.
        kept: what is still safe when the write fails, for the error's line.

    Raises:
        UserError: the disk is full, read-only or otherwise refuses; nothing partial is left.
    """
    path = Path(path)
    aside = path.with_name(f"{ASIDE}{os.getpid()}-{path.name}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with open(aside, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        os.replace(aside, path)
        _sync_folder(path.parent)
    except OSError as error:
        with contextlib.suppress(OSError):
            aside.unlink(missing_ok=True)
        reason = error.strerror or str(error)
        kept = f"; {kept}" if kept else "; nothing that was there before is lost"
        raise UserError(f"cannot write {path}: {reason}{kept}: free space or choose another folder") from error


def write_json(path: str | Path, value: Any, kept: str = "") -> None:
    """Write `value` as indented JSON, atomically; NaN and infinity are refused."""
    write_atomic(path, (json.dumps(value, indent=2, allow_nan=False) + "\n").encode(), kept)


def read_json(path: str | Path) -> dict[str, Any]:
    """A JSON object from a file.

    Raises:
        UserError: the file is missing, unreadable or holds no JSON object.
    """
    try:
        value = json.loads(Path(path).read_bytes())
    except FileNotFoundError:
        raise UserError(f"{path} does not exist") from None
    except OSError as error:
        raise UserError(f"cannot read {path}: {error.strerror or error}") from error
    except ValueError as error:
        raise UserError(f"{path} is damaged: no valid JSON ({error}); restore it from a copy") from error
    if not isinstance(value, dict):
        raise UserError(f"{path} is damaged: expected a JSON object, found {type(value).__name__}")
    return value


def read_checked(path: str | Path, sha256: str | None = None) -> bytes:
    """The bytes of a file, after comparing their sha256."""
    try:
        data = Path(path).read_bytes()
    except FileNotFoundError:
        raise UserError(f"{path} does not exist") from None
    except OSError as error:
        raise UserError(f"cannot read {path}: {error.strerror or error}") from error
    if sha256 is not None and hashlib.sha256(data).hexdigest() != sha256:
        raise UserError(f"{path} is damaged: its checksum is not the one recorded when it was saved; use another copy")
    return data


def _sync_folder(folder: Path) -> None:
    if os.name == "nt":  # folders cannot be opened there, and renames are durable without it
        return
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
