"""`events.jsonl`: over several starts, after deaths, where it can't be written, and as segments in an object store."""

from __future__ import annotations

import json
import logging
import time

import pytest

from phantom_dist.core.events import EventKind, RunEvent, record
from phantom_dist.traces import RunDirectory, Store, event_log
from phantom_dist.traces.event_log import FILE, FOLDER, read_events, recording
from tests.servers.s3 import CREDENTIALS, s3_server


def happened(number: int) -> RunEvent:
    return RunEvent(time=float(number), kind=EventKind.TASK_ADDED, task=f"t{number}", size=number)


def one_start(store: Store, driver: str, numbers, *, early=()) -> None:
    with recording() as log:
        for number in early:
            record(happened(number))
        with log.kept_in(store, driver):
            for number in numbers:
                record(happened(number))


def kinds(store: Store) -> list[str]:
    return [event.task or event.kind.value for event in read_events(store)]


def test_a_run_without_events_has_none(tmp_path):
    assert RunDirectory(Store(tmp_path)).events() == []


def test_events_accumulate_over_starts_and_those_before_the_directory_was_known_are_kept(tmp_path):
    store = Store(tmp_path)
    one_start(store, "a", (2, 3), early=(1,))
    one_start(store, "b", (4,))
    assert kinds(store) == [
        *("run_started", "t1", "t2", "t3", "run_ended"),
        *("run_started", "t4", "run_ended"),
    ]
    lines = (tmp_path / FILE).read_text().splitlines()
    assert [json.loads(line)["kind"] for line in lines][:2] == ["run_started", "task_added"]


def test_how_a_run_ended_is_told(tmp_path):
    with pytest.raises(KeyboardInterrupt), recording() as log, log.kept_in(Store(tmp_path), "a"):
        raise KeyboardInterrupt
    with pytest.raises(ValueError, match="two"), recording() as log, log.kept_in(Store(tmp_path), "b"):
        raise ValueError("one\ntwo")
    with recording() as log, log.kept_in(Store(tmp_path), "c"):
        log.outcome = "interrupted: 3 h are over"
    ends = [e.message for e in read_events(Store(tmp_path)) if e.kind is EventKind.RUN_ENDED]
    assert ends == ["KeyboardInterrupt", "ValueError: one two", "interrupted: 3 h are over"]


@pytest.mark.parametrize("cut", [1, 10])
def test_a_line_that_a_death_cut_off_is_left_out_and_spoils_no_other(tmp_path, cut):
    store, file = Store(tmp_path), tmp_path / FILE
    one_start(store, "a", (1, 2))
    file.write_bytes(file.read_bytes()[:-cut])
    whole = cut == 1  # only the line's end is missing
    ended = ["run_ended"] if whole else []
    assert kinds(store) == ["run_started", "t1", "t2", *ended]
    one_start(store, "b", (3,))
    assert kinds(store) == ["run_started", "t1", "t2", *ended, "run_started", "t3", "run_ended"]


def test_an_event_of_a_newer_version_is_left_out(tmp_path):
    one_start(Store(tmp_path), "a", (1,))
    with (tmp_path / FILE).open("a") as file:
        file.write('{"time": "2030-01-01T00:00:00+00:00", "kind": "teleported"}\n[]\n')
    assert kinds(Store(tmp_path)) == ["run_started", "t1", "run_ended"]


def test_a_run_goes_on_where_they_cannot_be_written(tmp_path, caplog):
    (tmp_path / FILE).mkdir()
    with caplog.at_level(logging.WARNING, "phantom_dist"):
        one_start(Store(tmp_path), "a", range(5))
    assert [r.getMessage() for r in caplog.records if "continues without" in r.getMessage()], "told once"
    assert len(caplog.records) == 1


@pytest.fixture(scope="module")
def bucket():
    with pytest.MonkeyPatch.context() as patched, s3_server() as server:
        for name, value in CREDENTIALS.items():
            patched.setenv(name, value)
        yield server


def test_in_an_object_store_starts_write_segments_that_readers_join(bucket, monkeypatch):
    store = Store(bucket.uri("events"))
    monkeypatch.setattr(event_log, "REWRITE_S", 0.01)
    monkeypatch.setattr(event_log, "SEGMENT_BYTES", 400)
    one_start(store, "b", range(30))
    one_start(store, "a", range(30, 33))
    assert kinds(store) == [
        *("run_started", *(f"t{n}" for n in range(30)), "run_ended"),
        *("run_started", "t30", "t31", "t32", "run_ended"),
    ]
    names = store.names(FOLDER)
    assert names == sorted(names)
    assert f"{FOLDER}/a-000000.jsonl" in names
    assert not store.exists(FILE)


def test_a_start_in_an_object_store_leaves_its_mark_at_once_and_what_follows_within_seconds(
    bucket, monkeypatch
):
    store = Store(bucket.uri("mark"))
    monkeypatch.setattr(event_log, "REWRITE_S", 0.2)
    with recording() as log, log.kept_in(store, "a"):
        assert kinds(store) == ["run_started"]
        record(happened(1))
        until = time.monotonic() + 20
        while kinds(store) == ["run_started"]:
            assert time.monotonic() < until
        assert kinds(store) == ["run_started", "t1"]
