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
        with_path: whether that is probed, too, from which the law predicts η_c, where the search then starts.
        seconds: predicted time (s).
        memory_bytes: memory of the workers that may take it; 0 if there is only one kind.
    """

    problem: Problem
    work: float
    with_path: bool = False
    seconds: float = 0.0
    memory_bytes: float = 0.0


def probe_tasks(probes: Iterable[PlannedProbe]) -> Iterator[ProbeTask]:
    """Probe tasks of one model each, in order, with at most `BATCH_WORK` and `MAX_PROBES` but at least one problem.

    Words whose rates are predicted on a training set share its sample, and so a task.
    """
    by_kind: dict[object, list[PlannedProbe]] = {}
    for probe in probes:
        key = (probe.problem.model, probe.with_path, probe.memory_bytes, _sample_of(probe))
        by_kind.setdefault(key, []).append(probe)
    for members in by_kind.values():
        first = members[0]
        size = len(members)
        if _sample_of(first) is None:
            steps = PathProbe.STEPS if first.with_path else Measured.PROBE_STEPS
            size = max(1, min(MAX_PROBES, int(BATCH_WORK // (first.work * steps / first.problem.steps))))
        for start in range(0, len(members), size):
            part = members[start : start + size]
            yield probe_task(
                (probe.problem for probe in part),
                paths=first.with_path,
                seconds=sum(probe.seconds for probe in part),
                memory_bytes=first.memory_bytes,
            )


def _sample_of(probe: PlannedProbe) -> object:
    """What probes have in common that share a training set's sample; None for any other."""
    is_shared = probe.with_path and probe.problem.training is not None
    return probe.problem.training_at(None) if is_shared else None
