"""Leases: files written under one that is over never become visible, at whatever step the writer was stopped."""

from __future__ import annotations

import os
import threading
from pathlib import Path

import pytest

from phantom_dist.core.errors import StoreError
from phantom_dist.traces import Store
from phantom_dist.traces.leases import Leases, lease_name


@pytest.fixture
def store(tmp_path):
    return Store(tmp_path)


def writer(store: Store, leases: Leases, number: int) -> Store:
    leases.grant(number)
    return store.under(lease_name(leases.driver, number))


def test_a_lease_writes_until_it_is_over(store):
    leases = Leases(store)
    worker = writer(store, leases, 1)
    worker.put("trials/x.parquet", b"first")
    leases.end(1)
    with pytest.raises(
        StoreError, match=r"trials/y\.parquet was not written: another process has taken over"
    ):
        worker.put("trials/y.parquet", b"second")
    with pytest.raises(StoreError):
        worker.put("trials/x.parquet", b"second")
    assert store.names() == ["trials/x.parquet"]
    assert store.get("trials/x.parquet") == b"first"
    leases.end(1)  # one that is over already is left alone


def test_a_new_driver_ends_the_leases_of_all_before_it(store):
    old = Leases(store)
    worker, driver = writer(store, old, 1), store.under(old.own)
    driver.put("state.json", b"old")
    new = Leases(store)
    for late in (worker, driver):
        with pytest.raises(StoreError, match="another process has taken over"):
            late.put("state.json", b"late")
    with pytest.raises(StoreError, match="another driver has taken over this run"):
        old.grant(2)
    writer(store, new, 1).put("state.json", b"new")
    assert store.get("state.json") == b"new"


def test_a_driver_that_is_followed_and_comes_back_ends_no_lease_but_its_own(store):
    old, new = Leases(store), Leases(store)
    worker = writer(store, new, 1)
    old.close()
    worker.put("trials/x.parquet", b"new")
    store.under(new.own).put("state.json", b"new")
    new.close()
    with pytest.raises(StoreError, match="another process has taken over"):
        worker.put("trials/y.parquet", b"late")
    assert sorted(os.listdir(store.root)) == ["state.json", "trials"]


def test_nothing_is_deleted_under_a_lease_that_is_over(store):
    old = store.under(Leases(store).own)
    old.put("trials/x.parquet", b"old")
    old.delete("trials/nothing.parquet")
    new = store.under(Leases(store).own)
    new.put("trials/x.parquet", b"new")
    for name in ("trials/x.parquet", "trials/nothing.parquet"):
        with pytest.raises(StoreError, match="was not removed: another process has taken over"):
            old.delete(name)
    assert store.get("trials/x.parquet") == b"new"
    new.delete("trials/x.parquet")
    assert store.names("trials") == []


@pytest.mark.parametrize("step", ["open", "fsync", "replace"])
def test_a_writer_that_is_stopped_before_any_step_of_a_write_and_comes_back_is_fenced(
    store, monkeypatch, step
):
    """As after SIGSTOP: the lease ends and the successor writes while the writer is stopped."""
    leases = Leases(store)
    zombie, successor = writer(store, leases, 1), writer(store, leases, 2)
    stopped, go_on, errors = threading.Event(), threading.Event(), []
    real = {"open": Path.open, "fsync": os.fsync, "replace": Path.replace}[step]
    owner = os if step == "fsync" else Path

    def stops_first(*args, **how):
        if threading.current_thread() is thread and not stopped.is_set():
            stopped.set()
            assert go_on.wait(10)
        return real(*args, **how)

    def write():
        try:
            zombie.put("trials/x.parquet", b"zombie")
        except StoreError as error:
            errors.append(str(error))

    thread = threading.Thread(target=write)
    monkeypatch.setattr(owner, step, stops_first)
    thread.start()
    assert stopped.wait(10)
    leases.end(1)
    successor.put("trials/x.parquet", b"successor")
    go_on.set()
    thread.join(10)
    assert len(errors) == 1
    assert store.get("trials/x.parquet") == b"successor"
    leases.close()
    assert [p for p in Path(store.root).rglob("*") if p.is_file()] == [Path(store.path("trials/x.parquet"))]


def test_what_a_killed_writer_left_is_invisible_and_goes_with_its_lease(store):
    leases = Leases(store)
    writer(store, leases, 1)
    leftover = Path(store.path(f".leases/{lease_name(leases.driver, 1)}/.y.parquet.0123.tmp"))
    leftover.write_bytes(b"half")
    assert store.names() == []
    Leases(store)
    assert not leftover.exists()


def test_what_a_driver_left_that_died_while_it_took_over_is_removed(store):
    Path(store.path(".0123.gone/d/1")).mkdir(parents=True)
    Leases(store)
    assert os.listdir(store.root) == [".leases"]
