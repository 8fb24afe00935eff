"""Trees on disk: what is written comes back, what is damaged is found, and a failed write loses nothing."""

from __future__ import annotations

import os
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from holdfast.core.errors import UserError
from holdfast.core.files import write_atomic
from holdfast.policy.storage import load_tree, pack, save_tree
from support.disk import flip, full_disk, same, tree


def test_a_tree_comes_back_in_kind(tmp_path: Path) -> None:
    sha256 = save_tree(tmp_path / "deep" / "t.safetensors", tree(), {"note": "x"})
    read = load_tree(tmp_path / "deep" / "t.safetensors", tree(0.0), sha256)
    assert same(read, tree())
    assert isinstance(read["net"]["weight"], jax.Array)
    assert isinstance(read["host"][0], np.ndarray)
    assert [type(x) for x in read["host"][1:]] == [int, float, bool]


def test_the_same_tree_gives_the_same_bytes() -> None:
    assert pack(tree(), {"b": 1, "a": 2}) == pack(tree(), {"a": 2, "b": 1})


def test_every_difference_is_listed_in_one_line(tmp_path: Path) -> None:
    save_tree(tmp_path / "t", {"a": jnp.zeros(2), "b": jnp.zeros(3), "c": jnp.zeros(1), "same": jnp.ones(1)})
    like = {"a": jnp.zeros((2, 1)), "b": jnp.zeros(3, jnp.int32), "d": jnp.zeros(1), "same": jnp.zeros(1)}
    with pytest.raises(UserError) as error:
        load_tree(tmp_path / "t", like)
    text = str(error.value)
    assert "\n" not in text
    for part in (
        "missing d",
        "unexpected c",
        "a has shape (2,), expected (2, 1)",
        "b has type float32, expected int32",
    ):
        assert part in text
    assert "same" not in text


def test_leaves_of_one_name_are_refused() -> None:
    with pytest.raises(ValueError, match=r"a\.b"):
        pack({"a.b": jnp.zeros(1), "a": {"b": jnp.zeros(1)}})


@pytest.mark.parametrize("where", [0, 9, -1])
def test_a_flipped_byte_is_found(tmp_path: Path, where: int) -> None:
    sha256 = save_tree(tmp_path / "t", tree())
    flip(tmp_path / "t", where)
    with pytest.raises(UserError, match="damaged"):
        load_tree(tmp_path / "t", tree(), sha256)


def test_no_tree_at_all(tmp_path: Path) -> None:
    for data in (b"", b"\x00" * 40, os.urandom(1000), pack(tree())[:200], pack(tree())[:-1]):
        (tmp_path / "t").write_bytes(data)
        with pytest.raises(UserError, match="damaged"):
            load_tree(tmp_path / "t", tree())
    with pytest.raises(UserError, match="does not exist"):
        load_tree(tmp_path / "none", tree())


@pytest.mark.parametrize("call", ["fsync", "replace"])
def test_a_full_disk_leaves_the_old_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, call: str) -> None:
    write_atomic(tmp_path / "f", b"old")
    full_disk(monkeypatch, call, "f")
    with pytest.raises(UserError, match="No space left on device") as error:
        write_atomic(tmp_path / "f", b"new", kept="the old one is kept")
    assert "the old one is kept" in str(error.value)
    assert [p.name for p in tmp_path.iterdir()] == ["f"]
    assert (tmp_path / "f").read_bytes() == b"old"


def test_a_folder_that_cannot_be_written(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(UserError, match="cannot write"):
        write_atomic(tmp_path / "file" / "f", b"x")
    if os.geteuid() != 0:  # root may write everywhere
        (tmp_path / "locked").mkdir(mode=0o500)
        with pytest.raises(UserError, match="cannot write"):
            write_atomic(tmp_path / "locked" / "f", b"x")
