"""What coverage needs for Ray's workers: they end from C++, so no exit handler of Python's writes the data.

`pyproject.toml` names this module as a plugin of coverage, which imports it in every process that is measured.
"""

from __future__ import annotations

import sys
import threading
import time
from typing import Any

import coverage

SECONDS = 1.0
"""Between two writes; what a worker did after its last one is not counted."""


class Nothing(coverage.CoveragePlugin):
    """Coverage insists on an object."""


def coverage_init(registry: Any, options: dict[str, str]) -> None:
    """Called by coverage as it starts in a process."""
    registry.add_configurer(Nothing())
    if any("default_worker.py" in word for word in sys.orig_argv):
        threading.Thread(target=save, name="coverage of a worker", daemon=True).start()


def save() -> None:
    """Write what was measured so far, again and again."""
    while True:
        time.sleep(SECONDS)
        measured = coverage.Coverage.current()
        if measured is not None:
            measured.save()
