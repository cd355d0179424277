"""Metadata and resources for tests of planning; no such model exists."""

from __future__ import annotations

from phantom_dist.models import ModelMetadata
from phantom_dist.planning.resources import Resources
from phantom_dist.scheduling.worker_kind import WorkerKind

TEXT = "After betraying his closest friend he was overcome with"


def metadata(name: str = "m", parameters: int = 135_000_000) -> ModelMetadata:
    return ModelMetadata(
        reference=name,
        title=name,
        architecture="LlamaForCausalLM",
        parameters=parameters,
        width=576,
        layers=30,
        heads=9,
        vocabulary_size=49_152,
        tied=True,
    )


def kind(memory_bytes: float, count: int = 2, on_gpu: bool = False) -> WorkerKind:
    return WorkerKind(count=count, memory_bytes=memory_bytes, on_gpu=on_gpu)


def resources(*kinds: WorkerKind, deepspeed: bool = True) -> Resources:
    return Resources(kinds=kinds or (kind(10e9),), deepspeed=deepspeed)
