"""Errors that a user can fix, each with a message of one line. This module does not import jax, which is slow."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from .synonyms import meant


class UserError(Exception):
    """A user's mistake. The message is one line: what is wrong, where, what was expected, what to do."""

    exit_code = 2


class Diverged(Exception):
    """A metric left the finite numbers: the run stops and the last good checkpoint is kept."""

    exit_code = 3


class Stopped(KeyboardInterrupt):
    """A signal ended the work. `str` says what is saved and how to resume; it may be empty."""

    NAMES = {2: "Ctrl-C", 15: "SIGTERM", 1: "SIGHUP"}

    def __init__(self, signum: int, text: str = "") -> None:
        """
        Args:
            signum: number of the signal.
            text: what is saved, and how to resume.
        """
        super().__init__(text)
        self.signum = signum
        self.exit_code = 128 + signum
        self.name = self.NAMES.get(signum, f"signal {signum}")


def one_line(error: BaseException) -> str:
    """The message of an exception on one line; the name of its type if the message is empty."""
    return " ".join(str(error).split()) or type(error).__name__


def printable(text: str) -> str:
    """A text for the terminal: line breaks and control characters, which a name in a file may hold, are escaped."""
    return "".join(c if c.isprintable() else ascii(c)[1:-1] for c in text)


def nearest(name: str, known: Iterable[str]) -> str:
    """`"; did you mean 'x'?"` for the known names that were probably meant by `name`, or an empty string."""
    found = [f"'{candidate}'" for candidate in meant(name, known)]
    return f"; did you mean {either(found)}?" if found else ""


def either(names: Sequence[str]) -> str:
    """`a`, `a or b`, `a, b or c`."""
    return " or ".join(part for part in (", ".join(names[:-1]), names[-1]) if part)


def unknown(what: str, name: str, known: Iterable[str]) -> UserError:
    """The error for a name that is not among `known`, with the nearest one or, failing that, all of them."""
    known = sorted(known)
    hint = nearest(name, known) or f"; known: {', '.join(known)}"
    return UserError(f"unknown {what} '{name}'{hint}")


def require_known(names: Iterable[str], what: str, known: Iterable[str]) -> None:
    """Refuse a name that is not known.

    Raises:
        UserError: names the nearest known name.
    """
    known = set(known)
    for name in names:
        if name not in known:
            raise unknown(what, name, known)
