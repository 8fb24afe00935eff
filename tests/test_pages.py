"""The code of pages is run as it is printed."""

import re
from pathlib import Path

import pytest

from holdfast.algorithms import registry

DOCS = Path(__file__).parent.parent / "docs"


@pytest.fixture
def run_page(tmp_path, monkeypatch):
    """Runs the code of a page and returns the names that it defines."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(registry, "_registered", {})

    def run(page: str) -> dict:
        found: dict = {"__name__": "__main__"}
        text = (DOCS / page).read_text(encoding="utf-8")
        code = "\n\n".join(re.findall(r"```python\n(.*?)```", text, flags=re.S))
        exec(compile(code, page, "exec"), found)  # noqa: S102
        return found

    return run


@pytest.mark.slow
def test_from_python(run_page):
    names = run_page("from-python.md")
    assert names["shaped"].fingerprint != names["data"].fingerprint
    assert names["run"].result == names["again"].result
    assert names["last"].shape == (20,)
    assert names["log_density"].shape == (5,)
    assert names["found"].lengths.tolist() == [[20] * 3]
    assert names["found"].returns.tolist() == names["same"].returns.tolist()
    assert names["cloned"].result["algorithm"] == "my_bc"


@pytest.mark.slow
def test_own_networks(run_page):
    names = run_page("own-networks.md")
    assert names["wide"].result["networks"]["critic_hidden"] == [32]
    assert names["mixed"].result["networks"]["network"] == {"critic": "object/Residual"}
    assert names["seen"].policy().spec.encoder == "object/Features"
