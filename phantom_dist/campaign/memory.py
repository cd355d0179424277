"""Memory on this host: what a worker may take, and the peak of the driver and everything it started."""

from __future__ import annotations

from contextlib import suppress

import psutil
import torch

SHARE = 0.8
"""Of the memory that is there, what workers may plan with; the rest is for the system, the driver and Ray."""


def uses_gpu(device: str) -> bool:
    """Whether a worker that is started here for a device (`auto`, `cpu` or `cuda`) trains on a GPU."""
    return device != "cpu" and torch.cuda.is_available()


def share_of_memory(device: str, threads: int) -> float:
    """Bytes for each worker: of the first GPU where there is one, else of this machine for one worker of many.

    Args:
        device: `auto`, `cpu` or `cuda`.
        threads: CPU threads of a worker; as many workers as fit the CPUs share the machine.
    """
    if uses_gpu(device):
        return SHARE * torch.cuda.get_device_properties(0).total_memory
    return SHARE * psutil.virtual_memory().total / workers_here(device, threads)


def workers_here(device: str, threads: int) -> int:
    """How many workers this machine has room for: one for each GPU where there is one, else as many as fit the CPUs."""
    if uses_gpu(device):
        return torch.cuda.device_count()
    return max(1, (psutil.cpu_count() or 1) // threads)


class PeakMemory:
    """Samples the process tree: proportional set size (pages shared by n processes count 1/n in each), in bytes."""

    def __init__(self) -> None:
        self.peak_bytes = 0

    def sample(self) -> None:
        """Take one sample; a process that ends meanwhile counts as nothing."""
        driver = psutil.Process()
        total = 0
        for process in (driver, *driver.children(recursive=True)):
            with suppress(psutil.NoSuchProcess, psutil.AccessDenied):
                total += _proportional(process)
        self.peak_bytes = max(self.peak_bytes, total)


def _proportional(process: psutil.Process) -> int:
    memory = process.memory_full_info()
    return int(getattr(memory, "pss", memory.rss))
