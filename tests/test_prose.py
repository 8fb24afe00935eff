"""Plain technical English: words of the project's old dialect stay out of the source and the documentation.

Run it as a program to check single files: `python tests/test_prose.py src/holdfast/data/split.py docs/online.md`.
"""

from __future__ import annotations

import re
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]

# pattern -> what to write instead
DIALECT = {
    r"\btold\b": "reported, printed, named, given",
    r"\blaws?\b": "distribution",
    r"\b(stands?|standing|stood)\b": "is, exists, is stored",
    r"\bmend(s|ed|ing)?\b": "fix",
    r"\bbeside\b": "next to, with, besides",
    r"\b(go|goes|went|gone|going)[ _]on\b": "continue, resume",
    r"(?<!there )(?<!There )\bis no (?!longer\b|more\b|less\b)": "is not a",
    r"(?<!there )(?<!There )\bare no (?!longer\b|more\b|less\b)": "are not",
    r"\bwhere (not|none|there|it|they)\b": "if",
    r"\b(see|sees|saw) to it\b": "ensure",
    r"\b(takes?|taken|took|taking) up\b": "continue from, load, use",
    r"\banew\b": "again",
    r"\bbegun\b": "started",
    r"\bnobody's\b": "not of interest",
    r"\bcomes? to (?!an end\b)\d": "reaches",
    r"^ +[a-z_]+: of \b": "say what the argument is",
    r"\ba int\b": "an int",
    r"\bis worth\b": "has the value",
    r"\bneither here nor there\b": "not relevant",
}
# names of other projects' things, quotations and patterns of tests
ALLOWED = (re.compile(r"[Ss]tand-alone"), re.compile(r"by law\b"), re.compile(r'"mended"'))  # "mended": a key in files


def texts() -> list[Path]:
    """The files that people read: source, documentation, README, CHANGELOG, and the files of the build."""
    found = sorted((ROOT / "src").rglob("*.py"))
    found += [p for p in sorted((ROOT / "docs").rglob("*")) if p.suffix in (".md", ".py")]
    found += sorted((ROOT / "benchmarks").glob("*.py")) + sorted((ROOT / "examples").glob("*.py"))
    names = ("README.md", "CHANGELOG.md", "CONTRIBUTING.md", "Makefile", "pyproject.toml", "benchmarks/README.md")
    return [*found, *(ROOT / name for name in names)]


def faults(path: Path) -> list[str]:
    """Lines of a file with a word of the dialect, and what to write instead."""
    found = []
    for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1):
        text = line
        for pattern in ALLOWED:
            text = pattern.sub("", text)
        text = text.replace("_", " ") if path.suffix == ".py" and not re.match(r"^ +[a-z_]+: of ", text) else text
        for pattern, better in DIALECT.items():
            match = re.search(pattern, text)
            if match:
                found.append(f"{path}:{number}: '{match[0].strip()}' (write: {better}): {line.strip()[:90]}")
    return found


def test_the_dialect_stays_out() -> None:
    found = [fault for path in texts() for fault in faults(path)]
    assert not found, f"{len(found)} lines:\n" + "\n".join(found[:60])


def test_the_check_finds_what_it_looks_for(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text("A run stands there.\nThe law of an action.\nThere is no checkpoint.\nStandard settings.\n")
    assert [fault.split(":")[1] for fault in faults(page)] == ["1", "2"]


if __name__ == "__main__":
    lines = [fault for name in sys.argv[1:] for fault in faults(Path(name))]
    sys.stdout.write("\n".join(lines) + f"\n{len(lines)} lines\n")
    sys.exit(bool(lines))
