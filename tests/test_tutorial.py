"""The notebook of the tutorial: its cells run, and its stored outputs are those of a run."""

from __future__ import annotations

import importlib.util
import re
from pathlib import Path
from types import ModuleType

import pytest

DOCS = Path(__file__).resolve().parents[1] / "docs"


@pytest.fixture(scope="module")
def script() -> ModuleType:
    """docs/notebook.py as a module."""
    spec = importlib.util.spec_from_file_location("docs_notebook", DOCS / "notebook.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def replaced(script: ModuleType, changes: dict[str, str]) -> dict:
    """The notebook with some texts of its cells replaced; each must occur."""
    notebook = script.read(script.TUTORIAL)
    for text, other in changes.items():
        assert any(text in script.source(cell) for cell in notebook["cells"]), text
        for cell in notebook["cells"]:
            cell["source"] = [script.source(cell).replace(text, other)]
    return notebook


LESS = {"steps=4000": "steps=20", "eval_every=1000": "eval_every=10", "eval_episodes=10": "eval_episodes=1"}
LESS |= {"episodes=20": "episodes=2", "seeds=3": "seeds=2"}


def test_the_cells_run_with_a_method_that_compiles_fast(
    script: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    small = {'"iql"': '"bc"', 'preset="tuned_100k"': 'config={"hidden": (16,)}, progress=False'}
    notebook = replaced(script, LESS | small)
    notebook["cells"] = [cell for cell in notebook["cells"] if "run.finetune" not in script.source(cell)]
    names: dict = {"__name__": "__main__"}
    script.run(notebook, names)
    assert names["run"].result["steps"] == 20
    shown = [output for cell in notebook["cells"] for output in cell.get("outputs", [])]
    assert any("image/png" in output.get("data", {}) for output in shown)
    text = script.page(notebook, "page", tmp_path)
    assert "![the picture" in text
    assert (tmp_path / "page-1.png").read_bytes().startswith(b"\x89PNG")
    assert "rewards are NaN or infinite, the first is nan (episode 0, row 100, rewards)" in text  # the damaged copy


@pytest.mark.slow
def test_all_cells_run(script: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    names: dict = {"__name__": "__main__"}
    script.run(replaced(script, {**LESS, "steps=600, eval_every=200": "steps=20, eval_every=10"}), names)
    assert names["switch"]["return_before"] < 0


def test_the_stored_outputs_are_complete(script: ModuleType) -> None:
    notebook = script.read(script.TUTORIAL)
    code = [cell for cell in notebook["cells"] if cell["cell_type"] == "code"]
    assert [cell["execution_count"] for cell in code] == list(range(1, len(code) + 1))
    assert all(cell["outputs"] for cell in code)
    text = script.TUTORIAL.read_text(encoding="utf-8")
    assert len(text) < 150_000
    assert not re.search(r"/(home|root|tmp|Users|work)/", text)
    assert len({cell["id"] for cell in notebook["cells"]}) == len(notebook["cells"])
    for target in re.findall(r"\]\(([\w.-]+\.md)\)", text):
        assert (DOCS / target).is_file(), target
