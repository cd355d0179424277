"""Ranks that share one sharded model against a worker of its own: lanes per second, memory, bytes gathered.

One worker with one thread trains L lanes of SmolLM2; N ranks of one thread each train N L lanes, L on each. Both train
in turn in each round; the medians of the rounds are reported, lanes · steps a second and their ratio. Memory is that of
a process's own pages (USS) once the model is there, beyond what it had before, over the bytes of the model's weights.
Bytes are what a rank received from the others for one step, over the floor: its missing part of each matrix, twice.

Ranks of one machine read each other's shards in place; `--sends` makes them send, as ranks of several machines do.

    python -m tests.benchmarks.groups [--ranks 2] [--lanes 24] [--rounds 5] [--sends]
    python -m tests.benchmarks.groups --paper    # a simulation on paper: large models on GPUs
"""

from __future__ import annotations

import argparse
import ctypes
import gc
import json
import multiprocessing
import os
import statistics
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import psutil
from rich.console import Console
from rich.table import Table

from tests.engines.ranks import RankProcesses

CONTEXTS = Path(__file__).parents[2] / "sweeps/contexts/near_synonyms.yaml"
MODEL = "gguf:smollm2-135m-instruct"
STEPS = 8
console = Console(width=120)


@dataclass(frozen=True, kw_only=True)
class Trained:
    """One round on one process: seconds, bytes received."""

    seconds: float
    received: int


_kept: dict[str, Any] = {}
"""What a process keeps between its calls: the model, and its trials by kind."""


def own_bytes() -> int:
    """The process's own pages, and its part of those that it shares (PSS)."""
    gc.collect()
    with suppress(OSError, AttributeError):
        ctypes.CDLL("libc.so.6").malloc_trim(0)
    return int(psutil.Process().memory_full_info().pss)


def loaded_alone(_: Any) -> tuple[int, int]:
    """Load the whole model; the bytes that this took, and those of its weights."""
    import torch

    from phantom_dist.models.load import load

    torch.set_num_threads(1)
    before = own_bytes()
    _kept["loaded"] = load(MODEL)
    return own_bytes() - before, 4 * _kept["loaded"].identity.parameters


def loaded_in_shards(ranks: Any, in_place: bool) -> tuple[int, int]:
    """Load the model in shards; as `loaded_alone`."""
    from phantom_dist.engines.deepspeed_group.sharded_base import load_sharded_base
    from phantom_dist.models import Permissions

    before = own_bytes()
    problem = _problems("dual")[0]
    _kept["base"] = load_sharded_base(problem, ranks, Permissions(), in_place=in_place)
    _kept["loaded"] = _kept["base"].loaded
    return own_bytes() - before, 4 * _kept["loaded"].identity.parameters


def train(_: Any, kind: str, lanes: int, copies: int) -> Trained:
    """Train so many lanes, that many times: in one process, or as its share of a group's."""
    from phantom_dist.engines.deepspeed_group.sharded_base import GroupLanesEngine
    from phantom_dist.engines.lanes.engine import LanesEngine

    base = _kept.get("base")
    trials = _trials(kind, lanes) * copies
    engine = LanesEngine(ways=(kind,)) if base is None else GroupLanesEngine(base)
    received = 0 if base is None else base.gathering.received
    start = time.perf_counter()
    results = list(engine.run(_kept["loaded"], trials))
    assert len(results) == len(trials)
    seconds = time.perf_counter() - start
    return Trained(seconds=seconds, received=0 if base is None else base.gathering.received - received)


def _problems(kind: str) -> list[Any]:
    from phantom_dist.core.trial import Lora, Optimizer, Problem
    from phantom_dist.spec import load_contexts

    lora = Lora(rank=8, alpha=16, targets="attention") if kind == "lora" else None
    return [
        Problem(
            model=MODEL,
            context=context,
            method="full" if lora is None else "lora",
            lora=lora,
            optimizer=Optimizer(name="sgd" if lora is None else "adamw"),
            steps=STEPS,
        )
        for context in load_contexts(CONTEXTS)
    ]


def _trials(kind: str, lanes: int) -> list[Any]:
    """Lanes over the contexts that the model can learn, at rates around first order."""
    from phantom_dist.core.measurement import Trial
    from phantom_dist.core.probe_result import Measured
    from phantom_dist.engines.probe import probe
    from phantom_dist.instruments.effective_steps import effective_steps

    if kind not in _kept:
        probed = (probe(_kept["loaded"], problem) for problem in _problems(kind))
        _kept[kind] = [m for m in probed if isinstance(m, Measured) and m.kappa > 0][:8]
    trials = []
    for lane in range(lanes):
        measured = _kept[kind][lane % len(_kept[kind])]
        steps = effective_steps(STEPS, measured.problem.schedule, measured.problem.optimizer)
        first_order = abs(measured.gap_0) / (steps * measured.kappa)
        trials.append(Trial(measured=measured, learning_rate=first_order * (0.7 + 0.6 * lane / lanes)))
    return trials


FLOPS = 51e12
"""Measured on an H200: operations a second of a float32 product (results/2026-11-26-h200.md)."""

GPU_BYTES = 141e9
"""Memory of an H200, by its maker."""

LINKS = {8: 450e9, 64: 50e9}
"""Bytes a second that each GPU receives, by its makers, not measured: NVLink within a node of 8; 400 Gb/s of InfiniBand
for each GPU between 8 nodes."""


def on_paper() -> Table:
    """Lanes of LoRA on models of Llama's shapes: each step's products, and each matrix gathered twice, one after the
    other; no overlap of both is counted, and no kernel's launch."""
    from phantom_dist.engines.lanes.footprint import lane_bytes
    from phantom_dist.models.size import ModelSize

    sizes = {
        "7 B": ModelSize(parameters=6.74e9, width=4096, layers=32, vocabulary_size=32_000, tied=False),
        "70 B": ModelSize(parameters=69e9, width=8192, layers=80, vocabulary_size=32_000, tied=False),
    }
    table = Table(title="On paper, not measured: H200s, float32, LoRA of rank 8, AdamW, T = 8")
    for column in (
        "model",
        "GPUs",
        "tokens",
        "lanes a GPU",
        "products",
        "gathers",
        "trial-steps/s",
        "of the products'",
    ):
        table.add_column(column, justify="right")
    problem = _problems("lora")[0]
    for name, size in sizes.items():
        for ranks, link in LINKS.items():
            for tokens in (10, 60):
                own = lane_bytes("lora", problem, size, tokens)
                lanes = int((0.9 * GPU_BYTES - 4 * size.parameters / ranks) // own)
                products = lanes * 4 * size.body * tokens / FLOPS
                gathers = 2 * 4 * size.parameters * (ranks - 1) / ranks / link
                rate = ranks * lanes / (products + gathers)
                share = products / (products + gathers)
                cells = (
                    name,
                    ranks,
                    tokens,
                    lanes,
                    f"{products:.2f} s",
                    f"{gathers:.2f} s",
                    f"{rate:.3g}",
                    f"{share:.0%}",
                )
                table.add_row(*map(str, cells))
    return table


class Alone:
    """One process with the whole model; `call` as `RankProcesses`."""

    def __init__(self) -> None:
        context = multiprocessing.get_context("spawn")
        self._pipe, there = context.Pipe()
        self._process = context.Process(target=_serve, args=(there,), daemon=True)
        self._process.start()

    def call(self, function: Any, *arguments: Any) -> list[Any]:
        """Run a function there."""
        self._pipe.send((function, arguments))
        return [self._pipe.recv()]

    def close(self) -> None:
        """End the process."""
        self._process.kill()
        self._process.join()


def _serve(pipe: Connection) -> None:
    while True:
        function, arguments = pipe.recv()
        pipe.send(function(None, *arguments))


def _row(
    kind: str, lanes: int, ranks: int, alone: Sequence[Trained], group: Sequence[Sequence[Trained]]
) -> dict[str, Any]:
    own = [lanes * STEPS / trained.seconds for trained in alone]
    shared = [ranks * lanes * STEPS / max(t.seconds for t in of_ranks) for of_ranks in group]
    return {
        "kind": kind,
        "alone": round(statistics.median(own), 2),
        "group": round(statistics.median(shared), 2),
        "ratio": round(statistics.median(b / a for a, b in zip(own, shared, strict=True)), 2),
        "spread": [round(b / a, 2) for a, b in zip(own, shared, strict=True)],
    }


def main() -> None:
    """Measure, and print a table and JSON."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--ranks", type=int, default=2)
    parser.add_argument("--lanes", type=int, default=24, help="on each process")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--kinds", nargs="+", default=["dual", "lora"])
    parser.add_argument("--sends", action="store_true", help="nothing is read in place")
    parser.add_argument("--paper", action="store_true", help="only the simulation on paper")
    asked = parser.parse_args()
    if asked.paper:
        console.print(on_paper())
        return
    os.environ |= {
        "OMP_NUM_THREADS": "1",
        "MALLOC_MMAP_THRESHOLD_": "1048576",
        "MALLOC_TRIM_THRESHOLD_": "1048576",
    }
    alone, group = Alone(), RankProcesses(asked.ranks)
    try:
        ((_, weights),) = alone.call(loaded_alone)  # it maps the file, whose pages come as they are read
        shards = group.call(loaded_in_shards, not asked.sends)
        memory = [round(own / weights, 3) for own, _ in shards]
        rows = []
        for kind in asked.kinds:
            for processes in (alone, group):
                processes.call(train, kind, 2, 1)
            rounds_alone, rounds_group = [], []
            for _ in range(asked.rounds):
                rounds_alone += alone.call(train, kind, asked.lanes, 1)
                rounds_group.append(group.call(train, kind, asked.lanes, asked.ranks))
            row = _row(kind, asked.lanes, asked.ranks, rounds_alone, rounds_group)
            # T steps forward and backward, and one forward pass after the last.
            floor = weights * (asked.ranks - 1) / asked.ranks * (2 * STEPS + 1)
            row["bytes_over_floor"] = round(rounds_group[-1][0].received / floor, 3)
            rows.append(row)
        after = [round(own / weights, 2) for own in (*alone.call(_own), *group.call(_own))]
    finally:
        alone.close()
        group.close()
    table = Table(title=f"{MODEL}, {asked.lanes} lanes on each process, T = {STEPS}, {asked.rounds} rounds")
    for column in ("lanes", "one worker, trial-steps/s", f"{asked.ranks} ranks", "ratio", "bytes / floor"):
        table.add_column(column, justify="right")
    for row in rows:
        table.add_row(
            row["kind"], f"{row['alone']}", f"{row['group']}", f"{row['ratio']}", f"{row['bytes_over_floor']}"
        )
    console.print(table)
    console.print(
        f"own pages over the weights' bytes: ranks {memory} once loaded; one worker and ranks after training {after}"
    )
    print(json.dumps({"rows": rows, "memory": memory, "after_training": after}))


def _own(_: Any) -> int:
    return own_bytes()


if __name__ == "__main__":
    main()
