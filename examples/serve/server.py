"""A small HTTP service for an exported policy: rows in, actions and their support out. It needs NumPy and ONNX Runtime.

    holdfast export runs/iql --out examples/serve      # writes policy.onnx and policy_reader.py here
    python examples/serve/server.py examples/serve/policy.onnx --port 8000
    curl -d '{"rows": [[0.1, 0.2, 0.3]]}' localhost:8000/act

A row is a list of numbers, or a mapping from column to value if the policy learned from a table. It needs neither
JAX nor Holdfast.
"""

from __future__ import annotations

import argparse
import json
import sys
import threading
from collections.abc import Mapping, Sequence
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import policy_reader

MOST_BYTES = 4_000_000  # of a request
MOST_ROWS = 10_000


class BadRequest(ValueError):
    """A request that is refused with one line."""


class Served:
    """A policy in ONNX Runtime.

    Attributes:
        facts: the description in the file.
    """

    def __init__(self, path: str | Path, threads: int = 1) -> None:
        """
        Args:
            path: what `holdfast export` wrote.
            threads: threads of one call.

        Raises:
            BadRequest: the policy has a memory, or its observations are not one vector.
        """
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads
        options.inter_op_num_threads = 1
        self.session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
        self.facts = json.loads(self.session.get_modelmeta().custom_metadata_map["holdfast"])
        self.inputs = {port["name"]: port for port in self.facts["inputs"]}
        self.outputs = [port["name"] for port in self.facts["outputs"]]
        self.generator = np.random.default_rng()
        self.lock = threading.Lock()  # of the generator
        noise = set(self.facts["noise"])
        unknown = self.inputs.keys() - noise - {"observation", "row", "mask"}
        if unknown:
            raise BadRequest(f"{path} takes {', '.join(sorted(unknown))}, which this service does not keep")

    def answer(self, request: Any) -> dict[str, Any]:
        """Actions for the rows of a request, with the outputs of the score of support if the file has them.

        Raises:
            BadRequest: rows or masks that the policy cannot take.
        """
        if not isinstance(request, Mapping) or not isinstance(request.get("rows"), list) or not request["rows"]:
            raise BadRequest('expected {"rows": [row, ...]} with at least one row')
        if len(request["rows"]) > MOST_ROWS:
            raise BadRequest(f"{len(request['rows'])} rows, expected at most {MOST_ROWS}")
        given = self._observations(request["rows"])
        count = len(request["rows"])
        if "mask" in self.inputs:
            given["mask"] = self._mask(request.get("mask"), count)
        elif "mask" in request:
            raise BadRequest("this policy takes no mask: leave it out")
        with self.lock:
            given |= policy_reader.noise(self.facts, count, self.generator)
        found = dict(zip(self.outputs, self.session.run(self.outputs, given), strict=True))
        answer = {"actions": self._labelled(found.pop("action"))}
        return answer | {name: value.tolist() for name, value in found.items()}

    def _observations(self, rows: Sequence[Any]) -> dict[str, np.ndarray]:
        if "row" in self.inputs:
            wrong = next((i for i, row in enumerate(rows) if not isinstance(row, Mapping)), None)
            if wrong is not None:
                raise BadRequest(f"row {wrong} is not a mapping from column to value")
            try:
                numbers = policy_reader.numbers(self.facts, rows)
            except (ValueError, OverflowError) as fault:
                raise BadRequest(str(fault)) from None
            self._require_finite(np.where(np.isnan(numbers), 0.0, numbers))  # NaN is a missing value
            return {"row": numbers}
        port = self.inputs["observation"]
        try:
            with np.errstate(over="ignore", invalid="ignore"):  # the check below refuses what becomes infinite
                numbers = np.asarray(rows, port["dtype"])
        except (ValueError, TypeError, OverflowError):
            raise BadRequest("the rows are not lists of numbers of one length") from None
        wanted = tuple(port["shape"][1:])
        if numbers.shape[1:] != wanted:
            raise BadRequest(f"a row has shape {numbers.shape[1:]}, expected {wanted}")
        self._require_finite(numbers)
        return {"observation": numbers}

    def _require_finite(self, numbers: np.ndarray) -> None:
        bad = ~np.isfinite(numbers.reshape(len(numbers), -1)).all(1)
        if bad.any():
            raise BadRequest(f"row {int(bad.argmax())} has a number that is not finite in float32")

    def _mask(self, mask: Any, count: int) -> np.ndarray:
        actions = self.facts["action"]["count"]
        try:
            legal = np.asarray(mask, bool)
        except (ValueError, TypeError):
            legal = np.zeros(0, bool)
        if mask is None or legal.shape != (count, actions) or not legal.any(1).all():
            raise BadRequest(f"mask: expected {actions} booleans for each row, with a legal action in each")
        return legal

    def _labelled(self, actions: np.ndarray) -> list[Any]:
        """Actions as labels of the table if there are any."""
        labels = self.facts["action"].get("labels")
        if labels is None:
            return actions.tolist()
        if actions.ndim == 1:
            return [labels[0][code] for code in actions.tolist()]
        return [[known[code] for known, code in zip(labels, row, strict=True)] for row in actions.tolist()]


class Handler(BaseHTTPRequestHandler):
    """`POST /act` answers with actions; `GET /health` with the description of the policy."""

    served: Served
    protocol_version = "HTTP/1.1"
    timeout = 30  # seconds for a slow client

    def do_GET(self) -> None:
        if self.path != "/health":
            self.reply(404, {"error": "expected GET /health or POST /act"})
            return
        facts = self.served.facts
        names = ("algorithm", "step", "seed", "inputs", "outputs", "action", "support")
        self.reply(200, {"status": "ok", **{name: facts[name] for name in names if name in facts}})

    def do_POST(self) -> None:
        length = self.headers.get("Content-Length", "")
        if not length.isdigit() or int(length) > MOST_BYTES:
            self.close_connection = True
            self.reply(413, {"error": f"expected a body of at most {MOST_BYTES} bytes with its Content-Length"})
            return
        body = self.rfile.read(int(length))
        if self.path != "/act":
            self.reply(404, {"error": "expected GET /health or POST /act"})
            return
        try:
            request = json.loads(body)
            self.reply(200, self.served.answer(request))
        except (json.JSONDecodeError, UnicodeDecodeError, RecursionError):
            self.reply(400, {"error": 'the body is not JSON: expected {"rows": [row, ...]}'})
        except BadRequest as fault:
            self.reply(400, {"error": " ".join(str(fault).split())})

    def reply(self, status: int, value: Mapping[str, Any]) -> None:
        """Answer with JSON."""
        data = json.dumps(value, allow_nan=False).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def log_message(self, format: str, *args: Any) -> None:
        """Requests are not logged: rows may be confidential."""


def server(path: str | Path, host: str = "127.0.0.1", port: int = 8000, threads: int = 1) -> ThreadingHTTPServer:
    """A service that is ready; `serve_forever` runs it. Port 0 takes a free one."""
    handler = type("PolicyHandler", (Handler,), {"served": Served(path, threads)})
    return ThreadingHTTPServer((host, port), handler)


def main(argv: Sequence[str] | None = None) -> int:
    """Serve until Ctrl-C."""
    parser = argparse.ArgumentParser(description="Serve an exported policy over HTTP.")
    parser.add_argument("policy", type=Path, help="policy.onnx, written by holdfast export")
    parser.add_argument("--host", default="127.0.0.1", help="address to listen on")
    parser.add_argument("--port", type=int, default=8000, help="0: a free one")
    parser.add_argument("--threads", type=int, default=1, help="threads of one call")
    args = parser.parse_args(argv)
    try:
        made = server(args.policy, args.host, args.port, args.threads)
    except Exception as fault:  # ONNX Runtime's errors have no common class
        sys.stderr.write(f"server: {str(fault).splitlines()[0]}\n")
        return 2
    with made:
        host, port = made.server_address[:2]
        sys.stdout.write(f"serving {args.policy} on http://{host}:{port}/act\n")
        sys.stdout.flush()
        try:
            made.serve_forever()
        except KeyboardInterrupt:
            return 0
    return 0


if __name__ == "__main__":
    sys.exit(main())
