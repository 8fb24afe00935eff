"""The examples run, and come to what they say."""

import importlib.util
import pathlib

import pytest

EXAMPLES = pathlib.Path(__file__).parent.parent / "examples"


def load(name):
    spec = importlib.util.spec_from_file_location(name, EXAMPLES / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(autouse=True)
def elsewhere(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


@pytest.mark.slow
def test_own_data():
    assert load("own_data").main(steps=1500) < 0.2


@pytest.mark.slow
def test_sweep():
    assert len(load("sweep").main(steps=20)) == 6


@pytest.mark.slow
def test_target_return():
    pairs = load("target_return").main(steps=20)
    assert [asked for asked, _ in pairs] == [-150.0, -500.0, -1000.0, -1500.0]
    assert all(-2500 < got < 0 for _, got in pairs)
