"""Tests that run side by side: those of one file, and all that start Ray, share a process (`conftest.py`)."""

from __future__ import annotations

import pytest


def test_tests_are_kept_together(request: pytest.FixtureRequest) -> None:
    """A plug-in that no longer knows groups would say nothing, and fixtures would be made once per process."""
    if not hasattr(request.config, "workerinput"):
        pytest.skip("one process runs all tests")
    assert request.node.nodeid.endswith("@tests/test_side_by_side.py")
