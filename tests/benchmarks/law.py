"""The law's errors on architectures that it was not fitted to, from the calibration that ships (`make bench-law`).

Every number is found anew from the stored critical rates and path probes: the groups, the weights and the intervals of
each architecture's law without that architecture, and the simpler rules beside it. `make calibration` measures the
stored numbers anew (an hour on two CPU cores).
"""

from __future__ import annotations

import json
import statistics
from typing import Any

from rich.console import Console
from rich.table import Table

from phantom_dist.law.file import read_law
from phantom_dist.law.validation import validate

console = Console(stderr=False, width=170)


def percent(value: float) -> str:
    """A share as a percentage."""
    return f"{100 * value:.2f}" if value < 10 else "> 1000"


def table(entries: list[dict[str, Any]]) -> Table:
    """One row for each class, T and rule."""
    shown = Table(title="errors in %, architectures left out", title_justify="left")
    for column in ("class", "T", "rule"):
        shown.add_column(column)
    for column in (
        "contexts",
        "architectures",
        "context: median",
        "90th percentile",
        "worst",
        "architecture: median",
        "worst",
        "90 % intervals cover",
        "upper / lower end",
    ):
        shown.add_column(column, justify="right")
    for entry in entries:
        law = entry["rule"] == "law"
        shown.add_row(
            entry["class"],
            str(entry["steps"]),
            entry["rule"],
            str(entry["contexts"]),
            str(entry["architectures"]),
            *(percent(entry[f"context_error_{which}"]) for which in ("median", "p90", "max")),
            *(percent(entry[f"architecture_error_{which}"]) for which in ("median", "max")),
            percent(entry["coverage_90"]) if law else "",
            f"{entry['interval_width_median']:.3f}" if law else "",
            end_section=entry["rule"] == "a constant",
        )
    return shown


def main() -> None:
    """Validate and print; the last line is one JSON object, its figures those of the worst class and T."""
    law = read_law()
    entries = validate(law.rows, lambda name: console.print(f"[dim]{name} done[/dim]"))
    console.print(table(entries))
    mine = [entry for entry in entries if entry["rule"] == "law"]
    worst = {
        key: round(max(entry[key] for entry in mine), 5)
        for key in (
            "architecture_error_median",
            "architecture_error_max",
            "context_error_median",
            "context_error_p90",
            "interval_width_median",
        )
    }
    coverage = {
        name: round(statistics.fmean(e["coverage_90"] for e in mine if e["class"] == name), 4)
        for name in sorted({e["class"] for e in mine})
    }
    print(
        json.dumps(
            worst
            | {
                "coverage_90": min(coverage.values(), key=lambda value: -abs(value - 0.9)),
                "coverage_90_by_class": coverage,
                "pairs_dropped": sum(law.provenance["dropped"].values()),
                "rows": len(law.rows),
            }
        )
    )


if __name__ == "__main__":
    main()
