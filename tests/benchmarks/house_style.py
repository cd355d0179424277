"""Twelve words of a house style on SmolLM2: critical rates, held-out prompts, and what tools' defaults teach.

`python -m tests.benchmarks.house_style` runs `sweeps/house-style/lora.yaml` into `runs/house-style` (ten minutes on two
CPU cores; it goes on where it stopped), prints a table and writes `tests/benchmarks/results/house-style.svg`.
"""

from __future__ import annotations

import json
from pathlib import Path
from statistics import median

import phantom_dist
from phantom_dist.campaign.status import RunStatus
from phantom_dist.reports import Rows, export_figure, read_run
from phantom_dist.reports.figures import words_learnt
from phantom_dist.spec import recipe_named, recipe_names

RUN = Path("runs/house-style")
FILE = Path(__file__).parent / "results" / "house-style.svg"


def table(status: RunStatus) -> str:
    """A Markdown table with one line for each word."""
    held_out: dict[str, list[float]] = {}
    for rate in status.critical_rates:
        if rate.held_out and rate.eta_c is not None:
            held_out.setdefault(rate.target.strip(), []).append(rate.eta_c)
    lines = ["| word | η_c | bracket | held-out prompts learnt, at |", "|---|---|---|---|"]
    for rate in status.critical_rates:
        if rate.held_out:
            continue
        others = held_out.get(rate.target.strip(), [])
        at = f"{len(others)} of 4, {median(others):.2g} (median)" if others else "0 of 4"
        word = f"{rate.target.strip()} / {rate.competitor.strip()}"
        if rate.bracket is None or rate.eta_c is None:
            lines.append(f"| {word} | none ({rate.reason}) | | {at} |")
            continue
        low, high = rate.bracket
        lines.append(f"| {word} | {rate.eta_c:.3g} | {low:.4g} … {high:.4g} ({high / low - 1:.1%}) | {at} |")
    return "\n".join(lines)


def main() -> None:
    """Run, print, draw."""
    status = phantom_dist.run("sweeps/house-style/lora.yaml", RUN)
    print(table(status))
    export_figure(words_learnt, Rows.of([read_run(RUN)]), FILE)
    rates = [r.eta_c for r in status.critical_rates if r.eta_c is not None and not r.held_out]
    defaults = {
        name: rate
        for name in recipe_names()
        if (rate := recipe_named(name).learning_rate) is not None and "lora" in name
    }
    print(
        json.dumps(
            {
                "seconds": status.seconds,
                "trainings": len(status.trainings),
                "words_bracketed": len(rates),
                "smallest_rate": min(rates),
                "largest_rate": max(rates),
                "default_rates": defaults,
                "learnt_at_defaults": {
                    name: sum(rate >= own for own in rates) for name, rate in defaults.items()
                },
            }
        )
    )


if __name__ == "__main__":
    main()
