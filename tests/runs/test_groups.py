"""The settings of a sweep in a result: one entry for each, none over all of them."""

import json

import numpy as np
import pytest

from holdfast import UserError
from holdfast.runs.groups import by_setting, groups_of
from holdfast.runs.schema import read_result

SWEEP = [{"expectile": e} for e in (0.5, 0.5, 0.9, 0.9)]
RETURNS = [[1.0, 3.0], [2.0, 2.0], [8.0, 8.0], [10.0, 14.0]]
NAMES = ["a", "b", "c", "d"]
OLDER = {
    "steps": 8, "replicas": NAMES, "compile_seconds": 1.0, "wall_seconds": 2.0, "sweep": SWEEP, "returns": RETURNS,
    "normalized_scores": [1.0, 2.0, 3.0, 5.0], "return_mean": 6.0, "return_interval": [2.0, 10.0],
    "return_iqm": {"value": 5.0, "low": 2.0, "high": 9.0}, "normalized_score": 2.75,
}  # fmt: skip


def test_one_entry_for_each_setting():
    first, second = by_setting(NAMES, SWEEP, np.array(RETURNS), None)
    assert (first["label"], first["values"], first["replicas"]) == ("expectile 0.5", {"expectile": 0.5}, ["a", "b"])
    assert (first["return_mean"], first["best"], first["normalized_score"]) == (2.0, False, None)
    assert (second["return_mean"], second["best"]) == (10.0, True)
    low, high = second["return_interval"]
    assert 8 <= low < 10 < high <= 14


def test_without_a_sweep_there_is_one_group_without_a_label():
    assert groups_of([{}, {}]) == [("", [0, 1])]
    assert groups_of([]) == []


def test_an_older_result_of_a_sweep_is_read_as_it_is_written_now(tmp_path):
    path = tmp_path / "result.json"
    path.write_text(json.dumps(OLDER))
    found = read_result(path)
    assert [(e["return_mean"], e["normalized_score"], e["best"]) for e in found["by_setting"]] == [
        (2.0, 1.5, False), (10.0, 4.0, True)
    ]  # fmt: skip
    assert {found[name] for name in ("return_mean", "return_interval", "return_iqm", "normalized_score")} == {None}
    assert found["returns"] == RETURNS


def test_an_older_result_without_a_sweep_keeps_its_numbers(tmp_path):
    path = tmp_path / "result.json"
    path.write_text(json.dumps(OLDER | {"sweep": [{}] * 4}))
    found = read_result(path)
    assert found["return_mean"] == found["by_setting"][0]["return_mean"] == 6.0
    path.write_text(json.dumps(OLDER | {"returns": [], "return_mean": None}))
    assert "by_setting" not in read_result(path)


def test_an_entry_of_another_type_is_refused(tmp_path):
    path = tmp_path / "result.json"
    path.write_text(json.dumps(OLDER | {"by_setting": [{"label": 3}]}))
    with pytest.raises(UserError, match="by_setting"):
        read_result(path)
