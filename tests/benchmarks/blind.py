"""The blind test (`make blind`): a real model that no calibration has seen, in contexts that nobody had used.

1. Predict: `phantom_dist.predict` with the law as it shipped on 2026-11-26 (`law-2026-11-26.json.xz`, fitted to the zoo
   and SmolLM2 alone), before anything is measured. Stored in `runs/blind/predictions.json`.
2. Measure: `sweeps/blind-gemma.yaml`, whose searches start from first order and so know nothing of the predictions.
3. Compare: a table, and its rows as JSON on the last line.

Needs `make gemma` and 10 GB of memory. About half an hour on two CPU cores; what is done is kept and not done again.
"""

from __future__ import annotations

import json
import lzma
import math
import statistics
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

import phantom_dist
from phantom_dist.core.trial import Lora
from phantom_dist.law.file_format import from_json

ROOT = Path(__file__).parents[2]
LAW = Path(__file__).with_name("law-2026-11-26.json.xz")
RUNS = ROOT / "runs" / "blind"
SWEEP = ROOT / "sweeps" / "blind-gemma.yaml"
CLASSES = (("full", "sgd"), ("full", "adamw"), ("lora", "adamw"))
STEPS = 8

Row = dict[str, Any]


def predictions() -> list[Row]:
    """What the law says of every context, stored before anything is measured."""
    stored = RUNS / "predictions.json"
    if not stored.is_file():
        law = from_json(json.loads(lzma.decompress(LAW.read_bytes())), LAW.name)
        found = []
        for method, optimizer in CLASSES:
            said = phantom_dist.predict(
                "gguf:gemma-3-270m",
                ROOT / "sweeps/contexts/blind.yaml",
                law=law,
                method=method,
                optimizer=optimizer,
                steps=STEPS,
                lora=Lora(rank=8, alpha=16) if method == "lora" else None,
            )
            found += said.to_json()["predictions"]
        RUNS.mkdir(parents=True, exist_ok=True)
        stored.write_text(json.dumps(found, indent=1))
    rows: list[Row] = json.loads(stored.read_text())
    return rows


def measured() -> list[Row]:
    """The critical rates by real training."""
    status = phantom_dist.run(SWEEP, RUNS / SWEEP.stem, executor="inprocess")
    return [rate.to_json() for rate in status.critical_rates]


def key(row: Row) -> tuple[Any, ...]:
    """Which training a row is about."""
    return row["method"], row["optimizer"], row["context"]


def compared(said: list[Row], found: list[Row]) -> list[Row]:
    """One row for each class: errors are shares of the measured rate."""
    rate = {key(row): row["eta_c"] for row in found}
    rows = []
    for method, optimizer in CLASSES:
        mine = [r for r in said if (r["method"], r["optimizer"]) == (method, optimizer)]
        both = [(r, rate[key(r)]) for r in mine if r["eta_c"] is not None and rate[key(r)] is not None]
        off = [r["eta_c"] / eta - 1 for r, eta in both]
        inside = [r["interval"][0] <= eta <= r["interval"][1] for r, eta in both if r["interval"]]
        logs = [math.log(r["eta_c"] / eta) for r, eta in both]
        rows.append(
            {
                "class": f"{method} {optimizer}",
                "steps": STEPS,
                "contexts": len(both),
                "refused": sum(r["eta_c"] is None for r in mine),
                "geometric_mean": math.expm1(statistics.fmean(logs)),
                "median_error": statistics.median(map(abs, off)),
                "worst": max(off, key=abs),
                "covered": sum(inside),
                "intervals": len(inside),
                "in_domain": sum(r["in_domain"] for r, _ in both),
            }
        )
    return rows


def main() -> None:
    """Predict, measure, compare."""
    said = predictions()
    rows = compared(said, measured())
    table = Table(title="predicted against measured, Gemma-3-270M", title_justify="left")
    for column in (
        "class", "T", "contexts", "refused", "geometric mean of predicted / measured", "median error", "worst",
        "90 % intervals that cover", "in domain",
    ):  # fmt: skip
        table.add_column(column, justify="left" if column == "class" else "right")
    for row in rows:
        table.add_row(
            row["class"],
            *(str(row[name]) for name in ("steps", "contexts", "refused")),
            f"{row['geometric_mean']:+.1%}",
            f"{row['median_error']:.1%}",
            f"{row['worst']:+.1%}",
            f"{row['covered']} of {row['intervals']}",
            str(row["in_domain"]),
        )
    Console(width=150).print(table)
    print(json.dumps({"rows": rows}))


if __name__ == "__main__":
    main()
