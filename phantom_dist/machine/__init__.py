"""What this machine and its cluster can run, what is missing and how to get it, and what would go wrong later.

| file | what it looks at |
|---|---|
| `packages` | packages and their versions, plug-ins |
| `hardware`, `container` | processors, memory, open files; what a container may use of them |
| `places` | folders: room, whether they can be written, Ray's sockets and shared memory |
| `clocks` | this machine's clock, and those that stamp its files |
| `network` | the host's name, proxies, the cluster's token |
| `clusters` | Ray: the cluster that is named, those that run here, open doors |
| `check` | an entry of the list |

A look changes nothing and leaves nothing behind.
"""

from __future__ import annotations

import importlib.util

from phantom_dist.machine import clocks, clusters, hardware, network, packages, places
from phantom_dist.machine.check import Check, Diagnosis

__all__ = ["doctor"]


def doctor() -> Diagnosis:
    """Look at this machine and its cluster."""
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
        *_of_ray(),
        clusters.open_ports(),
        packages.browser(),
        *packages.plugins(),
    )
    return Diagnosis(checks)


def _of_ray() -> list[Check]:
    """What only Ray itself can say; where it isn't installed, `packages` has said so."""
    if importlib.util.find_spec("ray") is None:
        return []
    return [places.temporary_folder(), clusters.cluster(), clusters.running()]
