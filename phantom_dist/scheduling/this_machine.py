"""How many workers this machine can hold, and how much memory each may use."""

from __future__ import annotations

import math
import os
import sys

from phantom_dist.core import container
from phantom_dist.scheduling.worker_kind import WorkerKind

SHARE = 0.8
"""Share of the memory that workers may use; the rest is for the system, the driver and Ray."""

GRAIN = 1 / 16
"""Free memory is rounded down to a multiple of this share, so that plans made at different moments agree."""


def worker_kind(device: str, threads: int, usable: float | None = None) -> WorkerKind:
    """One worker for each GPU if there is any, else as many as the CPUs allow, which share the free memory equally.

    What other programs use now is taken off, and a container's limits count.

    Args:
        device: `auto`, `cpu` or `cuda`.
        threads: CPU threads of a worker.
        usable: what `usable_bytes` said when nothing had been started yet; None: now.
    """
    if device != "cpu" and _may_have_gpu():
        import torch  # takes seconds

        if torch.cuda.is_available():
            return WorkerKind(count=torch.cuda.device_count(), memory_bytes=gpu_bytes(), on_gpu=True)
    cpus = min(os.cpu_count() or 1, container.cpu_limit() or math.inf)
    count = max(1, int(cpus // threads))
    return WorkerKind(count=count, memory_bytes=(usable_bytes() if usable is None else usable) / count)


def _may_have_gpu() -> bool:
    """Whether this machine can have a GPU that torch uses: on Linux there is none without a driver's device."""
    devices = ("/dev/nvidiactl", "/dev/kfd", "/dev/dxg")
    return sys.platform != "linux" or any(map(os.path.exists, devices))


def usable_bytes() -> float:
    """Memory (bytes) that all workers of this machine may use together."""
    total = container.memory_total()
    free = int(container.memory_free() / (GRAIN * total)) * GRAIN * total
    return max(0.0, min(SHARE * total, free - container.RESERVE * total))


def gpu_bytes() -> float:
    """Memory that a worker may use of the first GPU (bytes)."""
    import torch

    return float(SHARE * torch.cuda.get_device_properties(0).total_memory)
