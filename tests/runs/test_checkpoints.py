"""Checkpoints: the newest are kept, a damaged one is found, and a failed or killed save loses nothing."""

from __future__ import annotations

import errno
import json
import os
from pathlib import Path

import pytest

from holdfast.core.errors import UserError
from holdfast.runs.checkpoints import Checkpoints
from support.disk import flip, full_disk, same, tree


def test_checkpoints_keep_the_newest(tmp_path: Path) -> None:
    kept = Checkpoints(tmp_path / "checkpoints", keep=2)
    assert kept.latest() is None
    for step in (5, 10, 1_000_000_000):
        kept.save(step, tree(step), {"phase": step})
    assert kept.steps() == [10, 1_000_000_000]
    assert len(list(kept.folder.iterdir())) == 4
    read, facts = kept.load(tree())
    assert same(read, tree(1_000_000_000))
    assert facts == {"phase": 1_000_000_000}
    assert same(kept.read(10).tree(tree()), tree(10))
    with pytest.raises(UserError, match=r"no checkpoint of step 5.*10, 1000000000"):
        kept.read(5)


def test_no_checkpoint(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="no checkpoint in"):
        Checkpoints(tmp_path / "none").read()


def test_a_step_saved_again_replaces_the_first(tmp_path: Path) -> None:
    kept = Checkpoints(tmp_path)
    kept.save(5, tree(1.0))
    kept.save(5, tree(2.0))
    assert same(kept.load(tree())[0], tree(2.0))
    assert len(list(tmp_path.iterdir())) == 2


@pytest.mark.parametrize("call", ["fsync", "replace"])
@pytest.mark.parametrize("part", ["safetensors", "json"])
@pytest.mark.parametrize("step", [5, 6])  # saving a step anew must be as safe as saving the next
def test_a_full_disk_keeps_the_last_checkpoint(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, call: str, part: str, step: int
) -> None:
    kept = Checkpoints(tmp_path)
    kept.save(5, tree(1.0))
    before = sorted(p.name for p in tmp_path.iterdir())
    with monkeypatch.context() as patch:
        full_disk(patch, call, part)
        with pytest.raises(UserError, match="the checkpoint of step 5 is kept"):
            kept.save(step, tree(2.0))
    assert sorted(p.name for p in tmp_path.iterdir()) == before
    assert same(kept.load(tree())[0], tree(1.0))
    kept.save(6, tree(2.0))
    assert same(kept.load(tree())[0], tree(2.0))


@pytest.mark.parametrize("part", ["safetensors", "json"])
@pytest.mark.parametrize("step", [5, 6])
def test_a_kill_between_two_writes_keeps_the_last_checkpoint(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, part: str, step: int
) -> None:
    class Killed(BaseException):
        pass

    real = os.replace

    def die(source: object, target: object) -> None:
        if str(target).endswith(part):
            raise Killed
        real(source, target)

    kept = Checkpoints(tmp_path)
    kept.save(5, tree(1.0))
    with monkeypatch.context() as patch:
        patch.setattr(os, "replace", die)
        with pytest.raises(Killed):
            kept.save(step, tree(2.0))
    assert len(list(tmp_path.iterdir())) > 2, "the kill left something behind, or this test tests nothing"
    assert kept.steps() == [5]
    assert same(kept.load(tree())[0], tree(1.0))
    kept.save(7, tree(3.0))
    assert len(list(tmp_path.iterdir())) == 4


def test_what_a_kill_kept_from_being_dropped_is_dropped_later(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class Killed(BaseException):
        pass

    def die(*_: object, **__: object) -> None:
        raise Killed

    kept = Checkpoints(tmp_path)
    kept.save(1, tree(1.0))
    kept.save(2, tree(2.0))
    with monkeypatch.context() as patch:
        patch.setattr(Path, "unlink", die)
        with pytest.raises(Killed):
            kept.save(3, tree(3.0))
    assert kept.steps() == [1, 2, 3]
    kept.prune()
    assert kept.steps() == [2, 3]
    assert len(list(tmp_path.iterdir())) == 4


def test_a_damaged_checkpoint_names_the_one_before(tmp_path: Path) -> None:
    kept = Checkpoints(tmp_path)
    kept.save(5, tree())
    pointer = kept.save(6, tree(2.0))
    flip(tmp_path / json.loads(pointer.read_text())["file"], 500)
    with pytest.raises(UserError, match=r"damaged.*checkpoint of step 5, delete .*step-000000006.json"):
        kept.read()
    assert same(kept.read(5).tree(tree()), tree())
    pointer.write_text("{")
    with pytest.raises(UserError, match=r"step-000000006.json is damaged.*checkpoint of step 5"):
        kept.read()
    pointer.write_text("{}")
    with pytest.raises(UserError, match=r"step-000000006.json is damaged"):
        kept.read()


def test_a_read_only_file_system(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(path: object, *args: object) -> object:
        raise OSError(errno.EROFS, "Read-only file system")

    monkeypatch.setattr("builtins.open", refuse)
    with pytest.raises(UserError, match="Read-only file system"):
        Checkpoints(tmp_path).save(1, tree())
