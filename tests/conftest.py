"""Settings of all tests."""

from __future__ import annotations

import os

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
