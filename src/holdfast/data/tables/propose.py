"""Proposes the roles of a table's columns by their names and values, as a roles file with comments."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from ...core.errors import UserError, printable
from ...core.files import write_atomic
from ...core.shown import counted
from .frames import Table, open_table

FEW = 50  # a text column with more categories is probably a name, not an observation
EXAMPLES = 3  # values in a comment
NAMES: dict[str, str] = {  # a role and what columns with it are often called
    "reward": r"rewards?|clicks?|conversions?|outcomes?|reward_.*|r",
    "termination": r"terminals?|terminations?|terminated|dones?|is_terminal|end",
    "truncation": r"truncations?|truncated|timeouts?|cut",
    "propensity": r"propensit(y|ies)|propensity_scores?|pscores?|(action_)?prob(ability)?|behaviou?r_prob.*",
    "discount": r"discounts?",
    "weight": r"weights?|sample_weights?",
    "split": r"split|fold|part|subset",
    "episode": r"(episode|traj|trajectory|session|patient|subject|user)(_?id)?|episodes|(icu)?stay_?id",
    "time": r"time|timestamps?|steps?|t|date(time)?|day|charttime|time_?step",
}
ACTIONS = r"actions?(_?\d+)?|a_?\d+|act|item_?id|arm|treatment|decision"
CLUSTERS = r"cluster|user(_?id)?|customer(_?id)?|day|date"


class Seen(NamedTuple):
    """What a column looks like."""

    name: str
    type: str  # number, text, time, other
    rows: int
    missing: int
    distinct: int  # different values
    examples: list[Any]


def look_at(table: Table, name: str) -> Seen:
    """Count the values of a column."""
    import polars as pl

    series = table.column(name)
    kind = "other"
    if series.dtype.is_numeric() or series.dtype == pl.Boolean:
        kind = "number"
    elif series.dtype == pl.String or series.dtype == pl.Categorical or isinstance(series.dtype, pl.Enum):
        kind = "text"
    elif series.dtype.is_temporal():
        kind = "time"
    missing = series.null_count() + (int(series.is_nan().sum()) if series.dtype.is_float() else 0)
    distinct = series.drop_nulls().n_unique() if kind != "other" else 0
    return Seen(name, kind, len(series), missing, distinct, series.drop_nulls().head(EXAMPLES).to_list())


def proposal(source: str | Path) -> str:
    """The text of a roles file for a table, with a comment on each guess.

    Args:
        source: path of a CSV or Parquet file.

    Raises:
        UserError: the file cannot be read, or it has no rows.
    """
    with open_table(source) as table:
        if not len(table):
            raise UserError(f"{source} has no rows, expected at least one")
        return "\n".join(_lines(Path(source).name, [look_at(table, name) for name in table.names])) + "\n"


def write_proposal(source: str | Path, target: str | Path) -> Path:
    """Write the roles file of a table.

    Raises:
        UserError: the target exists already, or a file cannot be read or written.
    """
    path = Path(target).expanduser()
    if path.exists():
        raise UserError(f"{path} exists already and is not overwritten: choose another name with --to, or remove it")
    write_atomic(path, proposal(source).encode())
    return path


def _lines(name: str, columns: Sequence[Seen]) -> list[str]:
    roles = _roles(columns)
    actions = [c for c in columns if c.name not in roles.values() and _is(c.name, ACTIONS)]
    numbered = [c for c in actions if re.search(r"\d$", c.name)]
    actions = numbered if len(numbered) > 1 else actions[:1]
    used = {*roles.values(), *(c.name for c in actions)}
    following = {c.name: c for c in columns if c.name.startswith("next_")}
    lines = [
        f"# Roles of the columns of {printable(name)}, proposed by `holdfast data schema`.",
        "# Read each line: names can mislead.",
        f"# {columns[0].rows:,} rows. All entries are described in docs/tables.md.",
        "",
    ]
    lines += [_reward(roles), *_episodes(roles, columns), *_others(roles, columns), "", *_action(actions, columns), ""]
    lines += [
        "# What a decision may use. Leave out what is known only after the action: it would give the future away."
    ]
    lines.append("[observations]")
    rest = [c for c in columns if c.name not in used and c.name not in following]
    lines += [_observation(c) for c in rest]
    after = [f"next_{c.name}" for c in rest if not _observation(c).startswith("#")]
    if following and all(one in following for one in after):
        place = lines.index("") + 1
        lines[place:place] = [f"next_observations = {_toml(after)}  # the observation after the step"]
    return lines


def _roles(columns: Sequence[Seen]) -> dict[str, str]:
    """The guessed column of each role."""
    found: dict[str, str] = {}
    for role, pattern in NAMES.items():
        for column in columns:
            free = column.name not in found.values()
            fits = role != "episode" or 1 < column.distinct < column.rows  # else each row is an episode
            fits = fits and (column.type != "text" or role in ("episode", "split", "time"))
            if free and fits and role not in found and _is(column.name, pattern):
                found[role] = column.name
    return found


def _is(name: str, pattern: str) -> bool:
    return re.fullmatch(pattern, name.strip().lower()) is not None


def _reward(roles: dict[str, str]) -> str:
    if "reward" in roles:
        return f"reward = {_toml(roles['reward'])}"
    return '# reward = "..."  # no column looks like a reward: name it'


def _episodes(roles: dict[str, str], columns: Sequence[Seen]) -> list[str]:
    flagged = [role for role in ("termination", "truncation") if role in roles]
    if "episode" not in roles and not flagged:
        lines = ["# No episode column: each row is a decision of its own, as in logs of bandits."]
        return [*lines, *(line.replace("the rows of an episode", "the decisions") for line in _time(roles))]
    lines = []
    if "episode" in roles:
        count = next(c.distinct for c in columns if c.name == roles["episode"])
        lines.append(f"episode = {_toml(roles['episode'])}  # {count:,} different values")
    lines += [*_time(roles), *(f"{role} = {_toml(roles[role])}" for role in flagged)]
    comment = '"terminal": nothing follows, its reward counts; "cut": the log stops there'
    return [*lines, f'last_row = "cut"  # what the last row of an episode is if no flag ends it. {comment}']


def _time(roles: dict[str, str]) -> list[str]:
    return [f"time = {_toml(roles['time'])}  # orders the rows of an episode"] if "time" in roles else []


def _others(roles: dict[str, str], columns: Sequence[Seen]) -> list[str]:
    texts = {
        "propensity": "probability of the logged action under the policy that logged it",
        "discount": "discount of each step",
        "weight": "how much a row counts in averages",
        "split": "choose a part with --part",
    }
    lines = [f"{role} = {_toml(roles[role])}  # {text}" for role, text in texts.items() if role in roles]
    units = [c for c in columns if _is(c.name, CLUSTERS) and 1 < c.distinct < c.rows]
    if units:
        lines.append(f"cluster = {_toml(units[0].name)}  # the unit that intervals resample")
    return lines


def _action(actions: Sequence[Seen], columns: Sequence[Seen]) -> list[str]:
    if not actions:
        return ['# action = "..."  # no column looks like an action: name it']
    whole = all(c.type == "text" or all(float(v).is_integer() for v in c.examples) for c in actions)
    kind = "discrete" if whole and all(c.distinct <= max(FEW, c.rows // 10) for c in actions) else "continuous"
    counts = ", ".join(counted(c.distinct, "different value") for c in actions)
    lines = ["[action]", f"columns = {_toml([c.name for c in actions])}  # {counts}"]
    lines.append(f'kind = "{kind}"  # discrete: a choice among labels; continuous: numbers between bounds')
    if kind == "continuous":
        lines.append("# low = [...]  # bounds; without them, those of the data")
        lines.append("# high = [...]")
    return lines


def _observation(column: Seen) -> str:
    key = _toml(column.name)
    about = f"{counted(column.distinct, 'value')}, such as {', '.join(map(str, column.examples))}"[:80]
    about = printable(about)
    if column.distinct <= 1:
        return f'# {key} = "number"  # left out: it never changes'
    if column.type in ("time", "other"):
        return f"# {key} = ...  # left out: {column.type}; make a number of it if a decision may use it"
    if not column.name.strip() or (_is(column.name, r".*_?(id|index|uuid)") and column.distinct > FEW):
        return f"# {key} = ...  # left out: looks like the number or the name of a row ({about})"
    if column.type == "text" and column.distinct > FEW:
        return f'# {key} = "one-hot"  # left out: {about}'
    kind = "number" if column.type == "number" else "one-hot"
    if not column.missing:
        return f'{key} = "{kind}"  # {about}'
    rules = "constant, mean, median or indicator" if kind == "number" else "constant or indicator"
    return f'{key} = {{kind = "{kind}", missing = "refuse"}}  # {column.missing:,} values are missing: {rules}; {about}'


def _toml(value: str | Iterable[str]) -> str:
    """A text, or a list of texts, in TOML; its basic strings have the escapes of JSON, and one more."""
    return json.dumps(value if isinstance(value, str) else list(value), ensure_ascii=False).replace("\x7f", "\\u007f")
