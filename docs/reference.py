"""Write the pages that follow from the code: docs/reference/*.md, and docs/tutorial.md from the notebook.

`make docs` runs this first.
"""

from __future__ import annotations

import contextlib
import importlib
import inspect
import io
import os
import pkgutil
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import notebook

import holdfast
import holdfast.parts
from holdfast.algorithms import registry
from holdfast.cli import COMMANDS, main, usage
from holdfast.cli.algorithms import facts
from holdfast.cli.completion import flags
from holdfast.data.feed import columns

HERE = Path(__file__).resolve().parent
# documented with the public names, because these return or take them
MORE = (
    "holdfast.training.run.Run",
    "holdfast.evaluation.evaluate.Evaluation",
    "holdfast.runs.settings.Settings",
    "holdfast.data.sources.options.DataOptions",
    "holdfast.training.hooks.Hook",
    "holdfast.training.hooks.Progress",
)
EXAMPLE = "iql"  # the algorithm whose `train --help` is shown


def printed(call: Any) -> str:
    """What a call prints before it returns or exits."""
    out = io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.suppress(SystemExit):
        call()
    return out.getvalue().strip()


def help_of(command: str, found: Any) -> str:
    """The help of a command.

    Args:
        command: the command after `holdfast`.
        found: the dataclass with its flags, or an instance with other defaults.
    """
    default = None if isinstance(found, type) else found
    cls: type = type(found) if default is not None else found
    return printed(lambda: usage.parse(cls, f"holdfast {command}", ["--help"], default))


def sections() -> Iterator[str]:
    """The commands, each with its help."""
    yield "# Command line\n\nThe same texts as `holdfast help COMMAND`."
    yield fenced(printed(lambda: main(["--help"])))
    for name in COMMANDS:
        found = flags(name)
        yield f"## {name}\n\n{COMMANDS[name][0].upper()}{COMMANDS[name][1:]}."
        if not isinstance(found, Mapping):
            yield fenced(help_of(name, found))
            continue
        yield fenced(printed(lambda name=name: main([name, "--help"])))
        for sub in [EXAMPLE] if name == "train" else found:
            yield f"### {name} {sub}\n\n" + fenced(help_of(f"{name} {sub}", found[sub]))


def fenced(text: str) -> str:
    """A text as a block of code."""
    return f"```text\n{text}\n```"


def api() -> Iterator[str]:
    """The public names of the package, and the classes that they return and take."""
    yield "# Python\n\n`import holdfast` gives these names. The other classes are what they return and take."
    for name in holdfast.__all__:
        value = getattr(holdfast, name)
        if inspect.isclass(value) or inspect.isfunction(value):
            yield f"::: {value.__module__}.{value.__qualname__}"
    yield from (f"::: {name}" for name in MORE)


def algorithms() -> Iterator[str]:
    """The settings and presets of every algorithm, from its code."""
    yield (
        "# Settings and presets\n\nDefaults are those of the first preset. A preset is listed with its source and "
        "the values that differ from the first. What a setting means: `holdfast help train NAME`, or the page "
        "of the algorithm."
    )
    for name in registry.names():
        one = facts(name)
        first = one["settings"]
        yield f"## [`{name}`](../algorithms/{name}.md)\n\n{one['title']}. {one['paper']}."
        yield "| setting | default |\n|---|---|\n" + "\n".join(f"| `{k}` | {shown(v)} |" for k, v in first.items())
        rows = []
        for preset, values in one["presets"].items():
            changed = {k: v for k, v in values["config"].items() if v != first[k]}
            treated = {k: v for k, v in values["treatment"].items() if v not in (None, 0.0, 1.0)}
            text = ", ".join(f"{k} {shown(v)}" for k, v in (changed | treated).items())
            rows.append(f"| `{preset}` | {text} | {values['source']} |")
        yield "| preset | differs in, and treatment of the data | source |\n|---|---|---|\n" + "\n".join(rows)


def parts() -> Iterator[str]:
    """What an algorithm is composed of: the functions of the room `parts`, and the derived columns."""
    yield (
        "# Parts of algorithms\n\nWhat [a new algorithm](../add-an-algorithm.md) can use. The texts are from the code: "
        "`help(holdfast.parts.losses)` has all of them."
    )
    rows = [f"| `{name}` | {first_line(compute)} |" for name, compute in columns.DERIVED.items()]
    yield "## Derived columns\n\nNames for the argument `columns` of `Transitions`, `NStep` and `Windows`."
    yield "| column | contents |\n|---|---|\n" + "\n".join(rows)
    for found in pkgutil.iter_modules(holdfast.parts.__path__):
        module = importlib.import_module(f"holdfast.parts.{found.name}")
        own = [
            (name, value)
            for name, value in vars(module).items()
            if getattr(value, "__module__", "") == module.__name__ and not name.startswith("_") and callable(value)
        ]
        rows = [f"| `{name}` | {first_line(value)} |" for name, value in own]
        if rows:
            yield f"## `parts.{found.name}`\n\n{first_line(module)}"
            yield "| name | what it is |\n|---|---|\n" + "\n".join(rows)


def first_line(value: object) -> str:
    """The first sentence or line of a docstring, for the cell of a table."""
    return (inspect.getdoc(value) or "").partition("\n")[0].replace("|", "\\|")


def shown(value: Any) -> str:
    """A value as it is written on the command line."""
    return " ".join(map(str, value)) if isinstance(value, list) else str(value)


def write(folder: Path) -> None:
    """Write all pages.

    Args:
        folder: where to write them.
    """
    folder.mkdir(parents=True, exist_ok=True)
    pages = {"command-line": sections(), "python": api(), "settings": algorithms(), "parts": parts()}
    for name, texts in pages.items():
        (folder / f"{name}.md").write_text("\n\n".join(texts) + "\n", encoding="utf-8")


if __name__ == "__main__":
    os.environ.update(COLUMNS="100", NO_COLOR="1", JAX_PLATFORMS="cpu")
    write(Path(sys.argv[1]) if len(sys.argv) > 1 else HERE / "reference")
    if len(sys.argv) < 2:
        notebook.write_page(HERE)
