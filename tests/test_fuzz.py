"""A fuzzer of the files that Holdfast opens: whatever is damaged, it loads or it is refused in one line.

`make fuzz` runs it for longer: `HOLDFAST_FUZZ` is the number of damaged copies of each file.
"""

import contextlib
import json
import os
import random
import resource
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest

from holdfast import UserError
from holdfast.core.errors import one_line
from holdfast.data.checks.check import check
from holdfast.data.convert import convert
from holdfast.data.describe import describe
from holdfast.data.sources import load_dataset
from holdfast.evaluation.evaluate import environment_of
from holdfast.policy.policy import Policy
from holdfast.policy.storage import metadata_of
from holdfast.report.page import page
from holdfast.report.table import results_table
from holdfast.runs.checkpoints import Checkpoints
from holdfast.runs.estimates import write_departures, write_estimates
from holdfast.runs.read import read_run
from holdfast.runs.schema import checked_checkpoint, read_result
from holdfast.runs.settings import Settings
from support.evidence import departed, estimated
from support.small_runs import DATA, TINY, tiny

COPIES = int(os.environ.get("HOLDFAST_FUZZ", "60"))  # of each file
MOST_MEMORY = 2**30  # bytes that a damaged file may add
ODD: list[Any] = [
    None, True, -1, 0, 1e300, 2**70, float("nan"), float("inf"), "", "x", "[/red]", "\ud800", "../..", "evil:X-v0", [],
    [[]], {}, {"id": 3}, [1, "a"], "[" * 3000,
]  # fmt: skip
KEYS = ["", "id", "\x00", "format", "../x"]


def json_of(rng: random.Random, value: Any) -> Any:
    """A JSON value with one entry changed, removed, added or moved, at any depth."""
    if isinstance(value, dict) and value and rng.random() < 0.9:
        changed = dict(value)
        name = rng.choice(list(value))
        how = rng.random()
        if how < 0.2:
            del changed[name]
        elif how < 0.3:
            changed[rng.choice(KEYS)] = changed.pop(name)
        else:
            changed[name] = json_of(rng, value[name])
        return changed
    if isinstance(value, list) and value and rng.random() < 0.6:
        at = rng.randrange(len(value))
        return [*value[:at], json_of(rng, value[at]), *value[at + rng.randrange(2) :]]
    if isinstance(value, str) and value[:1] in "{[" and rng.random() < 0.7:
        with contextlib.suppress(ValueError):
            return json.dumps(json_of(rng, json.loads(value)))
    return rng.choice(ODD)


def bytes_of(rng: random.Random, data: bytes) -> bytes:
    """Bytes with some flipped, cut, removed or repeated."""
    changed = bytearray(data)
    how = rng.randrange(5)
    at = rng.randrange(len(changed))
    if how == 0:
        return bytes(changed[:at])
    if how == 1:
        del changed[at : at + rng.randrange(1, 64)]
        return bytes(changed)
    if how == 2:
        return bytes(changed[:at] + changed[at : at + 16] * rng.randrange(2, 9) + changed[at:])
    for _ in range(1 if how == 3 else 20):
        changed[rng.randrange(len(changed))] ^= 1 << rng.randrange(8)
    return bytes(changed)


def damage(rng: random.Random, path: Path) -> None:
    """Damage a file in place: JSON by its entries two times of three, everything else by its bytes."""
    data = path.read_bytes()
    if path.suffix == ".json" and rng.random() < 0.67:
        path.write_text(json.dumps(json_of(rng, json.loads(data))))
    else:
        path.write_bytes(bytes_of(rng, data))


def odd_columns(rng: random.Random, path: Path) -> None:
    """Replace a column of an HDF5 file by one of another shape, type or storage, or by a link."""
    with h5py.File(path, "r+") as file:
        group = file[rng.choice(list(file))] if not isinstance(file[next(iter(file))], h5py.Dataset) else file
        name = rng.choice([name for name in group if isinstance(group[name], h5py.Dataset)])
        length = len(group[name]) if group[name].shape else 1
        del group[name]
        how = rng.randrange(9)
        if how == 0:
            group[name] = h5py.ExternalLink("/etc/passwd", "/x")
        elif how == 1:
            group.create_dataset(name, (length,), "u1", external=[("/etc/passwd", 0, length)])
        elif how == 2:
            group.create_dataset(name, (10**10,), "f8")
        elif how == 3:
            group.create_dataset(name, data="text")
        elif how == 4:
            group.create_dataset(name, (length,), h5py.vlen_dtype(np.float32))
        elif how == 5:
            group.create_group(name)
        else:
            shape = rng.choice([(), (0,), (length, 0), (length, 1, 1), (length, 3), (length + 1,), (length,)])
            kind = rng.choice(["f4", "f8", "i8", "u1", "?", "c16", "S4"])
            group.create_dataset(name, data=np.zeros(shape, kind))


def odd_arrays(rng: random.Random, path: Path) -> None:
    """Replace an array of an NPZ file by one of another shape or type."""
    with np.load(path) as file:
        arrays = {name: file[name] for name in file.files}
    name = rng.choice(list(arrays))
    if name == "metadata":
        arrays[name] = np.array(json.dumps(json_of(rng, json.loads(str(arrays[name])))))
    else:
        length = len(arrays[name])
        shape = rng.choice([(), (0,), (length, 0), (length, 1, 1), (length, 3), (length + 1,), (length,)])
        value = rng.choice([0, 1, -7, 1e300])
        with np.errstate(all="ignore"):
            arrays[name] = np.full(shape, value, rng.choice(["f4", "f8", "i8", "?", "c16", "U3"]))
    with contextlib.suppress(UnicodeEncodeError), np.errstate(all="ignore"):
        np.savez(path, **arrays)


@contextlib.contextmanager
def bounded() -> Iterator[None]:
    """Memory beyond `MOST_MEMORY` cannot be taken."""
    with open("/proc/self/statm") as file:
        now = int(file.read().split()[0]) * resource.getpagesize()
    before = resource.getrlimit(resource.RLIMIT_AS)
    resource.setrlimit(resource.RLIMIT_AS, (now + MOST_MEMORY, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_AS, before)


def require_lines(
    tmp_path: Path, whole: Path, break_: Callable[[Path], None], open_: Callable[[Path], Any], copies: int = COPIES
) -> None:
    """Damage copies of a file or folder and open each: every failure is a `UserError` of one line."""
    refused = 0
    for number in range(copies):
        copy = tmp_path / f"{number}{whole.suffix}"
        (shutil.copytree if whole.is_dir() else shutil.copyfile)(whole, copy)
        break_(copy)
        try:
            with bounded():
                open_(copy)
        except UserError as error:
            refused += 1
            if "\n" in str(error):
                raise AssertionError(f"copy {number}: several lines: {error}") from error
        except Exception as error:
            raise AssertionError(f"copy {number}: {type(error).__name__}: {one_line(error)[:300]}") from error
        (shutil.rmtree if copy.is_dir() else os.unlink)(copy)
    assert refused


@pytest.fixture
def rng(request) -> random.Random:
    return random.Random(f"{request.node.name} {os.environ.get('HOLDFAST_FUZZ_SEED', 0)}")


@pytest.fixture(scope="module")
def files(tmp_path_factory) -> Path:
    """One of each: a run with its policy and checkpoints, an NPZ file, a D4RL file, a Minari folder."""
    folder = tmp_path_factory.mktemp("whole")
    run = tiny(folder / "run", steps=4, block=2).path
    data = load_dataset(DATA).select(range(3))
    policy = Policy.load(run / "policy").with_support(data, rows=50, fallback=[0.0])
    policy.save(folder / "supported" / "policy")
    unplayed = tiny(folder / "unplayed", steps=4, block=2, evaluate=False).path
    write_estimates(unplayed, [(unplayed / "policy", estimated())], data.fingerprint)
    write_departures(unplayed, [(unplayed / "policy", departed())], data.fingerprint)
    for name in ("log.npz", "log.hdf5", "set-v0"):
        convert(data, folder / name)
    return folder


def open_data(path: Path) -> None:
    data = load_dataset(path)
    check(data)
    describe(data)


def open_run(path: Path) -> None:
    record = read_run(path)
    page(record)
    results_table(record)
    if (path / "result.json").is_file():
        read_result(path / "result.json")


def open_policy(path: Path) -> None:
    policy = Policy.load(path / "policy")
    environment_of(policy.info)


@pytest.mark.parametrize("name", ["log.npz", "log.hdf5"])
def test_data_files(files, tmp_path, rng, name):
    require_lines(tmp_path, files / name, lambda path: damage(rng, path), open_data)


@pytest.mark.parametrize(("name", "break_"), [("log.npz", odd_arrays), ("log.hdf5", odd_columns)])
def test_data_files_with_odd_columns(files, tmp_path, rng, name, break_):
    require_lines(tmp_path, files / name, lambda path: break_(rng, path), open_data)


@pytest.mark.parametrize("name", ["metadata.json", "main_data.hdf5"])
def test_minari_folders(files, tmp_path, rng, name):
    require_lines(tmp_path, files / "set-v0", lambda path: damage(rng, path / "data" / name), open_data)


def test_minari_folders_with_odd_columns(files, tmp_path, rng):
    break_ = lambda path: odd_columns(rng, path / "data" / "main_data.hdf5")  # noqa: E731
    require_lines(tmp_path, files / "set-v0", break_, open_data)


@pytest.mark.parametrize("name", ["config.json", "result.json", "metrics.csv", "evaluations.csv", "policy/policy.json"])
def test_runs(files, tmp_path, rng, name):
    require_lines(tmp_path, files / "run", lambda path: damage(rng, path / name), open_run, max(COPIES // 10, 1))


@pytest.mark.parametrize("name", ["policy.json", "policy.safetensors"])
def test_policies(files, tmp_path, rng, name):
    require_lines(tmp_path, files / "run", lambda path: damage(rng, path / "policy" / name), open_policy)


@pytest.mark.parametrize("name", ["support.json", "support.safetensors"])
def test_supported_policies(files, tmp_path, rng, name):
    break_ = lambda path: damage(rng, path / "policy" / name)  # noqa: E731
    require_lines(tmp_path, files / "supported", break_, open_policy, max(COPIES // 4, 1))


@pytest.mark.parametrize("name", ["estimates.json", "departures.json"])
def test_evidence(files, tmp_path, rng, name):
    break_ = lambda path: damage(rng, path / name)  # noqa: E731
    require_lines(tmp_path, files / "unplayed", break_, open_run, max(COPIES // 4, 1))


@pytest.mark.parametrize(("whole", "name", "module"), [
    ("run", "policy.json", "folder"), ("supported", "support.json", "support_file")
])  # fmt: skip
def test_forged_descriptions(files, tmp_path, rng, monkeypatch, whole, name, module):
    """Descriptions with a valid checksum: one entry is another value."""
    monkeypatch.setattr(f"holdfast.policy.{module}.metadata_of", lambda data, where: seen[0])
    seen: list[Any] = [None]

    def forge(path: Path) -> None:
        file = path / "policy" / name
        facts = json.loads(file.read_text())
        entry = rng.choice(sorted(facts.keys() - {"sha256"}))
        odd = json_of(rng, {entry: facts[entry]})
        odd = odd if isinstance(odd, dict) else {entry: odd}
        facts = {**{k: v for k, v in facts.items() if k != entry}, **odd}
        file.write_text(json.dumps(facts))
        seen[0] = {k: v for k, v in json.loads(file.read_text()).items() if k != "sha256"}

    require_lines(tmp_path, files / whole, forge, open_policy)


def test_checkpoints(files, tmp_path, rng):
    folder = files / "run" / "checkpoints"
    newest = Checkpoints(folder).latest()
    names = [path.name for path in folder.iterdir() if f"{newest:09d}" in path.name]
    require_lines(
        tmp_path, folder, lambda path: damage(rng, path / rng.choice(names)), lambda path: Checkpoints(path).read()
    )


def test_forged_checkpoints(files, rng):
    metadata = Checkpoints(files / "run" / "checkpoints").read().metadata
    for _ in range(COPIES):
        with contextlib.suppress(UserError):
            checked_checkpoint(json_of(rng, metadata), "x")
        with contextlib.suppress(UserError):
            metadata_of(bytes_of(rng, b"\x40\0\0\0\0\0\0\0" + json.dumps({"__metadata__": {}}).encode()), "x")


def test_configs(files, tmp_path, rng):
    made = Settings.of("bc", data=DATA, config=TINY)
    path = tmp_path / "whole.json"
    path.write_text(json.dumps(made.to_dict()))
    (tmp_path / "copies").mkdir()
    require_lines(tmp_path / "copies", path, lambda copy: damage(rng, copy), Settings.read)
