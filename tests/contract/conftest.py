"""Small algorithms, registered for one test."""

import pytest

from holdfast.algorithms import registry


@pytest.fixture
def register(monkeypatch):
    """`register(algorithm)` makes the registry know it by its name until the test ends."""
    real = registry.get
    known = {}
    monkeypatch.setattr(registry, "get", lambda name: known.get(name) or real(name))

    def add(algorithm):
        known[algorithm.name] = algorithm
        return algorithm

    return add
