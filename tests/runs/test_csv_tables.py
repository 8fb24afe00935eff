"""The tables of a run: floats survive, torn rows are cut, and every reader sees the same rows."""

import numpy as np
import pytest

from holdfast.core.errors import UserError
from holdfast.runs import csv_tables
from holdfast.runs.csv_tables import Table

HEADER = "step,phase,replica,seed,episode,episode_seed,return,length"


def test_torn_rows_are_cut_and_floats_keep_their_bits(tmp_path):
    table = Table(tmp_path / "t.csv", ["step", "x"])
    table.begin()
    table.add([[1, 0.1], [2, float(np.float32(0.1))]])
    table.sync()
    whole = table.path.read_bytes()
    with table.path.open("a") as file:
        file.write("3,0.")
    again = Table(tmp_path / "t.csv", ["step", "x"])
    again.cut(2)
    assert again.path.read_bytes() == whole
    assert again.rows == 2
    assert [float(row["x"]) for row in csv_tables.read(table.path)] == [0.1, float(np.float32(0.1))]
    with pytest.raises(UserError, match="is not what the checkpoint left"):
        again.cut(3)


def test_a_table_of_another_run_is_not_continued(tmp_path):
    Table(tmp_path / "t.csv", ["step", "x"]).begin()
    with pytest.raises(UserError, match=r"t\.csv is not what the checkpoint left"):
        Table(tmp_path / "t.csv", ["step", "y"]).cut(0)
    with pytest.raises(UserError, match="cannot read"):
        Table(tmp_path / "none.csv", ["step"]).cut(0)


def test_rows_are_read_by_name(tmp_path):
    path = tmp_path / "metrics.csv"
    assert csv_tables.read(path) == []
    table = Table(path, ["step", "replica", "loss"])
    table.begin()
    table.add([[1, "b", 0.5], [1, "a", ""], [2, "b", 0.25], [2, "a", ""]])
    rows = csv_tables.read(path)
    assert [row["step"] for row in rows] == ["1", "1", "2", "2"]
    assert csv_tables.replicas_of(rows) == ["b", "a"]  # as they were written
    assert csv_tables.number(rows[0]["loss"]) == 0.5
    assert np.isnan(csv_tables.number(rows[1]["loss"]))


def test_what_cannot_be_read_is_one_line(tmp_path):
    path = tmp_path / "metrics.csv"
    path.write_bytes(b"step\n\xff\n")
    with pytest.raises(UserError, match=r"cannot read .*metrics\.csv") as caught:
        csv_tables.read(path)
    assert "\n" not in str(caught.value)


def written(path, *rows):
    lines = [f"{step},online,{name},0,{episode},7,{value},{length}" for step, name, episode, value, length in rows]
    path.write_text("\n".join([HEADER, *lines]) + "\n")
    return path


def test_evaluations_are_arrays(tmp_path):
    rows = [(step, name, e, 10 * step + 3 * e + (name == "b"), 5 + e) for step in (0, 4) for name in "ab"
            for e in range(2)]  # fmt: skip
    path = written(tmp_path / "evaluations.csv", *rows)
    found = csv_tables.evaluations(path)
    assert found.replicas == ["a", "b"]
    assert found.steps.tolist() == [0, 4]
    assert found.returns.tolist() == [[[0, 3], [40, 43]], [[1, 4], [41, 44]]]
    assert found.lengths[0, 0].tolist() == [5, 6]
    turned = csv_tables.evaluations(path, ["b", "a"])
    assert turned.returns.tolist() == found.returns[::-1].tolist()


def test_an_evaluation_with_missing_episodes_is_left_out(tmp_path):
    rows = [(0, "a", 0, 1.0, 1), (0, "a", 1, 2.0, 1), (4, "a", 0, 3.0, 1)]
    assert csv_tables.evaluations(written(tmp_path / "e.csv", *rows)).steps.tolist() == [0]
    empty = csv_tables.evaluations(tmp_path / "none.csv", ["a", "b"])
    assert empty.returns.shape == (2, 0, 0)


def test_damaged_evaluations_name_the_file(tmp_path):
    path = tmp_path / "evaluations.csv"
    path.write_text("stop,phase\n1,online\n")
    with pytest.raises(UserError, match=r"evaluations\.csv is damaged.*step"):
        csv_tables.evaluations(path, ["a"])
    written(path, ("one", "a", 0, 1.0, 1))
    with pytest.raises(UserError, match="is damaged"):
        csv_tables.evaluations(path)
