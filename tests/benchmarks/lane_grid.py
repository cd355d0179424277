"""The time of a trial-step in every way of training, over tokens, steps and lanes; and what `auto` chooses there.

`python -m tests.benchmarks.lane_grid [MODEL …] [--tokens N …] [--limit S]`; part of `make bench-lanes`. In each cell
every way is timed on the same trials, in turn, `--rounds` times (median), on one thread. A way is skipped where it is
predicted to take more than `SKIP` times as long as the cheapest, more than the limit, or more memory than is free. The
last column is the time of the way that `auto` chooses over that of the fastest.
"""

from __future__ import annotations

import argparse
import json
import statistics
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import torch
from rich.console import Console
from rich.table import Table

from phantom_dist.core.measurement import Trial
from phantom_dist.core.probe_result import Measured
from phantom_dist.core.trial import Context, Lora, Optimizer, Problem
from phantom_dist.engines.lanes.cost import AUTO, Way, step_cost
from phantom_dist.engines.lanes.engine import LanesEngine
from phantom_dist.engines.lanes.footprint import lane_bytes
from phantom_dist.engines.lanes.support import kinds_of
from phantom_dist.engines.memory import free_bytes
from phantom_dist.engines.probe import probe
from phantom_dist.instruments.effective_steps import effective_steps
from phantom_dist.models.load import LoadedModel, load
from phantom_dist.spec import load_contexts

ROOT = Path(__file__).parents[2]
MODELS = ("zoo:llama-b", "gguf:smollm2-135m-instruct")
TOKENS, STEPS, LANES = (10, 32, 128, 512, 2048), (8, 32, 128), (1, 4, 16, 48, 192)
SKIP, LIMIT_S = 3.0, 25.0
WORDS = (" shame", " guilt")
SETTINGS = {
    "full sgd": {"method": "full", "optimizer": Optimizer(name="sgd")},
    "full adamw": {"method": "full", "optimizer": Optimizer(name="adamw")},
    "lora adamw": {"method": "lora", "optimizer": Optimizer(name="adamw"), "lora": Lora()},
}
console = Console(width=150)


@dataclass(frozen=True)
class Cell:
    """One point of the grid; `seconds`: of a trial-step, by way."""

    model: str
    setting: str
    tokens: int
    steps: int
    lanes: int
    chosen: Way
    seconds: dict[Way, float]

    @property
    def ratio(self) -> float:
        """Time of the chosen way over that of the fastest."""
        return self.seconds[self.chosen] / min(self.seconds.values())


def context_of(loaded: LoadedModel, reference: str, tokens: int) -> Context | None:
    """A context whose prompt has so many tokens; None if the model reads fewer."""
    if tokens > getattr(loaded.model.config, "max_position_embeddings", tokens):
        return None
    if reference.startswith("zoo:"):
        first = load_contexts(ROOT / "sweeps/contexts/zoo.yaml")[0]
        text, pair = first.text, (first.target, first.competitor)
    else:
        text, pair = "After betraying his closest friend he was overcome with", WORDS
    words = text.split()
    again = words[1:]  # the zoo knows the first word, with its capital, only there
    while len(loaded.tokenizer.encode(" ".join(words))) < tokens:
        words.insert(1, again[len(words) % len(again)])
    return Context(id="c", text=" ".join(words), target=pair[0], competitor=pair[1])


def trials_of(loaded: LoadedModel, problem: Problem, lanes: int) -> list[Trial] | None:
    """So many trials of a problem, or with its pair exchanged, below its critical rate; None if neither is possible."""
    measured = probe(loaded, problem)
    if not isinstance(measured, Measured):  # the model prefers the target there
        context = problem.context
        exchanged = {"target": context.competitor, "competitor": context.target}
        problem = problem.model_copy(update={"context": context.model_copy(update=exchanged)})
        measured = probe(loaded, problem)
    if not isinstance(measured, Measured):
        console.print(
            f"[dim]{problem.model} {len(problem.context.text.split())} words: {measured.message}[/dim]"
        )
        return None
    steps = effective_steps(problem.steps, problem.schedule, problem.optimizer)
    rate = 0.3 * abs(measured.gap_0) / (steps * measured.kappa)
    return [Trial(measured=measured, learning_rate=rate * (1 + lane / lanes)) for lane in range(lanes)]


def cell(
    loaded: LoadedModel,
    reference: str,
    setting: str,
    context: Context,
    steps: int,
    lanes: int,
    rounds: int,
    limit: float,
) -> Cell | None:
    """Measure one cell; None where fewer than two ways can be."""
    problem = Problem(model=reference, context=context, steps=steps, **SETTINGS[setting])
    tokens, size = len(loaded.tokenizer.encode(context.text)), loaded.size
    ways: tuple[Way, ...] = (*kinds_of(problem), "reference")
    predicted = {way: step_cost(way, problem, size, tokens, lanes).seconds for way in ways}
    chosen = AUTO.cheapest(problem, size, tokens, lanes)

    def fits(way: Way) -> bool:
        if way == "reference":
            return True
        return lanes * lane_bytes(way, problem, size, tokens) < free_bytes(loaded.model.device)

    def counted(way: Way) -> int:
        """Trials to time: all lanes, or one where trials run one after another."""
        return lanes if way != "reference" else 1

    timed = [
        way
        for way in ways
        if fits(way)
        and predicted[way] <= SKIP * predicted[chosen]
        and counted(way) * steps * predicted[way] <= limit
    ]
    if len(timed) < 2 or chosen not in timed:
        return None
    trials = trials_of(loaded, problem, lanes)
    if trials is None:
        return None
    for way in timed:  # what is done once for a model
        list(LanesEngine(ways=(way,)).run(loaded, trials[:2]))
    seconds: dict[Way, list[float]] = {way: [] for way in timed}
    for _ in range(rounds):
        for way in timed:
            count = counted(way)
            start = time.perf_counter()
            results = list(LanesEngine(ways=(way,)).run(loaded, trials[:count]))
            executed = sum(len(result.trace) - 1 for result in results)
            if way in ("dual", "stacked", "lora"):
                executed -= count - 1  # lanes of one context share step 0
            seconds[way].append((time.perf_counter() - start) / executed)
    medians = {way: statistics.median(values) for way, values in seconds.items()}
    return Cell(reference, setting, tokens, steps, lanes, chosen, medians)


def cells(models: list[str], tokens: list[int], rounds: int, limit: float) -> Iterator[Cell]:
    """All cells that can be measured here."""
    for reference in models:
        loaded = load(reference)
        contexts = [context for count in tokens if (context := context_of(loaded, reference, count))]
        for setting in SETTINGS:
            for context in contexts:
                for steps in STEPS:
                    for lanes in LANES:
                        measured = cell(loaded, reference, setting, context, steps, lanes, rounds, limit)
                        if measured is not None:
                            times = ", ".join(f"{w} {1e3 * s:.3g}" for w, s in measured.seconds.items())
                            console.print(
                                f"[dim]{reference} {setting} K={measured.tokens} T={steps} L={lanes}: {times} ms; "
                                f"{measured.chosen} {measured.ratio:.2f}[/dim]"
                            )
                            yield measured


def main() -> None:
    """Print the grid; the last line is one JSON object."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("models", nargs="*", default=MODELS)
    parser.add_argument("--rounds", type=int, default=1)
    parser.add_argument("--tokens", type=int, nargs="+", default=TOKENS)
    parser.add_argument("--limit", type=float, default=LIMIT_S, help="seconds of one way in one cell")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    torch.use_deterministic_algorithms(True, warn_only=True)
    measured = list(cells(list(arguments.models), list(arguments.tokens), arguments.rounds, arguments.limit))
    table = Table(title="milliseconds of a trial-step, one thread", title_justify="left")
    ways = ("dual", "stacked", "lora", "reference")
    for column in ("model", "training", "tokens", "T", "lanes", *ways, "auto", "ratio"):
        table.add_column(column)
    for c in measured:
        times = [f"{1e3 * c.seconds[way]:.3g}" if way in c.seconds else "" for way in ways]
        table.add_row(
            c.model, c.setting, str(c.tokens), str(c.steps), str(c.lanes), *times, c.chosen, f"{c.ratio:.2f}"
        )
    console.print(table)
    print(json.dumps({"cells": len(measured), "worst_ratio": round(max(c.ratio for c in measured), 3)}))


if __name__ == "__main__":
    main()
