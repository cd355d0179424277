"""Checks what this machine and its cluster can run, what is missing and how to get it, and what would fail later.

| file | checks |
|---|---|
| `packages` | packages and their versions, plug-ins |
| `hardware` | processors, memory, open files; what a container may use of them |
| `places` | folders: free space, write permission, Ray's sockets and shared memory |
| `clocks` | this machine's clock, and those of its file systems |
| `network` | the host's name, proxies, the cluster's token |
| `clusters` | Ray: the cluster of RAY_ADDRESS, clusters running here, unprotected ports |
| `check` | nothing: the result of a check, and of all of them |

A check changes nothing and leaves nothing behind.
"""

from __future__ import annotations

import importlib.util

from phantom_dist.machine import clocks, clusters, hardware, network, packages, places
from phantom_dist.machine.check import Check, Diagnosis

__all__ = ["doctor"]


def doctor() -> Diagnosis:
    """Check this machine and its cluster."""
    checks = (
        *packages.packages(),
        hardware.processor(),
        hardware.cpu_quota(),
        hardware.accelerator(),
        hardware.memory(),
        hardware.memory_limit(),
        hardware.open_files(),
        places.disk(),
        places.shared_memory(),
        places.cache(),
        *clocks.clocks(),
        network.host_name(),
        network.proxies(),
        network.token(),
        *_ray_checks(),
        clusters.open_ports(),
        packages.browser(),
        *packages.plugins(),
    )
    return Diagnosis(checks)


def _ray_checks() -> list[Check]:
    """Checks that import Ray; none if it isn't installed, which `packages` reports."""
    if importlib.util.find_spec("ray") is None:
        return []
    return [places.temporary_folder(), clusters.cluster(), clusters.running()]
