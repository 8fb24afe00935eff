"""The page on off-policy evaluation names every estimator."""

from pathlib import Path

from holdfast.evaluation.ope.estimators import ESTIMATORS

PAGE = Path(__file__).parents[2] / "docs" / "ope.md"


def test_every_estimator_is_on_the_page():
    text = PAGE.read_text(encoding="utf-8")
    assert all(f"`{name}`" in text for name in ESTIMATORS)
