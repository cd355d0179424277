"""Problems into probe tasks."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator

from phantom_dist.core.probe_result import Measured, PathProbe
from phantom_dist.core.trial import Problem
from phantom_dist.planning.sizes import BATCH_WORK, MAX_PROBES, work
from phantom_dist.scheduling.tasks import ProbeTask, probe_task


def probe_tasks(
    problems: Iterable[Problem],
    parameters: Callable[[Problem], int],
    with_path: Callable[[Problem], bool] = lambda problem: False,
    seconds: Callable[[Problem], float] = lambda problem: 0.0,
    memory_bytes: Callable[[Problem], float] = lambda problem: 0.0,
) -> Iterator[ProbeTask]:
    """Probe tasks of one model each, in order, up to `BATCH_WORK` or `MAX_PROBES`, at least one problem.

    Args:
        problems: what to probe.
        parameters: number of parameters of a problem's model.
        with_path: whether a problem's path is probed as well.
        seconds: predicted time of a problem's probe.
        memory_bytes: memory of the workers that a problem's probe needs.
    """
    alike: dict[tuple[str, bool, float], list[Problem]] = {}
    for problem in problems:
        key = (problem.model, with_path(problem), memory_bytes(problem))
        alike.setdefault(key, []).append(problem)
    for (_, paths, memory), members in alike.items():
        steps = PathProbe.STEPS if paths else Measured.PROBE_STEPS
        cost = work(members[0], parameters(members[0])) * steps / members[0].steps
        size = max(1, min(MAX_PROBES, int(BATCH_WORK // cost)))
        for start in range(0, len(members), size):
            some = members[start : start + size]
            yield probe_task(some, paths=paths, seconds=sum(map(seconds, some)), memory_bytes=memory)
