"""The real job: the critical rates of the quickstart to 1 %, by `phantom-dist run` and by Ray Tune.

Each side is a process of its own, timed from its start to its end: Python, Ray, imports and loading included. Tune runs
one experiment for each way to search (`searches.SEARCHES`), with as many actors and threads as the run has workers and
threads; every search starts from Π between 1/4 and 4, which it gets for nothing (the run pays for its probes). The best
way that finds all rates counts; another one is stopped when it has taken as long.

As a module it is Tune's process: SEARCH, a JSON file of what is given, a file for the answer.
"""

from __future__ import annotations

import json
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import optuna
import torch

from phantom_dist.spec import to_yaml, tolerance_of
from phantom_dist.traces import directory_and_sweep
from phantom_dist.traces.decode import probe_summaries
from tests.benchmarks.peers.local_ray import local_ray
from tests.benchmarks.peers.searches import SEARCHES, ManySearches
from tests.benchmarks.peers.training import FinalGap, quickstart
from tests.benchmarks.peers.tuned import CORES, Setting, fit

Starts = dict[str, tuple[float, float]]

MOST_TRIALS = 40
"""For each critical rate; after that a way to search counts as one that doesn't find it."""


@dataclass(frozen=True, kw_only=True)
class Job:
    """What a side took, in as many processes that trained; `roots` by the problem's key, None where it wasn't found."""

    seconds: float
    processes: int
    trials: int
    trial_steps: float
    roots: dict[str, float | None]

    @property
    def done(self) -> bool:
        """Whether every critical rate was found."""
        return None not in self.roots.values()


def ours(out: Path) -> Job:
    """`phantom-dist run` on the quickstart's searches.

    Raises:
        subprocess.CalledProcessError: it failed.
    """
    sweep = out.with_suffix(".yaml")
    sweep.parent.mkdir(parents=True, exist_ok=True)
    sweep.write_text(to_yaml(quickstart()))
    command = [sys.executable, "-m", "phantom_dist", "run", str(sweep), "--out", str(out), "--json"]
    text, seconds = _timed(command)
    status = json.loads(text)
    rates = status["critical_rates"]
    return Job(
        seconds=seconds,
        processes=status["workers"],
        trials=sum(entry["trials_used"] for entry in rates),
        trial_steps=sum(entry["trial_steps_used"] for entry in rates),
        roots={entry["problem"]: entry["eta_c"] for entry in rates},
    )


def intervals(run: Path) -> Starts:
    """Where Tune's searches start: Π between 1/4 and 4, from a run's probes."""
    starts: Starts = {}
    for probe in probe_summaries(directory_and_sweep(run)[0].probes()):
        assert probe.gap_0 is not None
        assert probe.kappa is not None
        first_order = abs(probe.gap_0) / (probe.effective_steps * probe.kappa)
        starts[probe.problem] = (first_order / 4, first_order * 4)
    return starts


def ray_tune(search: str, starts: Starts, folder: Path, budget: float | None = None) -> Job:
    """Ray Tune on the quickstart, by one way to search.

    Args:
        search: the way's name.
        starts: `intervals`.
        folder: an existing one for whatever Tune writes.
        budget: seconds after which it is stopped.

    Raises:
        subprocess.CalledProcessError: it failed.
    """
    given, answer = folder / f"{search}.given.json", folder / f"{search}.json"
    given.write_text(json.dumps({"starts": starts, "budget": budget}))
    command = [sys.executable, "-m", "tests.benchmarks.peers.job", search, str(given), str(answer)]
    seconds = _timed(command)[1]
    return Job(seconds=seconds, **json.loads(answer.read_text()))


def disagreements(one: Job, other: Job) -> list[str]:
    """Problems whose roots both found, further apart than the tolerance."""
    tolerance = tolerance_of(quickstart())
    assert tolerance is not None
    pairs = ((key, root, other.roots[key]) for key, root in one.roots.items())
    return [key for key, a, b in pairs if a and b and max(a, b) / min(a, b) - 1 > tolerance]


def _timed(command: list[str]) -> tuple[str, float]:
    began = time.perf_counter()
    done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
    return done.stdout, time.perf_counter() - began


def _search(name: str, out: Path, starts: Starts, budget: float | None) -> dict[str, Any]:
    """Tune's side, in its own process."""
    torch.set_num_threads(1)  # the GP's own arithmetic, beside workers that have all cores
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    spec = quickstart()
    tolerance = tolerance_of(spec)
    assert tolerance is not None
    searches = {key: SEARCHES[name](low, high) for key, (low, high) in starts.items()}
    search = ManySearches(searches, tolerance=tolerance, most=MOST_TRIALS)
    with local_ray():
        setting = Setting(files="none", concurrent=CORES // spec.execution.threads)
        most = MOST_TRIALS * len(starts)
        results = fit(FinalGap, out, samples=most, setting=setting, search=search, budget=budget)
    found = {key: search.closed(key) for key in starts}
    return {
        "processes": len({result["pid"] for result in results}),
        "trials": search.trials,
        "trial_steps": search.trials * spec.steps[0],
        "roots": {key: bracket and bracket.root for key, bracket in found.items()},
    }


if __name__ == "__main__":
    given, answer = Path(sys.argv[2]), Path(sys.argv[3])
    found = _search(sys.argv[1], answer.with_suffix(".tune"), **json.loads(given.read_text()))
    answer.write_text(json.dumps(found))
