"""The proposal of roles: what it writes is read back, and hostile names stay texts."""

import polars as pl
import pytest

from holdfast.cli import main
from holdfast.core.errors import UserError
from holdfast.data.sources import load_dataset
from holdfast.data.tables.propose import write_proposal


def log(path):
    frame = pl.DataFrame(
        {
            "patient_id": ["a", "a", "b", "b"] * 10,
            "step": [1, 2, 3, 4] * 10,
            "pressure": [1.0, None, 3.0, 4.0] * 10,
            "sex": ["f", "f", "m", "m"] * 10,
            "site": ["x"] * 40,
            'odd "name\n': [0.5, 1.5, 2.5, 3.5] * 10,
            "action": ["stay", "go", "stay", "go"] * 10,
            "reward": [0.0, 1.0, 0.0, 2.0] * 10,
            "done": [0, 1, 0, 1] * 10,
            "pscore": [0.5] * 40,
        }
    )
    frame = frame.with_columns(step=pl.int_range(pl.len()))
    frame.write_parquet(path)
    return path


def test_the_proposal_is_read_back(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    log(tmp_path / "log.parquet")
    assert main(["data", "schema", "log.parquet"]) == 0
    text = (tmp_path / "log.roles.toml").read_text()
    assert '# "site" = "number"  # left out: it never changes' in text
    assert '"pressure" = {kind = "number", missing = "refuse"}  # 10 values are missing' in text
    with pytest.raises(UserError, match="'pressure' has no value in row 1"):
        load_dataset("log.parquet", columns="log.roles.toml")
    (tmp_path / "log.roles.toml").write_text(text.replace('missing = "refuse"', 'missing = "mean"'))
    data = load_dataset("log.parquet", columns="log.roles.toml")
    assert (data.table.episode, data.table.time, data.table.propensity) == ("patient_id", "step", "pscore")
    assert data.table.dimensions == ["pressure", "sex=f", "sex=m", 'odd "name\n']
    assert data.action_names == ["go", "stay"]
    with pytest.raises(UserError, match="exists already"):
        write_proposal("log.parquet", "log.roles.toml")
    capsys.readouterr()
    assert main(["data", "info", "log.parquet", "--columns", "log.roles.toml"]) == 0
    assert "stay" in capsys.readouterr().out
    assert main(["data", "check", "misspelt.csv"]) == 2
    assert "misspelt.csv does not exist" in capsys.readouterr().err
