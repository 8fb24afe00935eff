"""The command line: `holdfast COMMAND ...`. Each command is a module with `main(argv) -> exit status`."""

from __future__ import annotations

import contextlib
import gc
import importlib
import io
import itertools
import os
import sys
from collections.abc import Sequence
from typing import NoReturn

from ..core.errors import Diverged, Stopped, UserError, printable, unknown

COMMANDS = {
    "train": "train an algorithm on logged data, or resume a run",
    "finetune": "continue an offline run in an environment",
    "tune": "search for settings, on one machine or on a cluster",
    "evaluate": "score the policies of a run in an environment",
    "ope": "estimate the value of a policy from logged data, without an environment",
    "select": "rank policies by estimates from logged data, or by a budget of episodes",
    "explain": "show where a policy departs from a log, or why it takes an action",
    "support": "fit how near decisions are to the log, with a fallback for those that are far",
    "export": "write a policy as one file for ONNX Runtime, StableHLO or NumPy",
    "card": "write the model card of each policy of a run",
    "data": "inspect, check, collect, convert and list data sets",
    "dynamics": "compare a learned model with logged data",
    "runs": "list the runs under a folder",
    "compare": "compare runs: one picture, one table, one page",
    "report": "write the curves and tables of a run as one page",
    "bench": "make the table of a paper: algorithms, data sets and seeds",
    "studies": "repeat experiments of the papers, each with one command",
    "algorithms": "list the algorithms, or the settings and presets of one",
    "cite": "print the BibTeX entry of an algorithm's paper",
    "demo": "train, score and ship a policy on the bundled data",
    "completion": "print the completion of this command line for a shell",
}
TRAINING = (
    "train",
    "finetune",
    "tune",
    "bench",
    "studies",
    "demo",
)  # a signal lets these commands save before they end

STOPPED = (129, 130, 143)  # statuses after SIGHUP, Ctrl-C and SIGTERM


def main(argv: Sequence[str] | None = None) -> int:
    """Run a command.

    Returns:
        The exit status: 0 success, 1 `data check` found a fatal fault, 2 a mistake of the user, 3 diverged,
        4 `ope` refused an estimate, 130, 143, 129 stopped by Ctrl-C, SIGTERM, SIGHUP.
    """
    argv = list(sys.argv[1:] if argv is None else argv)
    # imports and traces make many objects that stay, so collecting them again and again only delays the start
    gc.set_threshold(100_000, 50, 100)
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")  # names of files may hold any bytes
    try:
        if argv[:1] == ["help"]:  # holdfast help data info = holdfast data info --help
            argv = [*argv[1:], "--help"]
        if not argv or argv[0] in ("-h", "--help"):
            sys.stdout.write(overview())
            return 0
        if argv[0] == "--version":
            from .. import __version__

            sys.stdout.write(f"holdfast {__version__}\n")
            return 0
        if argv[0] not in COMMANDS:
            raise unknown("command", argv[0], COMMANDS)
        require_values(argv)
        if argv[0] not in TRAINING:
            return importlib.import_module(f".{argv[0]}", __package__).main(argv[1:])
        from ..training import stopping

        with stopping.watching(*stopping.COMMAND, exits=True):
            return importlib.import_module(f".{argv[0]}", __package__).main(argv[1:])
    except (UserError, Diverged) as error:
        sys.stderr.write(f"holdfast: {printable(str(error))}\n")
        return error.exit_code
    except Stopped as stop:
        with contextlib.suppress(OSError):  # the terminal is closed
            sys.stderr.write(f"holdfast: stopped by {stop.name}{f': {stop}' if str(stop) else ''}\n")
        return stop.exit_code
    except KeyboardInterrupt:
        sys.stderr.write("holdfast: interrupted\n")
        return 130
    except BrokenPipeError:
        sys.stderr.close()  # `holdfast ... | head` closed the pipe, which is not an error
        return 0


def command() -> NoReturn:
    """The process of the command line: `main`, and then the end of the process with its status."""
    status = main()
    if status in STOPPED:
        # a computation may still run, and the teardown of the interpreter can crash under it
        for stream in (sys.stdout, sys.stderr):
            with contextlib.suppress(OSError, ValueError):  # the terminal is closed
                stream.flush()
        os._exit(status)
    sys.exit(status)


def require_values(argv: Sequence[str]) -> None:
    """Refuse empty arguments, which are often unset variables: as a folder they would be the working folder.

    Raises:
        UserError: naming the flag.
    """
    for before, argument in itertools.pairwise(argv):
        if not argument or (argument.startswith("--") and argument.endswith("=")):
            what = before if not argument and before.startswith("--") else argument.rstrip("=") or "an argument"
            raise UserError(f"{what} is empty: give a value, or leave it out")


def overview() -> str:
    """What `holdfast --help` prints: the commands."""
    lines = [f"  {name:<12} {text}" for name, text in COMMANDS.items()]
    return "usage: holdfast COMMAND ...   (holdfast help COMMAND, holdfast --version)\n\n" + "\n".join(lines) + "\n"
