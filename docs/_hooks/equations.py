"""Converts equations to MathML when the pages are built. Browsers draw MathML without a script or a download."""

import html
import re

from latex2mathml.converter import convert

BLOCK = re.compile(r'<div class="arithmatex">\s*\\\[(.*?)\\\]\s*</div>', re.DOTALL)
INLINE = re.compile(r'<span class="arithmatex">\\\((.*?)\\\)</span>', re.DOTALL)


def on_page_content(content: str, **_: object) -> str:
    """The HTML of a page with its equations as MathML. MkDocs calls this for each page."""
    content = BLOCK.sub(lambda m: convert(html.unescape(m[1]), display="block"), content)
    return INLINE.sub(lambda m: convert(html.unescape(m[1])), content)
