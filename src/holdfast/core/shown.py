"""How an object shows itself: one line of text, and a small table in a notebook."""

from __future__ import annotations

import html
from collections.abc import Iterable, Sequence

from .errors import printable

Facts = Sequence[tuple[str, str]]  # name and value, in the order to show


def line(kind: str, about: str) -> str:
    """`Kind(about)`, on one line."""
    return f"{kind}({printable(' '.join(about.split()))})"


def facts_html(title: str, facts: Facts) -> str:
    """A title and a table of facts. Every text is escaped."""
    rows = "".join(f"<tr><th style=text-align:left>{_e(name)}</th><td>{_e(value)}</td></tr>" for name, value in facts)
    return f"<div><b>{_e(title)}</b><table>{rows}</table></div>"


def table_html(title: str, header: Iterable[str], rows: Iterable[Iterable[str]]) -> str:
    """A title and a table. Every text is escaped."""
    head = "".join(f"<th>{_e(name)}</th>" for name in header)
    body = "".join(f"<tr>{''.join(f'<td>{_e(cell)}</td>' for cell in row)}</tr>" for row in rows)
    return f"<div><b>{_e(title)}</b><table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table></div>"


def counted(count: int, noun: str, plural: str | None = None) -> str:
    """`1 seed`, `2,000 seeds`."""
    return f"{count:,} {noun if count == 1 else plural or f'{noun}s'}"


def _e(text: str) -> str:
    return html.escape(printable(text))
