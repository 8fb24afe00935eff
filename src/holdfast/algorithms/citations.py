"""BibTeX entries of the papers behind the algorithms, from `citations.bib`."""

from __future__ import annotations

import re
from importlib import resources


def entries(text: str) -> dict[str, str]:
    """The entries of a BibTeX file by their keys. An empty line separates them."""
    found = [entry.strip() for entry in re.split(r"\n\s*\n", text.strip())]
    return {entry.partition("{")[2].partition(",")[0]: entry for entry in found}


CITATIONS = entries((resources.files(__package__) / "citations.bib").read_text(encoding="utf-8"))


def short(bibtex: str) -> str:
    """`Kostrikov et al. 2021` from a BibTeX entry."""
    authors = bibtex.split("author={")[1].split("},")[0].split(" and ")
    year = bibtex.split("year={")[1].split("}")[0]
    name = authors[0].split(",")[0]
    return f"{name}{' et al.' if len(authors) > 2 else ''.join(' and ' + a.split(',')[0] for a in authors[1:])} {year}"
