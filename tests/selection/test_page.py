"""The code of the page on off-policy evaluation runs as it is printed."""

import re
from pathlib import Path

import pytest

from holdfast.algorithms import registry
from holdfast.evaluation.ope.estimate import ESTIMATORS

PAGE = Path(__file__).parents[2] / "docs" / "ope.md"


@pytest.mark.slow
def test_the_page(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(registry, "_registered", {})
    names: dict = {"__name__": "__main__"}
    code = "\n\n".join(re.findall(r"```python\n(.*?)```", PAGE.read_text(encoding="utf-8"), flags=re.S))
    exec(compile(code, str(PAGE), "exec"), names)  # noqa: S102
    assert names["result"].episodes == names["parts"]["test"].n_episodes
    assert names["result"].table() or names["result"].refusals()
    better = names["better"]
    assert better["dr"].interval.low < 0.7 / 3 < better["dr"].interval.high
    assert better["dr"].difference.low > 0
    low, high = better.guarantee
    assert low < 0.7 / 3 < high
    assert len(capsys.readouterr().out.splitlines()) >= 5


def test_every_estimator_is_on_the_page():
    text = PAGE.read_text(encoding="utf-8")
    assert all(f"`{name}`" in text for name in ESTIMATORS)
