"""A finished run, from which the tests in this folder collect."""

import pytest

from support.logs import learned_run


@pytest.fixture(scope="session")
def learned(tmp_path_factory):
    return learned_run(tmp_path_factory.mktemp("runs"))
