"""Pages from Jinja2 templates: one file each, without scripts, which fetches nothing. Needs the extra `report`.

Every text is escaped by the template, because names come from files of other people. Only drawings are inserted as
they are.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, NamedTuple

from ..core.errors import UserError
from .drawing import NARROW, WIDE, Size, svg

if TYPE_CHECKING:
    from markupsafe import Markup
    from matplotlib.figure import Figure


class Drawing(NamedTuple):
    """A chart in two widths. The style sheet shows the one that fits the window, so that its text is legible."""

    wide: Markup
    narrow: Markup


class Tile(NamedTuple):
    """A number at the top of a page."""

    name: str
    value: str
    more: str = ""  # its interval


class Verdict(NamedTuple):
    """What a page says first."""

    sentence: str
    details: list[str]
    tone: str = ""  # "good", "bad" or ""


def render(template: str, **values: Any) -> str:
    """The text of a page.

    Args:
        template: name of a file in `templates/`.
        values: its variables.

    Raises:
        UserError: Jinja2 is not installed.
    """
    try:
        import jinja2
    except ImportError:
        raise UserError("pages need Jinja2: pip install 'holdfast-rl[report]'") from None
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("holdfast.report"),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    return environment.get_template(template).render(**values)


def chart(drawn: Figure, label: str) -> Markup:
    """A figure for a template, with a description for screen readers."""
    from markupsafe import Markup

    return Markup(svg(drawn, label))


def both(draw: Callable[[Size], Figure], label: str) -> Drawing:
    """A drawing in both widths."""
    return Drawing(chart(draw(WIDE), label), chart(draw(NARROW), f"{label}, narrow"))
