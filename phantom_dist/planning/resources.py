"""The workers that a plan is made for, as data: recorded with a run, and replayed when it continues."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from phantom_dist.scheduling.worker_kind import WorkerKind


@dataclass(frozen=True, kw_only=True, slots=True)
class Resources:
    """The workers there is room for.

    Attributes:
        kinds: kinds of workers, least memory first; at least one.
        deepspeed: whether groups of ranks can be formed, which takes DeepSpeed.
    """

    kinds: tuple[WorkerKind, ...]
    deepspeed: bool = True

    @property
    def largest(self) -> WorkerKind:
        """The kind with the most memory for each worker."""
        return max(self.kinds, key=lambda kind: kind.memory_bytes)

    @property
    def for_ranks(self) -> WorkerKind:
        """The kind that groups of ranks are made of: the one with the most memory in all."""
        return max(self.kinds, key=lambda kind: kind.count * kind.memory_bytes)

    def to_json(self) -> dict[str, Any]:
        """As it is recorded in a run's `state.json`."""
        kinds = [
            {"count": kind.count, "memory_bytes": kind.memory_bytes, "on_gpu": kind.on_gpu}
            for kind in self.kinds
        ]
        return {"workers": kinds, "deepspeed": self.deepspeed}

    @classmethod
    def from_json(cls, recorded: Mapping[str, Any]) -> Resources:
        """What `to_json` recorded; also what runs recorded as their `packing` until 2026-11."""
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
