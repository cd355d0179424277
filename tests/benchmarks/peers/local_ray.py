"""A Ray of the benchmark's own on this machine, the same for both sides."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import ray


@contextmanager
def local_ray(hook: str | None = None) -> Iterator[None]:
    """Start Ray on all cores, and end it.

    Args:
        hook: the dotted name of a function that every worker process calls first.
    """
    ray.init(
        address="local",
        include_dashboard=False,
        log_to_driver=False,
        logging_level="WARNING",
        runtime_env={"worker_process_setup_hook": hook} if hook else None,
    )
    try:
        yield
    finally:
        ray.shutdown()
