"""The example of a service: it starts, answers, and refuses bad rows with one line."""

from __future__ import annotations

import ast
import importlib
import json
import shutil
import sys
import threading
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from holdfast.core.spec import Spec
from holdfast.data.feed.treatment import Fitted
from holdfast.data.tables.roles import schema_of
from holdfast.policy.policy import Policy
from support.policies import MEMORY, PICK, make
from support.valued import follower, gaussian_log

for package in ("onnx", "onnxruntime"):
    pytest.importorskip(package, reason="the extra holdfast-rl[onnx] is not installed")

SERVER = Path(__file__).resolve().parents[1] / "examples" / "serve" / "server.py"
LOG = gaussian_log(300)
ROLES = {
    "observations": {
        "age": {"missing": "mean", "value": 40.0},
        "ward": {"kind": "one-hot", "categories": ["a", "b", "c"]},
    },
    "action": {"columns": ["dose"], "kind": "discrete", "labels": [["none", "some"]]},
    "reward": "score",
}


@pytest.fixture
def module(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """The server as it lies next to an exported file."""
    shutil.copy(SERVER, tmp_path)
    follower(LOG).with_support(LOG, fallback=[0.25], rows=100).export(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    yield importlib.import_module("server")
    for name in ("server", "policy_reader"):
        sys.modules.pop(name, None)


class Client:
    """Asks a service on a free port."""

    def __init__(self, module: Any, path: Path) -> None:
        self.server = module.server(path, port=0)
        self.thread = threading.Thread(target=self.server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
        self.thread.start()

    def ask(self, body: Any, where: str = "/act") -> tuple[int, dict[str, Any]]:
        data = body if isinstance(body, bytes) or body is None else json.dumps(body).encode()
        url = f"http://127.0.0.1:{self.server.server_address[1]}{where}"
        try:
            with urllib.request.urlopen(urllib.request.Request(url, data), timeout=10) as reply:
                return reply.status, json.loads(reply.read())
        except urllib.error.HTTPError as refusal:
            with refusal:
                return refusal.code, json.loads(refusal.read())

    def close(self) -> None:
        self.server.shutdown()
        self.server.server_close()
        self.thread.join()


def test_it_answers_and_refuses(module: Any, tmp_path: Path) -> None:
    policy = follower(LOG).with_support(LOG, fallback=[0.25], rows=100)
    client = Client(module, tmp_path / "policy.onnx")
    try:
        status, found = client.ask({"rows": [[0.1], [9.0]]})
        assert status == 200
        np.testing.assert_allclose(found["actions"], policy.guarded(np.array([[0.1], [9.0]])).action, atol=1e-5)
        np.testing.assert_allclose(found["actions"][1], [0.25])
        assert found["fallback"] == [False, True]
        assert found["support"][0] > 0.05 > found["support"][1]
        status, facts = client.ask(None, "/health")
        assert (status, facts["algorithm"]) == (200, "fake")
        bad: list[tuple[Any, str]] = [
            (b"{", "the body is not JSON"),
            ([1], "expected"),
            ({"rows": []}, "at least one row"),
            ({"rows": [[1.0], [1.0, 2.0]]}, "lists of numbers of one length"),
            ({"rows": [["x"]]}, "lists of numbers"),
            ({"rows": [[1.0, 2.0]]}, "a row has shape (2,), expected (1,)"),
            ({"rows": [[1.0], [float("nan")]]}, "row 1 has a number that is not finite"),
            ({"rows": [[1e60]]}, "row 0 has a number that is not finite"),
            ({"rows": [[1.0]], "mask": [[True]]}, "takes no mask"),
            ({"rows": [[0.0]] * 10_001}, "expected at most 10000"),
        ]
        for body, text in bad:
            status, found = client.ask(body)
            assert status == 400
            assert text in found["error"]
            assert "\n" not in found["error"]
        assert client.ask({"rows": [[1.0]]}, "/elsewhere")[0] == 404
        assert client.ask({"rows": [[1.0]]})[0] == 200
    finally:
        client.close()


def test_rows_of_a_table_get_labels(module: Any, tmp_path: Path) -> None:
    schema = schema_of(ROLES, "a test")
    fitted = Fitted(np.full(schema.width, 0.5), np.full(schema.width, 2.0), action_count=2, normalized=True)
    spec = Spec((schema.width,), 2, discrete=True, masked=True)
    policy: Policy = make(PICK, spec, fitted, table=schema.to_dict())
    policy.export(tmp_path / "table.onnx")
    served = module.Served(tmp_path / "table.onnx")
    rows = [{"age": 31.5, "ward": "b"}, {"age": None, "ward": "c"}]
    found = served.answer({"rows": rows, "mask": [[True, False], [False, True]]})
    assert found == {"actions": ["none", "some"]}
    for request, text in [
        ({"rows": rows, "mask": [[True, False], [False, False]]}, "with a legal action in each"),
        ({"rows": rows}, "2 booleans for each row"),
        ({"rows": [[1.0]], "mask": [[True, True]]}, "row 0 is not a mapping"),
        ({"rows": [{"age": 3.0}], "mask": [[True, True]]}, "the column 'ward' is missing"),
        ({"rows": [{"age": 3.0, "ward": "d"}], "mask": [[True, True]]}, "expected one of"),
        ({"rows": [{"age": "old", "ward": "a"}], "mask": [[True, True]]}, "expected a number"),
        ({"rows": [{"age": 1e60, "ward": "a"}], "mask": [[True, True]]}, "not finite"),
    ]:
        with pytest.raises(module.BadRequest, match=text.replace("(", r"\(")):
            served.answer(request)


def test_files_that_it_cannot_serve_get_one_line(
    module: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    make(MEMORY).export(tmp_path / "memory.onnx")
    (tmp_path / "empty.onnx").write_bytes(b"")
    for name in ("memory.onnx", "empty.onnx", "none.onnx"):
        assert module.main([str(tmp_path / name), "--port", "0"]) == 2
        assert capsys.readouterr().err.count("\n") == 1


def test_it_needs_numpy_and_onnx_runtime_only() -> None:
    tree = ast.parse(SERVER.read_text(encoding="utf-8"))
    names = {alias.name for node in ast.walk(tree) if isinstance(node, ast.Import) for alias in node.names}
    names |= {str(node.module) for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)}
    assert {name.split(".")[0] for name in names} - sys.stdlib_module_names == {"numpy", "onnxruntime", "policy_reader"}
