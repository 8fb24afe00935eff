"""Presets hold the numbers of the source that they name, field by field.

`published/NAME.toml` has a table for every preset of the algorithm NAME that is not ours:

    [mujoco]
    source = "owner/repository commit: the files read, or the table of the paper"
    config.expectile = 0.7           # every field of the Config ...
    treatment.reward_scale = 1.0     # ... and of the Treatment; "none" means None
    ours = ["discrete_lr"]           # fields without a counterpart in the source; a comment says why

    [antmaze]
    like = "mujoco"                  # starts from that table: only what differs is repeated
    source = "..."
    config.expectile = 0.9

The values come from the source, never from the code under test.
"""

from __future__ import annotations

import dataclasses
import tomllib
from pathlib import Path
from typing import Any

import pytest

from holdfast.algorithms import registry
from holdfast.core.contract import Preset, Treatment

FOLDER = Path(__file__).parent / "published"


def read(name: str) -> dict[str, Any]:
    """The tables of an algorithm by preset, with those named in `like` filled in."""
    tables: dict[str, Any] = {}
    for preset, table in tomllib.loads((FOLDER / f"{name}.toml").read_text(encoding="utf-8")).items():
        parts = {"config": {}, "treatment": {}, "ours": [], "source": ""} | table
        assert set(parts) <= {"like", "source", "config", "treatment", "ours"}, f"{name} {preset}: unknown key"
        if "like" in parts:
            base = tables[parts.pop("like")]
            parts["ours"] = parts["ours"] or [n for n in base["ours"] if n not in parts["config"] | parts["treatment"]]
            for part in ("config", "treatment"):
                parts[part] = {k: v for k, v in base[part].items() if k not in parts["ours"]} | parts[part]
        tables[preset] = parts
    return tables


def differences(preset: Preset, table: dict[str, Any]) -> list[str]:
    """Fields of a preset that are not as its table says, or that the table does not mention."""
    found = []
    values = {
        "config": {f.name: getattr(preset.config, f.name) for f in dataclasses.fields(preset.config)},
        "treatment": {name: getattr(preset.treatment, name) for name in Treatment._fields},
    }
    for part, fields in values.items():
        published = table[part]
        found += [f"{part}.{name}: the code has no such field" for name in published.keys() - fields.keys()]
        for name, value in fields.items():
            if name in table["ours"]:
                found += [f"{part}.{name}: both published and ours"] if name in published else []
            elif name not in published:
                found.append(f"{part}.{name}: is {value!r}, not in the table and not in `ours`")
            elif value != tuple_or_none(published[name]) or type(value) is bool is not type(published[name]):
                found.append(f"{part}.{name}: is {value!r}, published {published[name]!r}")
    unknown = set(table["ours"]) - values["config"].keys() - values["treatment"].keys()
    return found + [f"ours: the code has no field {name}" for name in unknown]


def tuple_or_none(value: Any) -> Any:
    """A value of TOML as Python has it in a Config: tuples for lists, None for "none"."""
    if isinstance(value, list):
        return tuple(value)
    return None if value == "none" else value


def is_ours(preset: Preset) -> bool:
    return preset.source.startswith("ours")


@pytest.mark.parametrize("name", registry.names())
def test_presets_hold_the_published_values(name: str) -> None:
    presets = registry.get(name).presets
    tables = read(name)
    published = {key for key, preset in presets.items() if not is_ours(preset)}
    assert set(tables) == published, f"{name}: tables {sorted(tables)}, presets with a source {sorted(published)}"
    assert all(table["source"] for table in tables.values()), f"{name}: a table without its source"
    found = [f"{key}: {line}" for key in tables for line in differences(presets[key], tables[key])]
    assert not found, f"{name}:\n" + "\n".join(found)


@pytest.mark.parametrize("name", registry.names())
def test_the_default_config_is_that_of_the_first_preset_and_published(name: str) -> None:
    algorithm = registry.get(name)
    first, *others = algorithm.presets.values()
    assert not is_ours(first)
    assert first.config == algorithm.Config()
    kinds = [is_ours(preset) for preset in others]
    assert kinds == sorted(kinds), f"{name}: presets of ours come last: {list(algorithm.presets)}"


@pytest.mark.parametrize("name", registry.names())
def test_presets_of_ours_are_named_tuned(name: str) -> None:
    presets = registry.get(name).presets
    assert {key for key in presets if key.startswith("tuned_")} == {k for k, p in presets.items() if is_ours(p)}


def test_a_difference_from_the_published_value_is_found() -> None:
    preset = registry.get("iql").presets["mujoco"]
    table = read("iql")["mujoco"]
    assert differences(preset, table) == []
    for part, name in (("config", "expectile"), ("treatment", "return_scale"), ("config", "critic_decay_steps")):
        wrong = table | {part: table[part] | {name: 0.123}}
        assert [line.split(":")[0] for line in differences(preset, wrong)] == [f"{part}.{name}"]
        missing = table | {part: {key: value for key, value in table[part].items() if key != name}}
        assert [line.split(":")[0] for line in differences(preset, missing)] == [f"{part}.{name}"]
