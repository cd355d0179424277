"""The workers that this machine has room for, and what each may plan with."""

from __future__ import annotations

import psutil
import torch

from phantom_dist.scheduling.worker_kind import WorkerKind

SHARE = 0.8
"""Share of the memory that workers may plan with; the rest is for the system, the driver and Ray."""


def worker_kind(device: str, threads: int) -> WorkerKind:
    """One worker for each GPU where there is one, else as many as fit the CPUs; they share the memory equally.

    Args:
        device: `auto`, `cpu` or `cuda`.
        threads: CPU threads of a worker.
    """
    if device != "cpu" and torch.cuda.is_available():
        return WorkerKind(count=torch.cuda.device_count(), memory_bytes=gpu_bytes(), on_gpu=True)
    count = max(1, (psutil.cpu_count() or 1) // threads)
    return WorkerKind(count=count, memory_bytes=SHARE * psutil.virtual_memory().total / count)


def gpu_bytes() -> float:
    """Memory of the first GPU that a worker may plan with (bytes)."""
    return float(SHARE * torch.cuda.get_device_properties(0).total_memory)
