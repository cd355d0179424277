"""A sweep's critical rates, predicted and then measured (`python -m tests.benchmarks.against SPEC`).

1. Predict every problem of SPEC with the shipped law, before anything is measured.
2. Measure them by searches that start from first order, and so know nothing of the predictions.
3. Compare, by model and training. A table; its rows are JSON on the last line.

What is done is kept under `runs/against` and not done again.
"""

from __future__ import annotations

import argparse
import json
import math
import statistics
from collections import defaultdict
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

import phantom_dist
from phantom_dist.spec import load

RUNS = Path(__file__).parents[2] / "runs" / "against"
SETTINGS = (
    "model", "method", "optimizer", "steps", "momentum", "weight_decay", "schedule", "warmup_steps",
    "gradient_clipping", "precision", "lora_rank", "lora_alpha",
)  # fmt: skip

Row = dict[str, Any]


def key(row: Row) -> tuple[Any, ...]:
    """The training and the context that a row is about."""
    return (*(row[name] for name in SETTINGS), row["context"])


def summary(pairs: list[tuple[Row, float]]) -> Row:
    """Errors of predictions as shares of the measured rates, and how many intervals cover."""
    off = [row["eta_c"] / rate - 1 for row, rate in pairs]
    given = [(row["interval"], rate) for row, rate in pairs if row["interval"]]
    return {
        "contexts": len(pairs),
        "in_domain": sum(row["in_domain"] for row, _ in pairs),
        "geometric_mean": math.expm1(statistics.fmean(math.log(row["eta_c"] / rate) for row, rate in pairs)),
        "median_error": statistics.median(map(abs, off)),
        "worst": max(off, key=abs),
        "intervals": len(given),
        "covered": sum(low <= rate <= high for (low, high), rate in given),
    }


def named(row: Row) -> str:
    """A training in a few words."""
    words = [row["model"].rsplit(":", 1)[-1], row["method"], row["optimizer"]]
    if row["lora_rank"]:
        words.append(f"r {row['lora_rank']} alpha {row['lora_alpha']:g}")
    settings = {
        "momentum": row["momentum"],
        "decay": row["weight_decay"],
        "clipping": row["gradient_clipping"],
    }
    words += [f"{name} {value:g}" for name, value in settings.items() if value]
    words += [row["schedule"]] if row["schedule"] != "constant" else []
    words += [f"warm-up {row['warmup_steps']}"] if row["warmup_steps"] else []
    return f"{' '.join(words)}, T = {row['steps']}"


def main() -> None:
    """Predict, measure, compare."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("spec", type=Path)
    spec = parser.parse_args().spec
    RUNS.mkdir(parents=True, exist_ok=True)
    said = phantom_dist.predict_sweep(spec, out=RUNS / f"{spec.stem}.json").to_json()["predictions"]
    if load(spec).model_dump()["learning_rates"]["critical"]["start"] != "first_order":
        raise SystemExit(f"{spec}: its searches must start from first order")
    status = phantom_dist.run(spec, RUNS / spec.stem, executor="inprocess")
    found = {key(rate.to_json()): rate.eta_c for rate in status.critical_rates}
    groups: dict[str, list[tuple[Row, float]]] = defaultdict(list)
    for row in said:
        rate = found.get(key(row))
        if row["eta_c"] is not None and rate is not None:
            groups[named(row)].append((row, rate))
    table = Table(title="predicted against measured", title_justify="left")
    for column in (
        "training",
        "contexts",
        "in domain",
        "geometric mean",
        "median error",
        "worst",
        "intervals cover",
    ):
        table.add_column(column, justify="left" if column == "training" else "right")
    rows = [{"training": name} | summary(pairs) for name, pairs in groups.items()]
    for row in rows:
        table.add_row(
            row["training"],
            str(row["contexts"]),
            str(row["in_domain"]),
            *(f"{row[name]:+.2%}" for name in ("geometric_mean", "median_error", "worst")),
            f"{row['covered']} of {row['intervals']}",
        )
    Console(width=150).print(table)
    print(json.dumps({"predicted": len(said), "rows": rows}))


if __name__ == "__main__":
    main()
