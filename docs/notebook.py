"""Run the notebook of the tutorial and store its outputs; turn it into a page. No Jupyter is needed.

python docs/notebook.py          # runs docs/tutorial.ipynb in a temporary folder and writes its outputs into it
"""

from __future__ import annotations

import ast
import base64
import contextlib
import io
import json
import os
import sys
import tempfile
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
TUTORIAL = HERE / "tutorial.ipynb"
DPI = 80  # of the pictures in the notebook

Notebook = dict[str, Any]  # the JSON of nbformat 4


def source(cell: dict[str, Any]) -> str:
    """The text of a cell."""
    return "".join(cell["source"])


def run(notebook: Notebook, names: dict[str, Any]) -> None:
    """Run the code cells in order, in this process and folder, and store their outputs.

    Args:
        notebook: the notebook, whose outputs are replaced.
        names: the variables of the cells.
    """
    for i, cell in enumerate(cell for cell in notebook["cells"] if cell["cell_type"] == "code"):
        cell["outputs"] = run_cell(source(cell), names, i + 1)
        cell["execution_count"] = i + 1


def run_cell(code: str, names: dict[str, Any], count: int) -> list[dict[str, Any]]:
    """Run one cell, and return its outputs: what it prints, and the value of its last line.

    Args:
        code: the text of the cell.
        names: the variables of the cells.
        count: number of the cell.
    """
    tree = ast.parse(code)
    last = tree.body.pop() if tree.body and isinstance(tree.body[-1], ast.Expr) else None
    printed = io.StringIO()
    with contextlib.redirect_stdout(printed):
        exec(compile(tree, f"cell {count}", "exec"), names)
        value = None if last is None else eval(compile(ast.Expression(last.value), f"cell {count}", "eval"), names)
    outputs: list[dict[str, Any]] = []
    if printed.getvalue():
        text = printed.getvalue().splitlines(keepends=True)
        outputs.append({"name": "stdout", "output_type": "stream", "text": text})
    if value is not None:
        shown = {"data": shown_as(value), "execution_count": count, "metadata": {}, "output_type": "execute_result"}
        outputs.append(shown)
    return outputs


def shown_as(value: object) -> dict[str, Any]:
    """The forms in which a notebook shows a value, by MIME type."""
    found: dict[str, Any] = {"text/plain": repr(value).splitlines(keepends=True)}
    savefig = getattr(value, "savefig", None)
    to_html = getattr(value, "_repr_html_", None)
    if savefig:
        picture = io.BytesIO()
        savefig(picture, format="png", dpi=DPI, metadata={"Software": None})
        found["image/png"] = base64.b64encode(picture.getvalue()).decode()
    elif to_html:
        found["text/html"] = to_html().splitlines(keepends=True)
    return found


def read(path: Path) -> Notebook:
    """The notebook in a file."""
    found: Notebook = json.loads(path.read_text(encoding="utf-8"))
    return found


def write(path: Path, notebook: Notebook) -> None:
    """Write a notebook as Jupyter does."""
    path.write_text(json.dumps(notebook, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")


def page(notebook: Notebook, name: str, folder: Path) -> str:
    """The notebook as Markdown. Its pictures are written into the folder of the page.

    Args:
        notebook: the notebook with its outputs.
        name: name of the file without its suffix.
        folder: where the page will be.
    """
    parts = []
    pictures = 0
    for cell in notebook["cells"]:
        if cell["cell_type"] == "markdown":
            parts.append(source(cell))
            continue
        parts.append(f"```python\n{source(cell)}\n```")
        for output in cell["outputs"]:
            data = output.get("data", {})
            if "image/png" in data:
                pictures += 1
                (folder / f"{name}-{pictures}.png").write_bytes(base64.b64decode(data["image/png"]))
                parts.append(f"![the picture that this cell shows]({name}-{pictures}.png)")
            elif "text/html" in data:
                parts.append("".join(data["text/html"]))
            else:
                text = "".join(output.get("text", data.get("text/plain", [])))
                parts.append(f"```text\n{text.rstrip()}\n```")
    return "\n\n".join(parts) + "\n"


def write_page(folder: Path) -> None:
    """Write the page of the tutorial and its pictures.

    Args:
        folder: that of the notebook, so that its links are those of the page.
    """
    title, _, rest = page(read(TUTORIAL), TUTORIAL.stem, folder).partition("\n\n")
    note = f"This page is a notebook: [download {TUTORIAL.name}]({TUTORIAL.name})."
    (folder / f"{TUTORIAL.stem}.md").write_text(f"{title}\n\n{note}\n\n{rest}", encoding="utf-8")


def main() -> int:
    """Run the tutorial and store its outputs."""
    notebook = read(TUTORIAL)
    with tempfile.TemporaryDirectory() as folder:
        os.chdir(folder)
        run(notebook, {"__name__": "__main__"})
        os.chdir(HERE)
    write(TUTORIAL, notebook)
    return 0


if __name__ == "__main__":
    sys.exit(main())
