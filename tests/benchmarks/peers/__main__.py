"""Runs the parts that are named, or all: `python -m tests.benchmarks.peers [noop] [sleep] [job] [words] [sim]`."""

from __future__ import annotations

import argparse
import json
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from tests.benchmarks import simulated
from tests.benchmarks.peers import idle, job, tuned, words
from tests.benchmarks.peers.local_ray import local_ray
from tests.benchmarks.peers.rate import Rate
from tests.benchmarks.peers.searches import SEARCHES

WORKERS, TRIALS, MISPREDICTION = 10_000, 1_000_000, 0.3
"""Of the simulation."""

Figures = dict[str, Any]
console = Console(width=120)


@contextmanager
def folder() -> Iterator[Path]:
    """On this machine's disk, gone afterwards."""
    with tempfile.TemporaryDirectory(prefix="bench-peers-") as name:
        yield Path(name)


def rates(what: str, engine: type[idle.IdleEngine], ours: int, theirs: int) -> dict[str, float]:
    """So many trials by us, and so many by each setting of Tune; trials per second of both."""
    shown = Table(title=f"{what}: trials per second", title_justify="left")
    for column in ("", "trials", "steady", "start and end included"):
        shown.add_column(column, justify="left" if not column else "right")

    def measure(name: str, run: Callable[[Path], Rate]) -> Rate:
        with folder() as out:
            rate = run(out / "run")
        shown.add_row(name, str(rate.trials), f"{rate.steady:.1f}", f"{rate.whole:.1f}")
        return rate

    idle.register()
    with local_ray(idle.HOOK):
        mine = measure("phantom-dist", lambda out: idle.ours(engine, ours, out))
    with local_ray():
        tune = [
            measure(f"Ray Tune: {s}", lambda out, s=s: tuned.ray_tune(engine.seconds, theirs, out, s))
            for s in tuned.SETTINGS
        ]
    best = max(rate.steady for rate in tune)
    console.print(shown)
    console.print(f"{mine.steady / best:.1f} times Ray Tune's fastest\n")
    return {"ours": round(mine.steady, 1), "ray_tune": round(best, 1)}


def noop() -> Figures:
    """Trials that do nothing."""
    return {"noop_trials_per_s": rates("no-op trials", idle.IdleEngine, 200 * idle.BATCH, 500)}


def sleep() -> Figures:
    """Trials that sleep for 10 ms."""
    return {"sleep_trials_per_s": rates("10-ms trials", idle.SleepEngine, 40 * idle.BATCH, 500)}


def real_job() -> Figures:
    """The quickstart's critical rates.

    Raises:
        RuntimeError: a critical rate is not found by us, or the two sides find different ones.
    """
    shown = Table(title="critical rates of the quickstart to 1 %", title_justify="left")
    for column in ("", "seconds", "processes", "trials", "trial-steps", "rates found"):
        shown.add_column(column, justify="left" if not column else "right")

    def add(name: str, side: job.Job) -> None:
        found = sum(root is not None for root in side.roots.values())
        counts = (str(side.processes), str(side.trials), f"{side.trial_steps:.0f}")
        shown.add_row(name, f"{side.seconds:.1f}", *counts, f"{found} of {len(side.roots)}")

    with folder() as out:
        mine = job.ours(out / "run")
        add("phantom-dist run", mine)
        starts = job.intervals(out / "run")
        tune: dict[str, job.Job] = {}
        for search in SEARCHES:
            budget = min((side.seconds for side in tune.values() if side.done), default=None)
            tune[search] = job.ray_tune(search, starts, out, budget)
            add(f"Ray Tune, {search}", tune[search])
    console.print(shown)
    if not mine.done:
        raise RuntimeError("phantom-dist run left a critical rate unknown")
    for search, side in tune.items():
        if apart := job.disagreements(mine, side):
            raise RuntimeError(f"{search} found other critical rates for {', '.join(apart)}")
    best = min((side for side in tune.values() if side.done), key=lambda side: side.seconds, default=None)
    if best is not None:
        console.print(f"{mine.seconds / best.seconds:.3f} of the wall time of Ray Tune's best\n")
    return {
        "job_seconds": {"ours": round(mine.seconds, 1), "ray_tune": best and round(best.seconds, 1)},
        "job_trial_steps": {"ours": round(mine.trial_steps), "ray_tune": best and round(best.trial_steps)},
    }


MOST_TIMES = 6.0
"""Ray Tune with TRL is stopped after so many times what the run took."""


def twelve_words() -> Figures:
    """The critical rates of twelve words on a data set.

    Raises:
        RuntimeError: a critical rate is not found by us.
    """
    shown = Table(title="critical rates of twelve words on a data set, to 5 %", title_justify="left")
    for column in ("", "seconds", "trainings", "words"):
        shown.add_column(column, justify="left" if not column else "right")
    with folder() as out:
        mine = words.ours(out / "run")
        tune = words.ray_tune(out, MOST_TIMES * mine.seconds)
    for name, side in (("phantom-dist run", mine), ("Ray Tune with TRL", tune)):
        shown.add_row(name, f"{side.seconds:.0f}", str(side.trainings), f"{side.found} of 12")
    console.print(shown)
    if mine.found < 12:
        raise RuntimeError("phantom-dist run left a critical rate unknown")
    console.print(f"{mine.seconds / tune.seconds:.3f} of the wall time of Ray Tune with TRL\n")
    return {
        "words_seconds": {"ours": round(mine.seconds), "ray_tune": round(tune.seconds)},
        "words_trainings": {"ours": mine.trainings, "ray_tune": tune.trainings},
        "words_found": {"ours": mine.found, "ray_tune": tune.found},
    }


def sim() -> Figures:
    """The driver and its ledger over simulated workers."""
    result = simulated.simulate(WORKERS, TRIALS, MISPREDICTION, seed=0)
    names = {"makespan_over_bound": "sim_makespan_over_bound", "driver_us_per_trial": "driver_us_per_trial"}
    figures = {name: round(result[key], 3) for key, name in names.items()}
    console.print(f"{TRIALS} trials on {WORKERS} simulated workers: {figures}\n")
    return figures


PARTS: dict[str, Callable[[], Figures]] = {
    "noop": noop,
    "sleep": sleep,
    "job": real_job,
    "words": twelve_words,
    "sim": sim,
}
NOTHING: Figures = {
    "noop_trials_per_s": None,
    "sleep_trials_per_s": None,
    "job_seconds": None,
    "job_trial_steps": None,
    "words_seconds": None,
    "words_trainings": None,
    "words_found": None,
    "sim_makespan_over_bound": None,
    "driver_us_per_trial": None,
}


def main() -> None:
    """Print a table for each part; the last line is the JSON object, with null for parts that were left out."""
    parser = argparse.ArgumentParser(prog="python -m tests.benchmarks.peers", description=__doc__)
    parser.add_argument("parts", nargs="*", metavar="PART", help=f"{', '.join(PARTS)}; all if none is named")
    parts = parser.parse_args().parts or list(PARTS)
    if unknown := [part for part in parts if part not in PARTS]:
        parser.error(f"no such part: {', '.join(unknown)}; allowed: {', '.join(PARTS)}")
    figures = dict(NOTHING)
    for part in parts:
        figures |= PARTS[part]()
    print(json.dumps(figures))


if __name__ == "__main__":
    main()
