"""The sweep that suffers: hundreds of real trials of the zoo, searched for in lanes; how its remains are judged."""

from __future__ import annotations

import os
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import phantom_dist
from phantom_dist.spec import load_contexts
from phantom_dist.traces import RunDirectory, Store
from phantom_dist.traces.digest import results_digest

CONTEXTS = Path(__file__).parents[2] / "sweeps/contexts/zoo.yaml"


def sweep() -> dict[str, Any]:
    """Critical rates to 2 % in all contexts of the zoo, T = 2; about 50 trials a model."""
    names = ["gpt2-a", "llama-a", "opt-a", "gemma3-a", "gpt-neox-a"]
    return {
        "name": "chaos",
        "models": [f"zoo:{name}" for name in names],
        "contexts": [context.model_dump() for context in load_contexts(CONTEXTS)],
        "methods": [{"full": {"optimizers": ["sgd"]}}],
        "learning_rates": {"critical": {"tolerance": 0.02, "start": "first_order"}},
        "steps": 2,
    }


def training_sweep() -> dict[str, Any]:
    """Critical rates of the same contexts, trained together as a training set; every round has several batches."""
    return sweep() | {
        "name": "chaos-set",
        "models": ["zoo:gpt2-a"],
        "training": {"data": "contexts", "batch_size": 4, "measure_every": 4},
        "methods": [{"lora": {"rank": 4, "dropout": 0.1}}],
        "optimizers": ["adamw"],
        "learning_rates": {"critical": {"tolerance": 0.05}},
        "steps": 8,
    }


def run_here(out: Path) -> None:
    """Run it in this process."""
    phantom_dist.run(sweep(), out, executor="inprocess")


def train_here(out: Path) -> None:
    """Run the sweep over a training set in this process."""
    phantom_dist.run(training_sweep(), out, executor="inprocess")


@dataclass(frozen=True, slots=True)
class Verdict:
    """What is wrong with a directory, beside one that nothing happened to."""

    lost: int
    duplicated: int
    torn: int
    digest_equal: bool


WHOLE = Verdict(lost=0, duplicated=0, torn=0, digest_equal=True)


def judge(location: Path, undisturbed: Path) -> Verdict:
    """Count trials that are missing or there twice, files that can't be read, and compare the results' digests."""
    found, wanted = (RunDirectory(Store(place)) for place in (location, undisturbed))
    # `os.walk` passes over a lease's folder that a worker removes meanwhile.
    torn = sum(name.endswith(".tmp") for _, _, names in os.walk(location) for name in names)
    for name in found.store.names():
        if name.endswith(".parquet"):
            torn += not _readable(found, name)
    if torn:
        return Verdict(0, 0, torn, False)
    have = Counter(found.trials()["trial_id"].to_pylist())
    steps = Counter(zip(*(found.traces()[c].to_pylist() for c in ("trial_id", "step")), strict=True))
    should = set(wanted.trials()["trial_id"].to_pylist())
    twice = sum(n - 1 for n in have.values()) + sum(n - 1 for n in steps.values())
    return Verdict(len(should - set(have)), twice, 0, results_digest(found) == results_digest(wanted))


def _readable(directory: RunDirectory, name: str) -> bool:
    import pyarrow.parquet as pq
    from pyarrow import ArrowException

    try:
        pq.read_table(directory.store.path(name), partitioning=None)
    except (ArrowException, OSError):
        return False
    return True
