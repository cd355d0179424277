"""Packs problems into probe tasks."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from phantom_dist.core.probe_result import Measured, PathProbe
from phantom_dist.core.trial import Problem
from phantom_dist.planning.sizes import BATCH_WORK, MAX_PROBES
from phantom_dist.scheduling.tasks import ProbeTask, probe_task


@dataclass(frozen=True, kw_only=True, slots=True)
class PlannedProbe:
    """The probe of one problem.

    Attributes:
        problem: the problem.
        work: its size, see `sizes.work`.
        with_path: whether the path is probed too, so that the search starts where the law predicts η_c.
        seconds: predicted time (s).
        memory_bytes: memory of the workers that may take it; 0 if there is only one kind.
    """

    problem: Problem
    work: float
    with_path: bool = False
    seconds: float = 0.0
    memory_bytes: float = 0.0


def probe_tasks(probes: Iterable[PlannedProbe]) -> Iterator[ProbeTask]:
    """Probe tasks of one model each, in order, with at most `BATCH_WORK` and `MAX_PROBES` but at least one problem."""
    by_kind: dict[tuple[str, bool, float], list[PlannedProbe]] = {}
    for probe in probes:
        by_kind.setdefault((probe.problem.model, probe.with_path, probe.memory_bytes), []).append(probe)
    for (_, paths, memory), members in by_kind.items():
        first = members[0]
        steps = PathProbe.STEPS if paths else Measured.PROBE_STEPS
        work_of_one = first.work * steps / first.problem.steps
        size = max(1, min(MAX_PROBES, int(BATCH_WORK // work_of_one)))
        for start in range(0, len(members), size):
            part = members[start : start + size]
            yield probe_task(
                (probe.problem for probe in part),
                paths=paths,
                seconds=sum(probe.seconds for probe in part),
                memory_bytes=memory,
            )
