"""The workers for which a plan is made, as data that is recorded with a run and reused when it continues."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from phantom_dist.scheduling.worker_kind import WorkerKind


@dataclass(frozen=True, kw_only=True, slots=True)
class Resources:
    """The available workers.

    Attributes:
        kinds: kinds of workers, least memory first; at least one.
        deepspeed: whether DeepSpeed is installed, so that groups of ranks can be formed.
    """

    kinds: tuple[WorkerKind, ...]
    deepspeed: bool = True

    @property
    def largest(self) -> WorkerKind:
        """The kind with the most memory per worker."""
        return max(self.kinds, key=lambda kind: kind.memory_bytes)

    @property
    def for_ranks(self) -> WorkerKind:
        """The kind of which groups of ranks consist: the one with the most memory in total."""
        return max(self.kinds, key=lambda kind: kind.count * kind.memory_bytes)

    def to_json(self) -> dict[str, Any]:
        """The object that is recorded in a run's `state.json`."""
        kinds = [
            {"count": kind.count, "memory_bytes": kind.memory_bytes, "on_gpu": kind.on_gpu}
            for kind in self.kinds
        ]
        return {"workers": kinds, "deepspeed": self.deepspeed}

    @classmethod
    def from_json(cls, recorded: Mapping[str, Any]) -> Resources:
        """Decode an object of `to_json`, or the `packing` that runs recorded until 2026-11."""
        if "workers" not in recorded:
            kind = WorkerKind(
                count=recorded.get("workers_for_groups", 1),
                memory_bytes=recorded["worker_memory_bytes"],
                on_gpu=recorded.get("on_gpu", False),
            )
            return cls(kinds=(kind,))
        return cls(
            kinds=tuple(WorkerKind(**kind) for kind in recorded["workers"]), deepspeed=recorded["deepspeed"]
        )
