"""Tables as data sets: order, episodes, encoding, labels, optional columns, and refusals of one line."""

import gzip
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from holdfast.core.errors import UserError
from holdfast.data.checks.check import check
from holdfast.data.convert import convert
from holdfast.data.dataset import Dataset
from holdfast.data.sources import files, load_dataset
from support.datasets import ROLES

LOGS = Path(__file__).parent / "open-bandit"
# two episodes whose rows are interleaved and in no order
FRAME = pl.DataFrame(
    {
        "who": ["b", "a", "a", "b", "a"],
        "at": [2, 1, 3, 1, 2],
        "x": [10.0, 1.0, 3.0, None, 2.0],
        "sex": ["f", "m", "m", "f", "m"],
        "grade": ["low", "low", "high", "mid", "mid"],
        "dose": [5, 0, 5, 0, 10],
        "pay": [0.5, 1.0, 2.0, 0.25, 3.0],
        "p": [0.5, 0.25, 0.5, 1.0, 0.125],
        "ward": ["north", "south", "south", "north", "south"],
        "whole": [1.0, 2.0, 1.0, 2.0, 1.0],
    }
)


def test_rows_are_sorted_and_encoded():
    data = load_dataset(FRAME, columns={**ROLES, "propensity": "p", "cluster": "ward", "weight": "pay"})
    assert data.offsets.tolist() == [0, 2, 5]
    assert data.rewards.tolist() == [0.25, 0.5, 1.0, 3.0, 2.0]
    assert data.terminations.tolist() == [False, True, False, False, True]
    assert data.table.dimensions == ["x", "sex=f", "sex=m", "grade"]
    mean = (10 + 1 + 3 + 2) / 4
    b = [[mean, 1, 0, 1], [10, 1, 0, 0], [10, 1, 0, 0]]
    a = [[1, 0, 1, 0], [2, 0, 1, 1], [3, 0, 1, 2], [3, 0, 1, 2]]
    assert data.observations.tolist() == b + a
    assert data.table.action.labels == ((0, 5, 10),)
    assert data.actions.tolist() == [0, 1, 0, 2, 1]
    np.testing.assert_allclose(data.propensity, [1.0, 0.5, 0.25, 0.125, 0.5])
    assert data.propensity.dtype == data.weight.dtype == np.float64
    assert len(set(data.cluster[:2])) == len(set(data.cluster[2:])) == 1
    assert data.cluster[0] != data.cluster[2]
    assert not data.propensity.flags.writeable
    plain = load_dataset(FRAME, columns=ROLES)
    assert (plain.propensity, plain.cluster, plain.weight) == (None, None, None)


def test_a_cut_episode_keeps_its_last_row_as_observation():
    data = load_dataset(FRAME, columns={**ROLES, "last_row": "cut"})
    assert data.offsets.tolist() == [0, 1, 3]
    assert data.rewards.tolist() == [0.25, 1.0, 3.0]
    assert data.truncations.tolist() == [True, False, True]
    assert data.observations[:, 0].tolist() == [4, 10, 1, 2, 3]
    assert (data.provenance["left_out"], data.provenance["left_out_rewards"]) == (2, 2)
    assert [f.kind for f in check(data) if f.kind == "left_out"] == ["left_out"]
    after = FRAME.with_columns(x2=pl.Series([11.0, 2.0, 4.0, 10.0, 3.0]), sex2="sex", grade2="grade")
    roles = {**ROLES, "last_row": "cut", "next_observations": ["x2", "sex2", "grade2"]}
    whole = load_dataset(after, columns=roles)
    assert whole.n_steps == 5
    assert whole.observations[:, 0].tolist() == [4, 10, 11, 1, 2, 3, 4]
    assert whole.truncations.tolist() == [False, True, False, False, True]


def test_flags_end_episodes():
    frame = pl.DataFrame(
        {"x": [1.0, 2, 3, 4, 5], "a": [0, 1, 0, 1, 0], "r": 1.0, "end": [0, 1, 0, 0, 0], "cut": [0, 0, 0, 1, 0]}
    )
    roles = {"observations": ["x"], "action": "a", "reward": "r", "termination": "end", "truncation": "cut"}
    data = load_dataset(frame, columns=roles)
    assert data.offsets.tolist() == [0, 2, 3]  # rows 3 (cut) and 4 (end of the table) have no next observation
    assert data.observations[:, 0].tolist() == [1, 2, 2, 3, 4]
    assert data.terminations.tolist() == [False, True, False]
    assert data.truncations.tolist() == [False, False, True]


@pytest.mark.parametrize("name", ["log.csv", "log.csv.gz", "log.parquet"])
def test_files_give_the_same_data(tmp_path, name):
    path = tmp_path / name
    if name == "log.parquet":
        FRAME.write_parquet(path)
    else:
        text = FRAME.write_csv().encode()
        path.write_bytes(gzip.compress(text) if name.endswith("gz") else text)
    found = load_dataset(path, columns=ROLES)
    assert found.fingerprint == load_dataset(FRAME, columns=ROLES).fingerprint
    assert found.id == "log"


def test_large_csv_files_are_read_column_by_column(tmp_path, monkeypatch):
    from holdfast.data.tables import frames

    monkeypatch.setattr(frames, "LARGE", 10)
    with gzip.open(tmp_path / "log.csv.gz", "wb") as file:
        file.write(FRAME.write_csv().encode())
    assert (
        load_dataset(tmp_path / "log.csv.gz", columns=ROLES).fingerprint
        == load_dataset(FRAME, columns=ROLES).fingerprint
    )


class Other:
    """A data frame of a library without Arrow's interface."""

    columns = FRAME.columns
    dtypes = FRAME.dtypes

    def __getitem__(self, name):
        return FRAME[name].to_list()


class Capsule:
    """A data frame of a library with Arrow's interface."""

    def __arrow_c_stream__(self, requested_schema=None):
        return FRAME.__arrow_c_stream__(requested_schema)


def test_data_frames_of_other_libraries():
    expected = load_dataset(FRAME, columns=ROLES).fingerprint
    assert load_dataset(Other(), columns=ROLES).fingerprint == expected
    assert load_dataset(Capsule(), columns=ROLES).fingerprint == expected


def test_missing_values_follow_the_declared_rule():
    def first(**rule):
        return load_dataset(FRAME, columns={**ROLES, "observations": {"x": rule}}).observations[0].tolist()

    assert first(missing="median") == [2.5]
    assert first(missing=-1.0) == first(missing="constant", value=-1) == [-1]
    assert first(missing="indicator") == [4, 1]
    frame = FRAME.with_columns(sex=pl.Series([None, "m", "m", "f", "m"]))
    data = load_dataset(frame, columns={**ROLES, "observations": {"sex": {"kind": "one-hot", "missing": "indicator"}}})
    assert data.observations[:2].tolist() == [[1, 0, 0], [0, 0, 1]]
    roles = {**ROLES, "observations": {"sex": {"kind": "one-hot", "missing": "constant", "value": "none"}}}
    assert load_dataset(frame, columns=roles).observations[1].tolist() == [0, 0, 1]


def test_a_complete_schema_is_applied_as_it_is():
    data = load_dataset(FRAME, columns=ROLES)
    other = FRAME.filter(pl.col("dose") != 0).with_columns(x=pl.lit(None, pl.Float64))
    again = load_dataset(other, columns=data.table)
    assert again.observations[:, 0].tolist() == [4.0] * len(again.observations)  # the mean of the first table
    assert again.actions.tolist() == [1, 2, 1]
    assert again.table == data.table
    with pytest.raises(
        UserError, match=r"the action 'dose' in row 3 is '7', expected an action of the training data \(0, 5, 10\)"
    ):
        load_dataset(FRAME.with_columns(dose=pl.lit(7)), columns=data.table)
    with pytest.raises(UserError, match="encoded differently"):
        Dataset.concat([data, load_dataset(FRAME.with_columns(pl.col("x") + 1), columns=ROLES)])
    joined = load_dataset(FRAME, columns=ROLES, also=[other.with_columns(x=pl.lit(0.0))])
    assert (joined.n_steps, joined.table) == (8, data.table)


def test_actions_of_several_columns():
    frame = FRAME.with_columns(rate=pl.col("pay") * 2)
    data = load_dataset(frame, columns={**ROLES, "action": {"columns": ["pay", "rate"], "low": [0, 0], "high": [4, 8]}})
    assert data.actions[0].tolist() == [0.25, 0.5]
    assert data.action_space.high.tolist() == [4, 8]
    both = load_dataset(frame, columns={**ROLES, "action": ["dose", "sex"]})
    assert both.spec.action == 6
    assert both.action_names[:3] == ["0, f", "0, m", "5, f"]
    assert [both.action_names[k] for k in both.actions] == ["0, f", "5, f", "0, m", "10, m", "5, m"]


def test_legal_actions():
    listed = FRAME.with_columns(open=pl.Series(["0|5", "0", "5|10", "0", "0|10"]))
    data = load_dataset(listed, columns={**ROLES, "legal": "open"})
    assert data.columns["action_mask"][:3].tolist() == [[1, 0, 0], [1, 1, 0], [1, 1, 0]]
    flagged = FRAME.with_columns(ten=pl.Series([0, 0, 1, 0, 1]))
    data = load_dataset(flagged, columns={**ROLES, "legal": {"columns": {"10": "ten"}}})
    assert data.columns["action_mask"][:, 2].tolist() == [0, 0, 0, 0, 1, 1, 1]
    assert data.columns["action_mask"][:, :2].all()


def test_parts_of_a_split():
    frame = FRAME.with_columns(part=pl.Series(["test", "train", "train", "test", "train"]))
    roles = {**ROLES, "split": "part", "observations": ["at"]}
    assert load_dataset(frame, columns=roles, part="test").rewards.tolist() == [0.25, 0.5]
    assert load_dataset(frame, columns=roles, part="all").n_steps == 5
    with pytest.raises(UserError, match="has the parts test, train"):
        load_dataset(frame, columns=roles)
    with pytest.raises(UserError, match="did you mean 'train'"):
        load_dataset(frame, columns=roles, part="trian")
    torn = frame.with_columns(part=pl.Series(["test", "test", "train", "test", "train"]))
    with pytest.raises(UserError, match="is in several parts"):
        load_dataset(torn, columns=roles, part="test")


def test_open_bandit_logs():
    context = {"position": "one-hot", "user_feature_*": {"kind": "one-hot", "unknown": "zeros"}}
    roles = {"observations": context, "action": "item_id", "reward": "click", "propensity": "propensity_score"}
    data = load_dataset(LOGS / "random-women.csv.gz", columns=roles)
    assert (data.n_episodes, data.n_steps, data.spec.action) == (500, 500, 46)
    np.testing.assert_allclose(data.propensity, 1 / 46)
    other = load_dataset(LOGS / "bts-women.csv.gz", columns=data.table)
    assert other.spec == data.spec
    assert other.propensity.min() < 1e-3
    assert {fault.level for log in (data, other) for fault in check(log)} == {"note"}


def test_one_step_logs_are_sound():
    roles = {"observations": ["at"], "action": "dose", "reward": "pay", "propensity": "p"}
    data = load_dataset(FRAME, columns=roles)
    assert data.n_episodes == data.n_steps == 5
    assert data.terminations.all()
    assert not [fault for fault in check(data) if fault.level == "fatal"]


@pytest.mark.parametrize("name", ["log.npz", "log.hdf5"])
def test_a_written_copy_keeps_the_schema(tmp_path, name):
    data = load_dataset(FRAME, columns={**ROLES, "cluster": "ward", "propensity": "p"})
    copy = load_dataset(convert(data, tmp_path / name))
    assert copy.fingerprint == data.fingerprint
    assert copy.table == data.table
    assert copy.cluster.tolist() == data.cluster.tolist()


def roles(**changes):
    return {name: value for name, value in {**ROLES, **changes}.items() if value is not None}


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"reward": "pya"}, "unknown column of the data frame 'pya'; did you mean 'pay'"),
        ({"reward": "sex"}, "the reward 'sex' has the type String"),
        ({"time": "sex"}, "the time 'sex'"),
        ({"propensity": "at"}, r"the propensity 'at' is 2 in row 0 .* expected a probability in \(0, 1\]"),
        ({"observations": {"x": "number"}}, "the column 'x' has no value in row 3"),
        ({"observations": ["sex"]}, 'declare it "one-hot" or "ordinal"'),
        ({"observations": {"grade": {"kind": "ordinal", "categories": ["low", "mid"]}}}, "is 'high' in row 2"),
        ({"action": {"columns": ["dose"], "labels": [0, 5]}}, "in row 4 is '10', expected an action"),
        ({"action": ["dose", "pay"]}, "set the kind of the action"),
        ({"action": "whole"}, "set the kind of the action to discrete or continuous"),
        ({"weight": "x"}, "the weight 'x' has no value in row 3"),
        ({"legal": "grade"}, "unknown legal action in row 0 of the data frame"),
    ],
)
def test_bad_roles_are_refused_in_one_line(changes, message):
    with pytest.raises(UserError, match=message) as caught:
        load_dataset(FRAME, columns=roles(**changes))
    assert "\n" not in str(caught.value)


def test_times_that_tie():
    frame = FRAME.with_columns(at=pl.Series([1, 1, 3, 1, 2]))
    with pytest.raises(UserError, match="rows 0 and 3 of one episode have the same time"):
        load_dataset(frame, columns=ROLES)
    assert load_dataset(frame, columns={**ROLES, "ties": "file"}).rewards[:2].tolist() == [0.5, 0.25]
    dates = FRAME.with_columns(at=pl.Series(["2026-01-02", "2026-01-01", "2026-02-01", "2026-01-01", "2026-01-03"]))
    assert load_dataset(dates, columns=ROLES).fingerprint == load_dataset(FRAME, columns=ROLES).fingerprint


def test_files_of_strangers(tmp_path, monkeypatch):
    monkeypatch.setattr(files, "ALWAYS_UNPACKED", 2**20)
    (tmp_path / "a.parquet").write_bytes(b"PAR1 nothing PAR1")
    (tmp_path / "b.csv.gz").write_bytes(b"no gzip")
    (tmp_path / "c.csv").write_bytes(b"")
    (tmp_path / "d.csv.gz").write_bytes(gzip.compress(b"x," * 2**20))
    (tmp_path / "f.csv").write_bytes(b"x," * 2**17)
    (tmp_path / "e.csv").write_text("x,dose\n1,2,3,4\n")
    for name, message in {
        "a.parquet": "expected a Parquet file",
        "b.csv.gz": "expected a gzip file",
        "c.csv": "is empty",
        "d.csv.gz": "too many for a file of",
        "e.csv": "expected a CSV file",
        "f.csv": "its first line has 131,073 columns",
        "missing.csv": "does not exist",
    }.items():
        with pytest.raises(UserError, match=message) as caught:
            load_dataset(tmp_path / name, columns=ROLES)
        assert "\n" not in str(caught.value)
    with pytest.raises(UserError, match="is a table: say what its columns are"):
        load_dataset(FRAME)
    with pytest.raises(UserError, match="is not a table"):
        load_dataset("bundled/pendulum-mixed", columns=ROLES)
    with pytest.raises(UserError, match="table in provenance of x is 3"):
        Dataset.from_arrays([[1.0], [2.0]], [0, 1], [0, 1], [0, 1], id="x", provenance={"table": 3})
