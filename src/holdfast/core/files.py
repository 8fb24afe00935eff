"""Atomic files: written under another name and renamed when complete; verified by SHA-256 when read."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import stat
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from .errors import UserError

JSON = str | int | float | bool | None | list[Any] | dict[str, Any]
ASIDE = ".aside-"  # prefix of files that are being written; an interrupted write leaves such a file
LARGEST_JSON = 2**27  # bytes; safetensors allows headers of 100 MB
DEEPEST_JSON = 100  # levels; what Holdfast and Minari write has less than 10


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
    """Read a JSON object from a regular file.

    Raises:
        UserError: the file does not exist, cannot be read, or contains something else (see `parse_json`).
    """
    return object_in(read_regular(path, LARGEST_JSON), str(path))


def object_in(text: str | bytes, where: str) -> dict[str, Any]:
    """The JSON object in a text. The arguments are those of `parse_json`.

    Raises:
        UserError: as `parse_json`, or the JSON is not an object.
    """
    value = parse_json(text, where)
    if not isinstance(value, dict):
        raise UserError(f"{where} is damaged: expected a JSON object, found {type(value).__name__}")
    return value


def parse_json(text: str | bytes, where: str) -> Any:
    """Parse JSON that nobody has checked yet: from a file, or from an entry of a file.

    Args:
        text: the JSON.
        where: name of the file or of the entry, for error messages.

    Raises:
        UserError: it is not valid JSON, it is nested deeper than `DEEPEST_JSON`, it is longer than `LARGEST_JSON`, or a
            string in it cannot be encoded.
    """
    if len(text) > LARGEST_JSON:
        raise UserError(f"{where} has {len(text):,} bytes of JSON, expected at most {LARGEST_JSON:,}: use another copy")
    try:
        value = json.loads(text)
    except RecursionError:
        raise _too_deep(where) from None
    except ValueError as error:
        raise UserError(f"{where} is damaged: it is not valid JSON ({error}); restore it from a copy") from error
    level = [value]
    depth = 0
    while level:
        if depth > DEEPEST_JSON:
            raise _too_deep(where)
        inside: list[Any] = []
        for one in level:
            if isinstance(one, dict):
                inside += [*one.keys(), *one.values()]
            elif isinstance(one, list):
                inside += one
            elif isinstance(one, str) and not one.isascii() and any("\ud800" <= c <= "\udfff" for c in one):
                raise UserError(f"{where} is damaged: a text in it is not valid Unicode; restore it from a copy")
        level = inside
        depth += 1
    return value


def _too_deep(where: str) -> UserError:
    return UserError(f"{where} is damaged: its JSON has more than {DEEPEST_JSON} levels; restore it from a copy")


def expanded(path: str | Path) -> Path:
    """A path with `~` expanded.

    Raises:
        UserError: a path that the operating system cannot have: too long, of an unknown user, with a zero byte.
    """
    try:
        found = Path(path).expanduser()
        found.exists()
    except (OSError, ValueError, RuntimeError) as error:
        raise UserError(f"{str(path)[:100]!r} cannot be a path: {getattr(error, 'strerror', None) or error}") from error
    return found


def require_regular(path: str | Path) -> int:
    """Refuse anything but a regular file: reading a pipe, a socket or a device may never end.

    Returns:
        The size of the file in bytes.

    Raises:
        UserError: the file does not exist, or it is of another kind.
    """
    try:
        found = os.stat(path)
    except FileNotFoundError:
        raise UserError(f"{path} does not exist") from None
    except (OSError, ValueError) as error:
        raise UserError(f"cannot read {path}: {getattr(error, 'strerror', None) or error}") from error
    if stat.S_ISDIR(found.st_mode):
        raise UserError(f"{path} is a folder, expected a file")
    if not stat.S_ISREG(found.st_mode):
        raise UserError(f"{path} is not a regular file: pipes, sockets and devices are not read; name a file")
    return found.st_size


def read_regular(path: str | Path, most: int | None = None) -> bytes:
    """Read a regular file.

    Args:
        path: the file.
        most: the largest size in bytes; None: any.

    Raises:
        UserError: the file does not exist, is of another kind, is too large, or cannot be read.
    """
    size = require_regular(path)
    if most is not None and size > most:
        raise UserError(f"{path} has {size:,} bytes, expected at most {most:,}: use another copy")
    try:
        return Path(path).read_bytes()
    except OSError as error:
        raise UserError(f"cannot read {path}: {error.strerror or error}") from error


def read_checked(path: str | Path, sha256: str | None = None) -> bytes:
    """Read a regular file and compare its SHA-256 with `sha256`, if given.

    Raises:
        UserError: the file does not exist, cannot be read, or has another checksum.
    """
    data = read_regular(path)
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
