"""What the doctor found in a data set as one self-contained HTML page. Needs the extra `report`."""

from __future__ import annotations

from pathlib import Path

from ..core.errors import printable
from ..core.files import write_atomic
from ..data.doctor.findings import Diagnosis, Finding
from . import html

TILES = {  # topic and number -> name on the page
    ("coverage", "alone"): "states without a neighbour",
    ("coverage", "action_width"): "variety of actions in a region",
    ("rewards", "informative"): "informative rewards",
    ("stitching", "crossings"): "states that episodes share",
}
TONES = {"fit": "good", "fit with care": "", "not fit": "bad"}


def write_doctor_page(found: Diagnosis, path: str | Path) -> Path:
    """Write the page atomically.

    Raises:
        UserError: the extra `report` is not installed, or the file cannot be written.
    """
    write_atomic(path, doctor_page(found).encode(errors="backslashreplace"))
    return Path(path)


def doctor_page(found: Diagnosis) -> str:
    """The HTML of the page: the verdict, the methods that suit the log, and all findings with their numbers.

    Raises:
        UserError: the extra `report` is not installed.
    """
    topics: dict[str, list[Finding]] = {}
    for finding in found.findings:
        topics.setdefault(finding.topic.capitalize(), []).append(finding)
    tiles = [
        html.Tile(label, f"{value:.1%}")
        for (topic, name), label in TILES.items()
        if (value := found.number(topic, name)) is not None
    ]
    counts = [f"{sum(f.level == level for f in found.findings)} {level}" for level in ("bad", "warn", "note", "good")]
    sentence = found.verdict.capitalize()
    return html.render(
        "doctor.html",
        title=f"Doctor: {printable(found.id)}",
        subtitle=f"{found.steps:,} steps in {found.episodes:,} episodes",
        verdict=html.Verdict(f"{sentence} for offline learning.", [", ".join(counts)], TONES[found.verdict]),
        tiles=tiles,
        advice=found.advice,
        topics=[(topic, [_shown(one) for one in some]) for topic, some in topics.items()],
    )


def _shown(finding: Finding) -> dict[str, object]:
    """A finding for the template; its numbers as text."""
    numbers = {
        name.replace("_", " "): f"{value:.4g}" if isinstance(value, float) else str(value)
        for name, value in finding.numbers.items()
    }
    return {"level": finding.level, "text": printable(finding.text), "fix": finding.fix, "numbers": numbers}
