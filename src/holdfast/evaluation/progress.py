"""Shows how far a run or an evaluation is: a bar in a terminal, one updating bar in a notebook, lines elsewhere."""

from __future__ import annotations

import contextlib
import html
import importlib
import sys
import time
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    from rich.console import Console

TICK = 0.2  # seconds between two drawings of a notebook's bar: each one is a message to the browser
PAUSE = 10.0  # least seconds between two lines about an evaluation: a short one writes none


class Display(Protocol):
    """Where progress is shown."""

    def say(self, text: str, kind: str = "") -> None:
        """A line of text. `kind` is "", "note" or "warning"."""

    def begin(self, total: int, done: int = 0, label: str = "", pause: float = 0.0) -> None:
        """Begin to count.

        Args:
            total: the count at the end.
            done: the count at the beginning.
            label: what is counted.
            pause: least seconds between two lines, if there is no bar.
        """

    def show(self, done: int, label: str, detail: str = "") -> None:
        """The count now, what is counted, and more about it."""

    def end(self) -> None:
        """Stop counting."""


def display() -> Display:
    """A display for the place where this process writes."""
    from rich.console import Console

    console = Console(stderr=True)
    if console.is_jupyter:
        return _Notebook()
    return _Terminal(console) if console.is_terminal else _Lines(console)


@contextlib.contextmanager
def counting(total: int, progress: bool) -> Iterator[Callable[[int, str], None]]:
    """A function that shows a count and what is counted, while the work lasts. It shows nothing without `progress`."""
    if not progress:
        yield lambda done, label: None
        return
    shown = display()
    shown.begin(total, pause=PAUSE)
    try:
        yield shown.show
    finally:
        shown.end()


STYLES = {"": "", "note": "dim", "warning": "yellow"}


class _Lines:
    """A line at every tenth of the work."""

    def __init__(self, console: Console) -> None:
        self.console = console

    def say(self, text: str, kind: str = "") -> None:
        text = f"warning: {text}" if kind == "warning" else text
        self.console.print(text, style=STYLES[kind], highlight=False, markup=False, soft_wrap=True)

    def begin(self, total: int, done: int = 0, label: str = "", pause: float = 0.0) -> None:
        self.total = total
        self.pause = pause
        self.tenths = 0
        self.last = time.monotonic()

    def show(self, done: int, label: str, detail: str = "") -> None:
        tenths = done * 10 // self.total
        now = time.monotonic()
        if tenths > self.tenths and now - self.last >= self.pause:
            self.tenths = tenths
            self.last = now
            self.say(f"{label} {done}/{self.total}  {detail}")

    def end(self) -> None:
        pass


class _Terminal(_Lines):
    """A bar with the elapsed and the remaining time."""

    def begin(self, total: int, done: int = 0, label: str = "", pause: float = 0.0) -> None:
        from rich import progress

        self.bar = progress.Progress(
            progress.TextColumn("{task.fields[label]}", markup=False),
            progress.BarColumn(bar_width=24),
            progress.MofNCompleteColumn(),
            progress.TimeElapsedColumn(),
            progress.TextColumn("left"),
            progress.TimeRemainingColumn(),
            progress.TextColumn("{task.fields[detail]}", markup=False),
            console=self.console,
        )
        self.task = self.bar.add_task("", total=total, completed=done, label=label, detail="")
        self.bar.start()

    def show(self, done: int, label: str, detail: str = "") -> None:
        self.bar.update(self.task, completed=done, label=label, detail=detail)

    def end(self) -> None:
        self.bar.stop()
        sys.stderr.flush()


class _Notebook:
    """One output of a cell, which is drawn again. It needs no widgets."""

    def __init__(self) -> None:
        self.lines: list[tuple[str, str]] = []  # kind and text
        self.total = 0
        self.state = (0, "", "")
        self.handle: Any = None
        self.last = 0.0

    def say(self, text: str, kind: str = "") -> None:
        self.lines.append((kind, text))
        self._draw()

    def begin(self, total: int, done: int = 0, label: str = "", pause: float = 0.0) -> None:
        self.total = total
        self.state = (done, label, "")
        self._draw()

    def show(self, done: int, label: str, detail: str = "") -> None:
        self.state = (done, label, detail)
        if done >= self.total or time.monotonic() - self.last >= TICK:
            self._draw()

    def end(self) -> None:
        self._draw()

    def __repr__(self) -> str:
        done, label, detail = self.state
        texts = [f"warning: {text}" if kind == "warning" else text for kind, text in self.lines]
        return "\n".join([*texts, f"{label} {done:,}/{self.total:,}  {detail}".strip()] if self.total else texts)

    def _repr_html_(self) -> str:
        done, label, detail = self.state
        parts = [
            f"<div{' style=opacity:.65' if kind == 'note' else ''}>"
            f"{'<b>warning:</b> ' if kind == 'warning' else ''}{html.escape(text)}</div>"
            for kind, text in self.lines
        ]
        if self.total:
            text = " · ".join(part for part in (label, f"{done:,} of {self.total:,}", detail) if part)
            parts.append(f"<progress value={done} max={self.total}></progress> {html.escape(text)}")
        return f"<div>{''.join(parts)}</div>"

    def _draw(self) -> None:
        self.last = time.monotonic()
        if self.handle is None:
            self.handle = importlib.import_module("IPython.display").display(self, display_id=True)
        else:
            self.handle.update(self)
