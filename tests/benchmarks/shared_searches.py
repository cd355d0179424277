"""Searches whose words share trainings, replayed on measured curves (`python -m tests.benchmarks.shared_searches RUN`).

RUN: runs of `sweeps/calibration-sets-*.yaml`. Every word's g_T(η) is interpolated between its trials (linear in ln η;
it diverges at twice its last rate), so a search from any start needs no training. Starts: first order; the law, fitted
without the model; and the roots themselves, as the least that closing all brackets takes. A table of trainings and
rounds; its rows are JSON on the last line.
"""

from __future__ import annotations

import argparse
import json
import math
import statistics
from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from rich.console import Console
from rich.progress import track
from rich.table import Table

import phantom_dist
from phantom_dist.core.outcome import Outcome
from phantom_dist.core.problem_columns import training_class
from phantom_dist.law.file import read_law
from phantom_dist.refinement.curve import Point, curve
from phantom_dist.refinement.root_search import bracket
from phantom_dist.refinement.shared_search import propose

TOLERANCE = 0.05
MOST = 200
console = Console(width=150)


@dataclass(frozen=True, slots=True)
class ReplayedWord:
    """One word's measured curve: ln η and g_T of its trials in order, and what is known before any of them."""

    problem: str
    gap_0: float
    slope_0: float
    logs: tuple[float, ...]
    gaps: tuple[float, ...]

    @property
    def root(self) -> float | None:
        """The measured critical rate; None where there is none."""
        points = [self.point(math.exp(x)) for x in self.logs]
        closed = bracket(curve(self.gap_0, self.slope_0, points))
        return None if closed is None else closed.root

    @property
    def first_order(self) -> float | None:
        """|g_0| / (κ T); None where the first step widens the gap."""
        return -self.gap_0 / self.slope_0 if self.slope_0 > 0 else None

    def point(self, rate: float) -> Point:
        """The trial at a rate."""
        x = math.log(rate)
        if x >= self.logs[-1] + math.log(2):
            return Point(learning_rate=rate, gap=math.nan, outcome=Outcome.DIVERGED)
        if x < self.logs[0]:
            share = rate / math.exp(self.logs[0])
            gap = self.gap_0 + (self.gaps[0] - self.gap_0) * share
        else:
            gap = float(np.interp(x, self.logs, self.gaps))
        outcome = Outcome.COMMITTED if gap > 0 else Outcome.KINEMATIC
        return Point(learning_rate=rate, gap=gap, outcome=outcome)


def trainings_of(run: str) -> dict[tuple[str, str, str], list[ReplayedWord]]:
    """The words that choose rates, by training."""
    trials: dict[tuple[str, str, str], dict[str, list[dict[str, Any]]]] = defaultdict(
        lambda: defaultdict(list)
    )
    for row in phantom_dist.open_run(run).trials().to_pylist():
        if row["learning_rate"] is not None and row["gap_final"] is not None and not row["held_out"]:
            kind = training_class(row["method"], row["optimizer"], on_set=True)
            way = f"{row['steps']} {row['lora_rank']} {row['schedule']} {row['training_set']}"
            trials[kind, row["model"], way][row["problem"]].append(row)
    found = {}
    for key, words in trials.items():
        found[key] = [
            ReplayedWord(
                problem=problem,
                gap_0=rows[0]["gap_0"],
                slope_0=rows[0]["kappa"] * rows[0]["effective_steps"],
                logs=tuple(math.log(row["learning_rate"]) for row in rows),
                gaps=tuple(row["gap_final"] for row in rows),
            )
            for problem, unsorted in words.items()
            if (rows := sorted(unsorted, key=lambda row: row["learning_rate"]))
        ]
    return found


def replay(
    words: Sequence[ReplayedWord], estimates: Sequence[float | None], first: Sequence[float]
) -> tuple[int, int]:
    """Trainings and rounds of a search. `first`: rates of the first round; where empty, those of the search itself."""
    rates: list[float] = []
    rounds = 0
    while len(rates) < MOST:
        curves = [curve(word.gap_0, word.slope_0, [word.point(rate) for rate in rates]) for word in words]
        asked = first if first and not rates else propose(curves, TOLERANCE, estimates)
        new = [rate for rate in asked if rate not in rates]
        if not new:
            break
        rates += new
        rounds += 1
    return len(rates), rounds


def pairs(roots: Sequence[float]) -> list[float]:
    """Rates that close every bracket where all roots are known; a pair closes those of near roots, too."""
    rates: list[float] = []
    for root in sorted(roots):
        if not rates or rates[-1] < root:
            low = root / (1 + TOLERANCE) ** 0.1
            rates += [low, low * (1 + 0.95 * TOLERANCE)]
    return rates


def main() -> None:
    """Replay every training from every start."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("runs", nargs="+")
    options = parser.parse_args()
    law = {row.problem: row.held_out.eta_c for row in read_law().rows if row.held_out is not None}
    found: dict[tuple[str, str], list[tuple[int, int]]] = defaultdict(list)
    for run in options.runs:
        for (kind, *_), words in track(trainings_of(run).items(), run, console=console):
            roots = [root for word in words if (root := word.root) is not None]
            first_order = [word.first_order for word in words]
            predicted = [law.get(word.problem) for word in words]
            starts: dict[str, Callable[[], tuple[int, int]]] = {
                "first order": lambda w=words, e=first_order: replay(w, e, ()),  # type: ignore[misc]
                "the law": lambda w=words, e=predicted: replay(w, e, ()),  # type: ignore[misc]
                "the roots": lambda w=words, e=first_order, r=roots: replay(w, e, pairs(r)),  # type: ignore[misc]
            }
            for name, start in starts.items():
                found[kind, name].append(start())
    table = Table(title="searches whose words share trainings, to 5 %", title_justify="left")
    for column in ("class", "start", "searches", "trainings: mean", "median", "rounds: mean", "median"):
        table.add_column(column, justify="left" if column in ("class", "start") else "right")
    rows = []
    for (kind, name), results in sorted(found.items()):
        counts, rounds = zip(*results, strict=True)
        row = {
            "class": kind,
            "start": name,
            "searches": len(results),
            "trainings_mean": statistics.mean(counts),
            "trainings_median": statistics.median(counts),
            "rounds_mean": statistics.mean(rounds),
            "rounds_median": statistics.median(rounds),
        }
        rows.append(row)
        table.add_row(kind, name, str(len(results)), *(f"{value:.1f}" for value in list(row.values())[3:]))
    console.print(table)
    print(json.dumps({"tolerance": TOLERANCE, "rows": rows}))


if __name__ == "__main__":
    main()
