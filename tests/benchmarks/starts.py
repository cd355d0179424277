"""Searches that start from first order, from the law, or from whichever is sooner: `python -m tests.benchmarks.starts`.

Every problem of `sweeps/calibration-zoo.yaml` to 1 %, each T by itself, in this process, one thread, one run for each
start: `python -m tests.benchmarks.starts 8` takes three minutes, `8 128` an hour. The path probe's trial-steps count.
The law was fitted to these same models. The last line is one JSON object.
"""

from __future__ import annotations

import json
import statistics
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

import phantom_dist
from phantom_dist.spec import load

SWEEP = Path(__file__).parents[2] / "sweeps" / "calibration-zoo.yaml"
STARTS = ("first_order", "law", "auto")
CLASSES = ("full sgd", "full adamw", "lora adamw")


def measure(steps: int, start: str) -> dict[str, Any]:
    """One run: seconds, and what its finished searches took, by class."""
    sweep = load(SWEEP).model_dump(mode="json", exclude_none=True) | {
        "steps": [steps],
        "learning_rates": {"critical": {"tolerance": 0.01, "start": start}},
    }
    with tempfile.TemporaryDirectory(prefix="phantom-starts-") as folder:
        started = time.perf_counter()
        result = phantom_dist.run(sweep, out=Path(folder) / "run", executor="inprocess")
        seconds = time.perf_counter() - started
    found = {
        name: [rate for rate in result.critical_rates if rate.training_class == name and rate.crossing]
        for name in CLASSES
    }
    return {
        "steps": steps,
        "start": start,
        "seconds": seconds,
        "found": sum(map(len, found.values())),
        "problems": len(result.critical_rates),
        "trials": {name: statistics.mean(rate.trials_used for rate in found[name]) for name in CLASSES},
        "trial_steps": {
            name: statistics.mean(rate.trial_steps_used for rate in found[name]) for name in CLASSES
        },
    }


def main(all_steps: list[int]) -> None:
    """A table that grows by a row a run, and JSON at the end."""
    table = Table(title="searches of the zoo to 1 %", caption="means over searches: " + ", ".join(CLASSES))
    for column in ("T", "start", "trials", "trial-steps", "found", "whole run"):
        table.add_column(column)
    runs = []
    for steps in all_steps:
        for start in STARTS:
            run = measure(steps, start)
            runs.append(run)
            table.add_row(
                str(steps),
                start,
                ", ".join(f"{run['trials'][name]:.1f}" for name in CLASSES),
                ", ".join(f"{run['trial_steps'][name]:.0f}" for name in CLASSES),
                f"{run['found']} of {run['problems']}",
                f"{run['seconds']:.0f} s",
            )
            print(f"T = {steps}, {start}: {run['seconds']:.0f} s", file=sys.stderr)
    Console(width=120).print(table)
    print(json.dumps(runs))


if __name__ == "__main__":
    main([int(argument) for argument in sys.argv[1:]] or [8])
