"""The tables of settings in docs/algorithms have the defaults of the code."""

import dataclasses
import re
from pathlib import Path

import pytest

from holdfast.algorithms import registry

PAGES = Path(__file__).resolve().parents[2] / "docs" / "algorithms"
NUMBER = re.compile(r"(?<![\w.])-?\d+(?:\.\d+)?(?:e-?\d+)?")


def rows(text):
    """The names and the default of each row of the tables with the columns `name` and `default`."""
    for table in re.findall(r"^\| name \| default .*\n\|[-| :]+\n((?:\|.*\n)+)", text, re.M):
        for line in table.splitlines():
            cells = [cell.strip() for cell in line.strip("|").split("|")]
            yield re.findall(r"`(\w+)`", cells[0]), cells[1]


def written(default):
    """The numbers and words of a default, in their order, without what other presets have."""
    text = default.split(";")[0].replace(", ", " , ")
    text = re.sub(r"(?<=\d) (?=\d{3}\b)", "", text)  # 20 000
    text = re.sub(r"(?<=\d)-(?=\d)(?<!e-)", " ", text)  # 256-256
    return [float(each) for each in NUMBER.findall(text)], re.findall(r"\b(?:run|constant|on|off)\b", text)


def values(cfg, names):
    """The numbers and words that the code has for these names."""
    numbers, words = [], []
    for name in names:
        value = getattr(cfg, name)
        for each in value if isinstance(value, tuple) else (value,):
            if isinstance(each, bool):
                words.append("on" if each else "off")
            elif isinstance(each, str):
                words.append(each)
            else:
                numbers.append(float(each))
    return numbers, words


@pytest.mark.parametrize("name", registry.names())
def test_defaults_of_the_page_are_those_of_the_code(name):
    cfg = next(iter(registry.get(name).presets.values())).config
    known = {field.name for field in dataclasses.fields(cfg)}
    found = list(rows((PAGES / f"{name}.md").read_text()))
    assert found, "no table of settings"
    for names, default in found:
        assert set(names) <= known, f"{name}: {set(names) - known} are not settings"
        for page, code in zip(written(default), values(cfg, names), strict=True):
            same = list(dict.fromkeys(page)) == list(dict.fromkeys(code))
            assert not page or same, f"{name}: {names} is {default} on the page, {code} in the code"
