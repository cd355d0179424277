"""Metadata of a batch's execution: the columns of `trials/` that are not results."""

from __future__ import annotations

import dataclasses
import functools
import platform
import resource
import socket
from collections.abc import Sequence
from datetime import UTC, datetime
from importlib.metadata import version

PACKAGES = ("phantom-dist", "torch", "transformers", "peft")
"""Packages whose versions every trial row records."""


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class ExecutionMetadata:
    """The fields are columns of `core.quantities`; `device` and `threads` are None where nothing was computed."""

    batch: str
    attempt: int
    host: str
    process_bytes: int
    finished_at: datetime
    versions: str
    device: str | None = None
    threads: int | None = None


def execution_metadata(
    batch: str,
    attempt: int,
    *,
    device: str | None = None,
    threads: int | None = None,
    more_packages: Sequence[str] = (),
) -> ExecutionMetadata:
    """The metadata of a batch that ends now in this process.

    Args:
        batch: name of the batch.
        attempt: number of attempts, including this one.
        device: kind of the device.
        threads: torch's number of threads.
        more_packages: further packages that affect results, as `NAME VERSION`.
    """
    return ExecutionMetadata(
        batch=batch,
        attempt=attempt,
        host=socket.gethostname(),
        process_bytes=1024 * resource.getrusage(resource.RUSAGE_SELF).ru_maxrss,
        finished_at=datetime.now(UTC),
        versions=", ".join([_versions(), *more_packages]),
        device=device,
        threads=threads,
    )


@functools.cache
def _versions() -> str:
    """Cached, because reading the versions takes as long as storing a batch."""
    packages = ", ".join(f"{name} {version(name)}" for name in PACKAGES)
    return f"{packages}, python {platform.python_version()}"
