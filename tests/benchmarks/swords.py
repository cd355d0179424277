"""The law on pairs that people judged to be interchangeable (`python -m tests.benchmarks.swords FILE`).

FILE is the public file of SWORDS (see `phantom_dist.contexts.swords`), which is no part of this project: Mina Lee,
Chris Donahue, Robin Jia, Alexander Iyabor, Percy Liang, "Swords: A Benchmark for Lexical Substitution with Improved
Data Coverage and Quality", NAACL 2021; CC-BY-3.0-US.

1. Predict every pair, each in the direction that the model has to learn, before anything is measured.
2. Measure a seeded sample by searches that start from first order and so know nothing of the predictions.
3. Compare. A table; its rows are JSON on the last line. What is done is kept under `runs/swords`.
"""

from __future__ import annotations

import argparse
import json
import random
import statistics
from collections import Counter
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.progress import track
from rich.table import Table

import phantom_dist
from phantom_dist.contexts.swords import swords_contexts
from phantom_dist.core.trial import Context

ROOT = Path(__file__).parents[2]
RUNS = ROOT / "runs" / "swords"
STEPS = 8
TOLERANCE = 0.005
console = Console(width=150)

Row = dict[str, Any]


def predictions(model: str, contexts: list[Context], method: str, optimizer: str) -> list[Row]:
    """What the law says of every pair; stored as they are made."""
    RUNS.mkdir(parents=True, exist_ok=True)
    name = f"{model.rsplit(':', 1)[-1]}-{method}-{optimizer}"
    said = phantom_dist.predict(
        model, contexts, method=method, optimizer=optimizer, steps=STEPS, out=RUNS / f"{name}.json"
    )
    rows: list[Row] = said.to_json()["predictions"]
    return rows


def measured(model: str, contexts: list[Context], method: str, optimizer: str) -> dict[str, Row]:
    """Critical rates by training, by the context's id."""
    sweep = {
        "name": "swords",
        "models": model,
        "contexts": [context.model_dump() for context in contexts],
        "methods": method,
        "optimizers": optimizer,
        "learning_rates": {"critical": {"tolerance": TOLERANCE, "start": "first_order"}},
        "steps": STEPS,
    }
    out = RUNS / f"{model.rsplit(':', 1)[-1]}-{method}-{optimizer}-{len(contexts)}"
    status = phantom_dist.run(sweep, out, executor="inprocess")
    return {rate.context: rate.to_json() for rate in status.critical_rates}


def compared(said: list[Row], found: dict[str, Row]) -> Row:
    """How many pairs were measured, how many of these are in domain, and the errors of the sampled ones."""
    known = [row for row in said if row["eta_c"] is not None]
    both = [(row, rate) for row in known if (rate := found.get(row["context"], {}).get("eta_c")) is not None]
    errors = [abs(row["eta_c"] / rate - 1) for row, rate in both]
    intervals = [(row["interval"], rate) for row, rate in both if row["interval"]]
    inside = [low <= rate <= high for (low, high), rate in intervals]
    return {
        "pairs": len(said),
        "predicted": len(known),
        "near_synonyms": sum(row["near_synonym"] is True for row in known),
        "in_domain": sum(row["in_domain"] for row in known),
        "compared": len(both),
        "median_error": statistics.median(errors),
        "p90_error": statistics.quantiles(errors, n=10)[-1],
        "worst": max(errors),
        "intervals": len(inside),
        "covered": sum(inside),
        "width_median": statistics.median(high / low for (low, high), _ in intervals),
    }


def main() -> None:
    """Predict, measure, compare."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("file", type=Path, help="SWORDS' public file")
    parser.add_argument("--models", nargs="+", default=["gguf:smollm2-135m-instruct", "gguf:gemma-3-270m"])
    parser.add_argument("--sample", type=int, default=60, help="pairs to measure by training")
    parser.add_argument("--method", default="full")
    parser.add_argument("--optimizer", default="sgd")
    options = parser.parse_args()
    contexts = swords_contexts(options.file)
    table = Table(title="SWORDS: predicted against measured", title_justify="left")
    for column in (
        "model", "pairs", "predicted", "near-synonyms", "in domain", "compared", "median error", "90th percentile",
        "worst", "90 % intervals cover", "upper / lower end",
    ):  # fmt: skip
        table.add_column(column, justify="left" if column == "model" else "right")
    rows = []
    for model in track(options.models, "models", console=console):
        said = predictions(model, contexts, options.method, options.optimizer)
        reasons = Counter(
            reason.split(" (")[0] for row in said for reason in (row["reason"] or "").split("; ")
        )
        sample = random.Random(0).sample(contexts, min(options.sample, len(contexts)))
        row = compared(said, measured(model, sample, options.method, options.optimizer))
        rows.append({"model": model, "reasons": dict(reasons)} | row)
        table.add_row(
            model,
            *(str(row[name]) for name in ("pairs", "predicted", "near_synonyms", "in_domain", "compared")),
            *(f"{100 * row[name]:.1f} %" for name in ("median_error", "p90_error", "worst")),
            f"{row['covered']} of {row['intervals']}",
            f"{row['width_median']:.3f}",
        )
    console.print(table)
    print(
        json.dumps({"method": options.method, "optimizer": options.optimizer, "steps": STEPS, "rows": rows})
    )


if __name__ == "__main__":
    main()
