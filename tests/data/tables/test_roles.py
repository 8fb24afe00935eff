"""The roles that a person declares, as a schema, and refusals of one line."""

import pytest

from holdfast.core.errors import UserError
from holdfast.data.tables.roles import read_roles, schema_of
from support.datasets import ROLES


def test_a_schema_is_read_from_its_own_form(tmp_path):
    schema = read_roles({**ROLES, "legal": "open", "missing_texts": ("none",)})
    assert schema.legal.column == "open"
    assert [column.missing for column in schema.observations] == ["mean", "refuse", "refuse"]
    assert schema_of(schema.to_dict(), "a test") == schema
    (tmp_path / "roles.toml").write_text('reward = "pay"\naction = "dose"\nobservations = ["x"]\n')
    assert read_roles(tmp_path / "roles.toml").reward == "pay"


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"reward": None}, "names no reward"),
        ({"rewrad": "pay"}, "unknown role in columns 'rewrad'; did you mean 'reward'"),
        ({"last_row": None}, "does not say how episodes end"),
        ({"last_row": "end"}, "last_row in columns is 'end', expected"),
        ({"time": None, "episode": None, "last_row": "cut"}, "each row is an episode"),
        ({"observations": {"sex": {"kind": "one-hot", "missing": "mean"}}}, "missing categories have no mean"),
        ({"observations": {"x": {"kind": "nominal"}}}, "kind in observations.x in columns is 'nominal'"),
        ({"observations": []}, "names no observations"),
        ({"action": {"columns": ["pay"], "low": [2], "high": [1]}}, "expected low < high"),
        ({"action": {"columns": ["dose"], "lables": [0, 5]}}, "unknown entry of action in columns 'lables'"),
        ({"legal": {"separator": ";"}}, "expected column"),
    ],
)
def test_bad_roles_are_refused_in_one_line(changes, message):
    roles = {name: value for name, value in {**ROLES, **changes}.items() if value is not None}
    with pytest.raises(UserError, match=message) as caught:
        read_roles(roles)
    assert "\n" not in str(caught.value)


def test_what_is_not_a_roles_file_is_refused(tmp_path):
    with pytest.raises(UserError, match="expected a roles file"):
        read_roles(tmp_path / "roles.toml")
    (tmp_path / "roles.toml").write_text("reward = ")
    with pytest.raises(UserError, match="is not a roles file"):
        read_roles(tmp_path / "roles.toml")
