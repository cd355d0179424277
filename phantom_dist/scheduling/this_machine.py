"""How many workers this machine can hold, and how much memory each may use."""

from __future__ import annotations

import psutil
import torch

from phantom_dist.scheduling.worker_kind import WorkerKind

SHARE = 0.8
"""Share of the memory that workers may use; the rest is for the system, the driver and Ray."""


def worker_kind(device: str, threads: int) -> WorkerKind:
    """One worker for each GPU if there is any, else as many as the CPUs allow, which share the memory equally.

    Args:
        device: `auto`, `cpu` or `cuda`.
        threads: CPU threads of a worker.
    """
    if device != "cpu" and torch.cuda.is_available():
        return WorkerKind(count=torch.cuda.device_count(), memory_bytes=gpu_bytes(), on_gpu=True)
    count = max(1, (psutil.cpu_count() or 1) // threads)
    return WorkerKind(count=count, memory_bytes=SHARE * psutil.virtual_memory().total / count)


def gpu_bytes() -> float:
    """Memory that a worker may use of the first GPU (bytes)."""
    return float(SHARE * torch.cuda.get_device_properties(0).total_memory)
