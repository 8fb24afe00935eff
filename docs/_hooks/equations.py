"""Equations become MathML while the pages are built: browsers draw it themselves, without a script or the network."""

import html
import re

from latex2mathml.converter import convert

BLOCK = re.compile(r'<div class="arithmatex">\s*\\\[(.*?)\\\]\s*</div>', re.DOTALL)
INLINE = re.compile(r'<span class="arithmatex">\\\((.*?)\\\)</span>', re.DOTALL)


def on_page_content(content: str, **_: object) -> str:
    """MkDocs calls this with each page's HTML."""
    content = BLOCK.sub(lambda m: convert(html.unescape(m[1]), display="block"), content)
    return INLINE.sub(lambda m: convert(html.unescape(m[1])), content)
