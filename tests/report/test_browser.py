"""Pages in a headless browser: they fit windows of a telephone and of a desktop, and their text is legible."""

from __future__ import annotations

import html
import json
import re
import shutil
import subprocess
from pathlib import Path

import pytest

from holdfast.algorithms import registry
from holdfast.report import compare_page
from holdfast.report.compare import compare
from holdfast.report.page import page
from holdfast.runs.read import read_run
from support.evidence import departed, estimated, run_with
from support.made_runs import make_run
from support.policies import FAKE

BROWSER = next((path for name in ("chromium", "google-chrome") if (path := shutil.which(name))), None)
WIDTHS = (390, 800, 1440)
# for each frame: width of the window, width of the page, size of the smallest text of a visible chart, requests
MEASURE = """
addEventListener("load", () => setTimeout(() => {
  const found = [...document.querySelectorAll("iframe")].map((frame) => {
    const page = frame.contentDocument, sizes = [];
    for (const svg of page.querySelectorAll("svg")) {
      const shown = svg.getBoundingClientRect().width;
      if (!shown) continue;
      const scale = shown / svg.viewBox.baseVal.width;
      for (const text of svg.querySelectorAll("text"))
        sizes.push(scale * parseFloat(frame.contentWindow.getComputedStyle(text).fontSize));
    }
    const requests = frame.contentWindow.performance.getEntriesByType("resource").length;
    return [frame.clientWidth, page.documentElement.scrollWidth, Math.min(...sizes), requests];
  });
  document.body.replaceChildren(JSON.stringify(found));
}, 200));
"""


@pytest.mark.skipif(BROWSER is None, reason="no Chromium")
def test_pages_fit_the_window_and_fetch_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(registry, "_registered", {"fake": FAKE})
    long = "an-environment-with-a-long-name-" * 3
    one = make_run(tmp_path / "a", (0.512345, 0.7, 0.9, 0.95), data="bundled/pendulum-mixed", environment=long)
    two = make_run(tmp_path / "b", algorithm="td3_bc", data="bundled/pendulum-mixed")
    three = run_with(tmp_path / "c", estimated(), departed())
    pages = [page(read_run(one)), page(read_run(two)), page(read_run(three)),
             compare_page.page(compare(one, two, three))]  # fmt: skip
    frames = [f'<iframe width={width} height=900 style="border:0" srcdoc="{html.escape(text)}"></iframe>'
              for text in pages for width in WIDTHS]  # fmt: skip
    (tmp_path / "all.html").write_text(f"<body>{''.join(frames)}<script>{MEASURE}</script></body>", encoding="utf-8")
    options = ("--headless", "--no-sandbox", "--disable-gpu", "--virtual-time-budget=5000", "--dump-dom",
               f"--user-data-dir={tmp_path / 'profile'}")  # fmt: skip
    done = subprocess.run([str(BROWSER), *options, (tmp_path / "all.html").as_uri()], capture_output=True, text=True,
                          timeout=120, check=True)  # fmt: skip
    found = re.search(r"<body[^>]*>(\[\[.*\]\])</body>", done.stdout)
    assert found, done.stdout[-500:]
    measured = json.loads(found[1])
    assert [row[0] for row in measured] == [*WIDTHS] * len(pages)
    for window, whole, smallest, requests in measured:
        assert whole <= window
        assert smallest >= 10.5
        assert requests == 0
