"""Settings of all tests."""

from __future__ import annotations

import gc
import os
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import settings

if "PYTEST_XDIST_WORKER" in os.environ:
    os.environ["OMP_NUM_THREADS"] = "1"  # several processes of several threads each slow one another tenfold

# No deadline: on a shared machine the time of one example says nothing about the code.
settings.register_profile("phantom_dist", deadline=None, print_blob=True)
settings.load_profile("phantom_dist")


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Of tests that run side by side, those of one file share a process, for they share fixtures.

    So do all that start Ray, whatever their file: some look for a Ray on this machine, and shall find theirs or none.
    """
    for item in items:
        group = "ray" if item.get_closest_marker("ray") else item.nodeid.split("::")[0]
        item.add_marker(pytest.mark.xdist_group(group))


def pytest_collection_finish() -> None:
    """Modules and tests stay; collections of garbage would read all of them again, a tenth of the suite's time."""
    gc.freeze()


def pytest_unconfigure() -> None:
    """DuckDB reports each of its objects that is left at exit, and frozen ones are."""
    gc.unfreeze()


NO_RAY = "/no-ray-in-this-test/" + "x" * 100
"""Too long for the sockets of a Ray, so none starts."""

RAY_FILE = pytest.StashKey[Path]()
"""The file of the latest test that started Ray; its tests may share one."""


@pytest.hookimpl(wrapper=True)
def pytest_runtest_protocol(item: pytest.Item) -> Iterator[None]:
    """A test that starts Ray is marked so; the Rays of other files have ended before it."""
    with pytest.MonkeyPatch.context() as patch:
        if not item.get_closest_marker("ray"):
            patch.setenv("RAY_TMPDIR", NO_RAY)
        elif item.config.stash.get(RAY_FILE, None) != item.path:
            item.config.stash[RAY_FILE] = item.path
            _wait_for_the_end_of_others()
        return (yield)


def _wait_for_the_end_of_others(seconds: float = 30.0) -> None:
    """A Ray whose driver was killed ends some seconds later."""
    from phantom_dist.scheduling.ray_place import clusters_here

    deadline = time.monotonic() + seconds
    while clusters_here() and time.monotonic() < deadline:
        time.sleep(0.2)
