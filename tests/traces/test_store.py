"""Files that are visible whole or not at all."""

from __future__ import annotations

import errno
import os

import pytest

from phantom_dist.core.errors import InputError, StoreError
from phantom_dist.traces import Store


def test_what_was_put_is_there_whole(tmp_path):
    store = Store(tmp_path / "run")
    store.put("a/b.parquet", b"12")
    store.put("a/b.parquet", b"345")
    assert store.get("a/b.parquet") == b"345"
    assert store.names() == ["a/b.parquet"]
    assert store.exists("a/b.parquet")
    assert not store.exists("a")
    store.delete("a/b.parquet")
    store.delete("a/b.parquet")
    assert store.names("a") == []


def test_a_file_uri_is_a_local_path(tmp_path):
    Store(f"file://{tmp_path}").put("x", b"1")
    assert (tmp_path / "x").read_bytes() == b"1"


def test_a_write_that_dies_halfway_leaves_the_old_file(tmp_path, monkeypatch):
    store = Store(tmp_path)
    store.put("x", b"old")

    def dies(fd):
        raise KeyboardInterrupt

    monkeypatch.setattr(os, "fsync", dies)
    with pytest.raises(KeyboardInterrupt):
        store.put("x", b"new")
    monkeypatch.undo()
    assert store.get("x") == b"old"
    assert store.names() == ["x"]


def test_a_full_disk_is_a_clear_message_and_loses_nothing(tmp_path, monkeypatch):
    store = Store(tmp_path)
    store.put("x", b"old")

    def full(fd):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(StoreError, match=r"can't write x: No space left on device"):
        store.put("x", b"new")
    monkeypatch.undo()
    assert store.get("x") == b"old"


def test_an_unknown_scheme_is_the_users_mistake():
    with pytest.raises(InputError, match=r"nowhere://bucket/run: not a local path or a supported URI"):
        Store("nowhere://bucket/run")
