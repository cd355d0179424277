"""Peak memory of the driver and all processes that it started."""

from __future__ import annotations

from contextlib import suppress

import psutil


class PeakMemory:
    """Samples the proportional set size of the process tree (bytes): pages shared by n processes count 1/n in each."""

    def __init__(self) -> None:
        self.peak_bytes = 0

    def sample(self) -> None:
        """Take one sample; a process that ends meanwhile counts 0."""
        driver = psutil.Process()
        total = 0
        for process in (driver, *driver.children(recursive=True)):
            with suppress(psutil.NoSuchProcess, psutil.AccessDenied):
                total += _proportional(process)
        self.peak_bytes = max(self.peak_bytes, total)


def _proportional(process: psutil.Process) -> int:
    memory = process.memory_full_info()
    return int(getattr(memory, "pss", memory.rss))
