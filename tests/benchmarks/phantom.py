"""Phantom jumps on real models (`python -m tests.benchmarks.phantom`): who makes them, and where they begin.

Runs `sweeps/phantom.yaml` into `runs/phantom` (what is done is not done again), writes its page to
`runs/phantom/report.html`, and prints one line for each model and way of training; the same as JSON on the last line.
Rates are in units of each problem's own critical rate, so those of different contexts can stand in one line.
"""

from __future__ import annotations

import json
import math
import statistics
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

import phantom_dist
from phantom_dist.core.outcome import Outcome
from phantom_dist.reports import Rows, read_run
from phantom_dist.reports.abstract import ended_as, jumped, onset, times
from phantom_dist.reports.verdict import LARGER_PART

SWEEP = Path(__file__).parents[2] / "sweeps" / "phantom.yaml"
RUN = Path("runs/phantom")

Row = dict[str, Any]


def lines(rows: Rows) -> list[Row]:
    """One row for each model and way of training, in the order of the sweep."""
    groups: dict[tuple[str, str], list[Row]] = {}
    for trial in rows.trials:
        groups.setdefault((trial["model"], f"{trial['method']} {trial['optimizer']}"), []).append(trial)
    return [_line(model, way, trials, rows) for (model, way), trials in groups.items()]


def _line(model: str, way: str, trials: list[Row], rows: Rows) -> Row:
    numbers = {trial["number"] for trial in trials}
    problems = [row for number, row in enumerate(rows.problems) if number in numbers]
    rates = [row["eta_c"] for row in problems if row["eta_c"] is not None]
    jumping = [trial for trial in trials if jumped(trial)]
    shares = sorted(trial["jump_readout_share"] for trial in jumping)
    below = [trial for trial in trials if trial["ratio"] is not None and trial["ratio"] < 1]
    lora = [trial for trial in trials if trial["method"] == "lora"]
    return {
        "model": model.rsplit(":", 1)[-1],
        "training": way,
        "problems": len(problems),
        "eta_c": [min(rates), math.exp(statistics.fmean(map(math.log, rates))), max(rates)]
        if rates
        else None,
        "silent_below": [sum(bool(trial["silent"]) for trial in below), len(below)],
        "jumps": [len(jumping), len(trials)],
        "size": [statistics.median(t["jump_size"] for t in jumping), max(t["jump_size"] for t in jumping)]
        if jumping
        else None,
        "readout_share": [shares[0], statistics.median(shares), shares[-1]] if shares else None,
        "mostly_readout": sum(share > LARGER_PART for share in shares),
        "matrix_identical": [sum(trial["readout_frozen"] for trial in lora), len(lora)] if lora else None,
        **{
            name: {"ratios": sorted(found.ratios), "problems": found.problems}
            for name, found in (
                ("jumps_from", onset(trials, jumped)),
                ("relapses_from", onset(trials, ended_as(Outcome.RELAPSED))),
                ("diverges_from", onset(trials, ended_as(Outcome.DIVERGED))),
            )
        },
    }


def _span(values: list[float] | None) -> str:
    if values is None:
        return "–"
    low, middle, high = map(times, values)
    return f"{middle} ({low} to {high})"


def _of(counts: list[int] | None) -> str:
    return "" if counts is None else f"{counts[0]} of {counts[1]}"


def _begins(found: dict[str, Any]) -> str:
    ratios = found["ratios"]
    if not ratios:
        return f"none of {found['problems']}"
    return (
        f"{_span([ratios[0], statistics.median(ratios), ratios[-1]])}, {len(ratios)} of {found['problems']}"
    )


def main() -> None:
    """Run, report, print."""
    phantom_dist.run(SWEEP, RUN, executor="inprocess")
    rows = Rows.of(read_run(RUN))
    print(phantom_dist.report([RUN], out=RUN / "report.html").verdict)
    table = Table(title="phantom jumps; rates in critical rates η_c", title_justify="left")
    for column in (
        "model", "training", "η_c", "silent below", "jumps", "size, largest", "readout’s share", "mostly readout",
        "matrix identical", "jumps from", "relapses from", "diverges from",
    ):  # fmt: skip
        table.add_column(column)
    found = lines(rows)
    for line in found:
        table.add_row(
            line["model"],
            line["training"],
            _span(line["eta_c"]),
            _of(line["silent_below"]),
            _of(line["jumps"]),
            "–" if line["size"] is None else f"{line['size'][0]:.2g}, {line['size'][1]:.2g}",
            _span(line["readout_share"]),
            str(line["mostly_readout"]),
            _of(line["matrix_identical"]),
            *(_begins(line[name]) for name in ("jumps_from", "relapses_from", "diverges_from")),
        )
    Console(width=200).print(table)
    print(json.dumps({"lines": found}))


if __name__ == "__main__":
    main()
