"""Atomic files: written under another name and renamed when complete; verified by SHA-256 when read."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from .errors import UserError

ASIDE = ".aside-"  # prefix of files that are being written; an interrupted write leaves such a file


def write_atomic(path: str | Path, data: bytes, kept: str = "") -> None:
    """Write a file atomically: a reader finds the old file or the new one, never a part of it.

    Args:
        path: the file; its folder is made if it does not exist.
        data: the whole content.
        kept: what is still safe if the write fails, for the error message.

    Raises:
        UserError: the disk is full or read-only; no partial file is left.
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
        kept = f"; {kept}" if kept else "; no earlier file is lost"
        raise UserError(f"cannot write {path}: {reason}{kept}: free space or choose another folder") from error


def write_json(path: str | Path, value: Mapping[str, Any], kept: str = "") -> None:
    """Write an object as indented JSON, atomically.

    Raises:
        UserError: the disk is full or read-only.
        ValueError: a number is NaN or infinite.
    """
    write_atomic(path, (json.dumps(value, indent=2, allow_nan=False) + "\n").encode(), kept)


def read_json(path: str | Path) -> dict[str, Any]:
    """Read a JSON object.

    Raises:
        UserError: the file does not exist, cannot be read, or contains something else.
    """
    try:
        value = json.loads(Path(path).read_bytes())
    except FileNotFoundError:
        raise UserError(f"{path} does not exist") from None
    except OSError as error:
        raise UserError(f"cannot read {path}: {error.strerror or error}") from error
    except ValueError as error:
        raise UserError(f"{path} is damaged: it is not valid JSON ({error}); restore it from a copy") from error
    if not isinstance(value, dict):
        raise UserError(f"{path} is damaged: expected a JSON object, found {type(value).__name__}")
    return value


def read_checked(path: str | Path, sha256: str | None = None) -> bytes:
    """Read a file and compare its SHA-256 with `sha256`, if given.

    Raises:
        UserError: the file does not exist, cannot be read, or has another checksum.
    """
    try:
        data = Path(path).read_bytes()
    except FileNotFoundError:
        raise UserError(f"{path} does not exist") from None
    except OSError as error:
        raise UserError(f"cannot read {path}: {error.strerror or error}") from error
    if sha256 is not None and hashlib.sha256(data).hexdigest() != sha256:
        raise UserError(
            f"{path} is damaged: its checksum differs from the one recorded when it was saved; use another copy"
        )
    return data


def _sync_folder(folder: Path) -> None:
    if os.name == "nt":  # folders cannot be opened there, and renames are durable without it
        return
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
