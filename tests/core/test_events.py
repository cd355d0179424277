"""Events as records: they survive JSON, reach the log and whoever listens, and say in a line what happened."""

from __future__ import annotations

import json
import logging
import subprocess
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st

from phantom_dist.core.events import SHORT, EventKind, RunEvent, listening, record

TEXT = st.text(max_size=30) | st.none()
EVENTS = st.builds(
    RunEvent,
    time=st.floats(0, 4e9).map(lambda seconds: round(seconds, 3)),
    kind=st.sampled_from(EventKind),
    task=st.text(min_size=1, max_size=16) | st.none(),
    task_kind=st.sampled_from(["probe", "train", None]),
    size=st.integers(1, 100) | st.none(),
    worker=st.text(min_size=1, max_size=9) | st.none(),
    lease=st.integers(1, 10**6) | st.none(),
    attempt=st.integers(1, 9) | st.none(),
    copy=st.booleans(),
    preempted=st.booleans(),
    message=st.text(min_size=1) | st.none(),
    parts=st.lists(st.text(max_size=9), max_size=2).map(tuple),
    activities=st.dictionaries(
        st.sampled_from(["loading", "training"]), st.floats(0, 1e6).map(lambda s: round(s, 3))
    ),
)


@given(EVENTS)
def test_an_event_survives_json(event):
    line = json.dumps(event.to_json())
    again = RunEvent.from_json(json.loads(line))
    assert again.time == pytest.approx(event.time, abs=2e-6)
    assert RunEvent.from_json(again.to_json()) == again
    assert again.to_json() == event.to_json()


@given(EVENTS)
def test_every_event_has_a_line_of_its_own(event):
    text = str(event)
    assert text
    assert "\n" not in text.replace(event.task or "", "").replace(event.worker or "", "")
    assert len(text) < 2 * SHORT + 200


def test_what_is_not_known_takes_no_room():
    assert RunEvent(time=0.0, kind=EventKind.DRAINING).to_json() == {
        "time": "1970-01-01T00:00:00.000000+00:00",
        "kind": "draining",
    }


@pytest.mark.parametrize("row", [{}, {"kind": "draining"}, {"time": "x", "kind": "draining"}, {"time": 1}])
def test_what_is_no_event_is_refused(row):
    with pytest.raises((ValueError, TypeError, KeyError)):
        RunEvent.from_json(row)


def test_keys_of_a_newer_version_are_ignored():
    row = RunEvent(time=1.0, kind=EventKind.DRAINING).to_json() | {"temperature": 3}
    assert RunEvent.from_json(row).kind is EventKind.DRAINING


def lost(**more) -> RunEvent:
    what = {"task": "b1", "task_kind": "train", "size": 24, "model": "zoo:gpt2-a", "worker": "worker-0"}
    return RunEvent(time=1.0, kind=EventKind.TASK_LOST, **what, lease=7, attempt=2, **more)


def test_an_event_reaches_the_log_and_every_listener(caplog):
    heard, outer = [], []
    with caplog.at_level(logging.INFO, "phantom_dist"), listening(outer.append), listening(heard.append):
        record(lost(message="it died\n of something"))
    assert heard == outer == [lost(message="it died\n of something")]
    (logged,) = caplog.records
    assert (logged.name, logged.levelname) == ("phantom_dist.scheduling", "WARNING")
    assert logged.event == heard[0]
    assert logged.getMessage() == (
        "worker-0: batch b1 (24 trials of zoo:gpt2-a), attempt 2, lease 7 lost: it died of something"
    )
    record(lost())
    assert len(heard) == 1, "nobody listens after the block"


def test_the_library_prints_nothing_of_itself_and_the_monitor_still_does():
    """Python prints warnings of loggers without a handler; the monitor relies on that, the scheduler must not."""
    code = (
        "import logging; from phantom_dist.core.events import *; from phantom_dist.core.activity import *\n"
        "record(RunEvent(time=0.0, kind=EventKind.TASK_LOST, worker='w'))\n"
        "with activity(Activity.LOADING, 'x', long=True): pass\n"
        "logging.getLogger('phantom_dist.monitor').warning('silent failure')"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert (done.stdout, done.stderr) == ("", "silent failure\n")
