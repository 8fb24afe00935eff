"""Names of swept replicas: two values never share one, so no policy overwrites another."""

import csv
import json

import pytest

from holdfast.algorithms import registry
from holdfast.runs.read import read_run
from holdfast.runs.replicas import replicas
from holdfast.runs.settings import Settings


def names(name: str, values: list[float]) -> list[str]:
    algorithm = registry.get("td3_bc")
    cfg = next(iter(algorithm.presets.values())).config
    return [replica.name for replica in replicas(algorithm, cfg, {name: values}, [0])]


@pytest.mark.parametrize(
    ("name", "values", "expected"),
    [
        ("alpha", [2.5, 1.0], ["alpha-2.5-seed-0", "alpha-1-seed-0"]),
        ("alpha", [2.500001, 2.500002], ["alpha-2.500001-seed-0", "alpha-2.500002-seed-0"]),
        ("alpha", [1000000.5, 1000001.0], ["alpha-1000000.5-seed-0", "alpha-1000001.0-seed-0"]),
        ("discount", [0.9999995, 0.9999999], ["discount-0.9999995-seed-0", "discount-0.9999999-seed-0"]),
    ],
)
def test_values_that_print_alike_get_names_of_their_own(name, values, expected):
    assert names(name, values) == expected


def test_values_that_print_alike_are_groups_of_their_own(tmp_path):
    swept = [2.500001, 2.500002]
    settings = Settings.of("td3_bc", data="bundled/pendulum-mixed", sweep={"alpha": swept}, seeds=2)
    (tmp_path / "config.json").write_text(json.dumps(settings.to_dict()))
    with (tmp_path / "metrics.csv").open("w", newline="") as file:
        rows = csv.writer(file)
        rows.writerow(["step", "phase", "replica", "seed", "alpha", "loss"])
        for alpha in swept:
            rows.writerows([[10, "offline", f"alpha-{alpha}-seed-{seed}", seed, alpha, 0.5] for seed in range(2)])
    found = read_run(tmp_path)
    assert [group.rows for group in found.groups] == [[0, 1], [2, 3]]
    assert [group.label for group in found.groups] == ["alpha 2.500001", "alpha 2.500002"]
