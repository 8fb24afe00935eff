"""The process of a contestant: one request per line on standard input, one answer per line on standard output."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable
from typing import Any


def serve(make: Callable[[], Any]) -> None:
    """Answer `{"do": METHOD, ...}` with that method of the object that `make` returns.

    Everything that libraries print goes to standard error.
    """
    replies = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    worker = make()
    for line in sys.stdin:
        request = json.loads(line)
        replies.write(json.dumps(getattr(worker, request.pop("do"))(**request)) + "\n")
        replies.flush()


def versions(library: Any, torch: Any) -> dict[str, Any]:
    """Versions and threads of a peer that uses PyTorch."""
    versions = {library.__name__: library.__version__, "torch": torch.__version__}
    return {**versions, "python": sys.version.split()[0], "threads": torch.get_num_threads()}
