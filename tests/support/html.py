"""What a test looks at in an HTML page."""

from __future__ import annotations

import html.parser


class Outline(html.parser.HTMLParser):
    """Tags that are open at the end, everything that would be fetched, and the number of charts."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.fetched: list[str] = []
        self.charts = 0
        self.ids = 0

    @classmethod
    def of(cls, text: str) -> Outline:
        """The outline of a page, whose tags have to be closed in their order."""
        made = cls()
        made.feed(text)
        made.close()
        assert made.open == []
        return made

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        fetched = [v or "" for k, v in attrs if k in ("src", "href", "srcset", "xlink:href")]
        self.fetched += [link for link in fetched if not link.startswith("#")]
        self.ids += sum(k == "id" for k, _ in attrs)
        self.charts += tag == "svg"
        if tag != "meta":
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.handle_starttag(tag, attrs)
        self.open.pop()
