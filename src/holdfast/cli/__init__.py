"""The command line: `holdfast COMMAND ...`. Each command is a file with `main(argv) -> exit status`."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Sequence

from ..core.errors import Diverged, UserError, unknown

COMMANDS = {
    "train": "train an algorithm on logged data, or resume a run",
    "finetune": "take up an offline run and go on in an environment",
    "evaluate": "score the policies of a run in an environment",
    "data": "look at, check, collect, convert and list data sets",
    "report": "a page with the curves and tables of a run",
    "studies": "the papers' experiments, each one command",
    "algorithms": "list what can be trained",
    "cite": "BibTeX of an algorithm's paper",
    "demo": "train, score and ship a policy on data that come with the package",
}


def main(argv: Sequence[str] | None = None) -> int:
    """Run a command; its exit status: 0 well, 1 a check failed, 2 a person's mistake, 3 diverged, 130 interrupted."""
    argv = list(sys.argv[1:] if argv is None else argv)
    try:
        if not argv or argv[0] in ("-h", "--help"):
            sys.stdout.write(overview())
            return 0
        if argv[0] == "--version":
            from .. import __version__

            sys.stdout.write(f"holdfast {__version__}\n")
            return 0
        if argv[0] not in COMMANDS:
            raise unknown("command", argv[0], COMMANDS)
        return importlib.import_module(f".{argv[0]}", __package__).main(argv[1:])
    except (UserError, Diverged) as error:
        sys.stderr.write(f"holdfast: {error}\n")
        return error.exit_code
    except KeyboardInterrupt:
        sys.stderr.write(
            "holdfast: interrupted; a run goes on from its last checkpoint with `holdfast train --resume RUN`\n"
        )
        return 130
    except BrokenPipeError:
        sys.stderr.close()  # `holdfast ... | head`: nobody reads on, nothing is wrong
        return 0


def overview() -> str:
    """What `holdfast --help` prints."""
    lines = [f"  {name:<12} {text}" for name, text in COMMANDS.items()]
    return "usage: holdfast COMMAND ...   (holdfast COMMAND --help)\n\n" + "\n".join(lines) + "\n"
