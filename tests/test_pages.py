"""The code of the page "From Python" is run as it is printed."""

import re
from pathlib import Path

import pytest

from holdfast.algorithms import registry

PAGE = Path(__file__).parent.parent / "docs" / "from-python.md"


@pytest.fixture
def names(tmp_path, monkeypatch):
    """The names that the code of the page defines."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(registry, "_registered", {})
    found: dict = {"__name__": "__main__"}
    code = "\n\n".join(re.findall(r"```python\n(.*?)```", PAGE.read_text(encoding="utf-8"), flags=re.S))
    exec(compile(code, str(PAGE), "exec"), found)  # noqa: S102
    return found


@pytest.mark.slow
def test_from_python(names):
    assert names["shaped"].fingerprint != names["data"].fingerprint
    assert names["run"].result == names["again"].result
    assert names["last"].shape == (20,)
    assert names["log_density"].shape == (5,)
    assert names["found"].lengths.tolist() == [[20] * 3]
    assert names["found"].returns.tolist() == names["same"].returns.tolist()
    assert names["cloned"].result["algorithm"] == "my_bc"
