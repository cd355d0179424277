"""A short real run whose workers are killed while they have a task: the timeline explains every kill that was made."""

from __future__ import annotations

import os
import signal
import threading
import time
from contextlib import suppress

import pytest

import phantom_dist
from phantom_dist.campaign.timeline import explain, timeline_of
from phantom_dist.cli.timeline_text import why_text
from phantom_dist.core.events import EventKind, RunEvent
from phantom_dist.scheduling.timeline import End
from phantom_dist.traces import RunDirectory, Store
from tests.chaos.explained import unexplained
from tests.chaos.hit import Hit
from tests.chaos.sweep import sweep

pytestmark = [pytest.mark.slow, pytest.mark.ray]

KILLS = 3


class Killer(threading.Thread):
    """Kills workers that have just been given a task, as the events say, each task's once."""

    def __init__(self, directory: RunDirectory) -> None:
        super().__init__(daemon=True)
        self._directory = directory
        self.hits: list[Hit] = []
        self.leases: list[int] = []
        self.over = threading.Event()

    def run(self) -> None:
        """Until there were so many kills, or the run is over."""
        seen, tasks = 0, set()
        while len(self.hits) < KILLS and not self.over.wait(0.02):
            events = self._directory.events()
            for number, event in enumerate(events[seen:], start=seen):
                if (
                    event.kind is EventKind.TASK_STARTED
                    and event.task not in tasks
                    and len(self.hits) < KILLS
                ):
                    tasks.add(event.task)
                    self._kill(event, events[:number])
                    break
            seen = len(events)

    def _kill(self, started: RunEvent, before: list[RunEvent]) -> None:
        ready = [e for e in before if e.kind is EventKind.WORKER_READY and e.worker == started.worker][-1]
        with suppress(ProcessLookupError):
            os.kill(ready.process, signal.SIGKILL)
            now = time.time()
            self.hits.append(Hit(who="worker", time=now, process=ready.process, age=now - ready.time))
            self.leases.append(started.lease)


def test_every_killed_worker_is_a_lost_attempt_and_its_retry_is_linked(tmp_path):
    what = sweep()
    what["models"] = what["models"][:2]
    directory = RunDirectory(Store(tmp_path / "run"))
    killer = Killer(directory)
    killer.start()
    result = phantom_dist.run(what, tmp_path / "run", address="local", workers=2)
    killer.over.set()
    killer.join()
    assert result.state == "complete"
    assert len(killer.hits) == KILLS
    assert unexplained(tmp_path / "run", killer.hits) == []
    went = timeline_of(tmp_path / "run")
    attempts = {attempt.lease: attempt for attempt in went.attempts}
    assert {attempts[lease].process for lease in killer.leases} == {hit.process for hit in killer.hits}
    lost = [attempts[lease] for lease in killer.leases if attempts[lease].end is End.LOST]
    assert lost, "at least one died before its task was done"
    for attempt in lost:
        assert "died" in attempt.message
        later = went.story(attempt.task).attempts[-1]
        assert later.end is End.DONE
        assert later.process != attempt.process
        told = explain(tmp_path / "run", attempt.task).to_json()
        assert "worker lost (" in why_text(told)
        assert "done after" in why_text(told)
    trial = directory.trials().to_pylist()[0]
    why = explain(tmp_path / "run", trial["trial_id"][:14])
    assert (why.trial, why.task) == (trial["trial_id"], trial["batch"])
    assert sum(worker.deaths for worker in went.workers) >= len(lost)
