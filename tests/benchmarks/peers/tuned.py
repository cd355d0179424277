"""The same trials under Ray Tune, as fast as its documented settings make it.

What its documentation recommends for many short trials: a class Trainable with `reset_config`, so that actors are
reused; no checkpoints, no tables, no syncing; local storage. `SETTINGS` are the ways that are tried in every run of the
benchmark, and the fastest counts. A trial reports once and is done.
"""

from __future__ import annotations

import logging
import os
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ray import tune
from ray.tune.experiment import Trial
from ray.tune.logger import JsonLoggerCallback
from ray.tune.search import Searcher

from tests.benchmarks.peers.rate import Rate, rate_of

Result = dict[str, Any]
CORES = os.cpu_count() or 1


class IdleTrial(tune.Trainable):
    """Sleeps for `seconds` of its configuration, or does nothing."""

    def setup(self, config: dict[str, Any]) -> None:
        """Nothing is loaded."""
        self._seconds: float = config["seconds"]

    def reset_config(self, new_config: dict[str, Any]) -> bool:
        """The next trial on this actor."""
        self._seconds = new_config["seconds"]
        return True

    def step(self) -> Result:
        """The whole trial."""
        if self._seconds:
            time.sleep(self._seconds)
        return {"done": True, "ended": time.time()}


@dataclass(frozen=True, kw_only=True)
class Setting:
    """A way to run Tune.

    Attributes:
        actors: how many share a core.
        files: what is written for each trial: `all` (Tune's default: JSON, CSV, TensorBoard), `json`, `none`.
        buffer: TUNE_RESULT_BUFFER_LENGTH, results that an actor sends at once.
        pending: TUNE_MAX_PENDING_TRIALS_PG, trials that wait for a place; Tune chooses where it is None.
        concurrent: `max_concurrent_trials`; None for as many as there is room for. With a searcher it makes Tune start
            all actors at once; else it starts one after another, and stops the next one whenever a trial ends before
            that one is ready, so that short trials stay on one actor.
    """

    actors: int = 1
    files: str = "json"
    buffer: int = 1
    pending: int | None = None
    concurrent: int | None = None

    def __str__(self) -> str:
        """As it is printed."""
        said = [f"{self.actors} actors a core", f"files {self.files}", f"buffer {self.buffer}"]
        said += [] if self.pending is None else [f"{self.pending} pending"]
        said += [] if self.concurrent is None else [f"{self.concurrent} at once"]
        return ", ".join(said)


SETTINGS = (
    Setting(files="all"),
    Setting(),
    Setting(files="none"),
    Setting(files="none", buffer=100),
    Setting(files="none", pending=CORES),
    Setting(files="none", concurrent=CORES),
    Setting(files="none", actors=2),
)


class Ends(tune.Callback):
    """Keeps every trial's last result, in the driver."""

    def __init__(self) -> None:
        self.results: list[Result] = []

    def on_trial_complete(self, iteration: int, trials: list[Trial], trial: Trial, **info: Any) -> None:
        """Called by Tune."""
        self.results.append(trial.last_result)


def fit(
    trainable: type[tune.Trainable],
    out: Path,
    *,
    samples: int,
    setting: Setting,
    space: dict[str, Any] | None = None,
    search: Searcher | None = None,
    budget: float | None = None,
) -> Sequence[Result]:
    """One experiment with actors reused: the last result of every trial that ended, in the order of their ends.

    It is stopped after `budget` seconds.

    Raises:
        Exception: what the first trial that failed raised.
    """
    logging.getLogger("ray.tune").setLevel(
        logging.ERROR
    )  # without JSON files it misses each of them at the end
    os.environ |= {
        "RAY_AIR_NEW_OUTPUT": "0",
        "TUNE_DISABLE_AUTO_CALLBACK_LOGGERS": str(int(setting.files != "all")),
        "TUNE_RESULT_BUFFER_LENGTH": str(setting.buffer),
        "TUNE_MAX_PENDING_TRIALS_PG": str(setting.pending or "auto"),
    }
    ends = Ends()
    tuner = tune.Tuner(
        tune.with_resources(trainable, {"cpu": 1 / setting.actors}),
        param_space=space or {},
        tune_config=tune.TuneConfig(
            num_samples=samples,
            search_alg=search,
            max_concurrent_trials=setting.concurrent,
            time_budget_s=budget,
            reuse_actors=True,
        ),
        run_config=tune.RunConfig(
            storage_path=str(out),
            verbose=0,
            callbacks=[ends, JsonLoggerCallback()] if setting.files == "json" else [ends],
            checkpoint_config=tune.CheckpointConfig(checkpoint_frequency=0, checkpoint_at_end=False),
        ),
    )
    for error in tuner.fit().errors:
        raise error
    return ends.results


def ray_tune(seconds: float, trials: int, out: Path, setting: Setting) -> Rate:
    """Run so many trials of `seconds` each.

    Raises:
        RuntimeError: a result is missing or doubled.
    """
    began = time.time()
    results = fit(IdleTrial, out, samples=trials, setting=setting, space={"seconds": seconds})
    took = time.time() - began
    names = [result["trial_id"] for result in results]
    return rate_of(names, [r["ended"] for r in results], asked=trials, seconds=took)
