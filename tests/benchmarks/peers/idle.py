"""Trials that do nothing, or sleep, through the production path: `phantom_dist.run` with one more engine.

The engine is registered under a name of its own in the driver and, by Ray's set-up hook, in every worker process; the
plan, ledger, driver, executor, workers and run directory are those of every run. The sweep has one value of T for each
batch of 48 learning rates, for only trials of one T share a batch. So the ledger has a task, and the disk two files,
for each 48 trials; the plan, `plan.parquet` and `trials/` have a row for each trial. What is counted is rows on the
disk, and the probes of each T are part of the run.
"""

from __future__ import annotations

import math
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq

import phantom_dist
from phantom_dist.core.measurement import Measurement, Trial, TrialResult
from phantom_dist.engines import ENGINES
from phantom_dist.models.load import LoadedModel
from phantom_dist.spec import load_contexts
from phantom_dist.traces import directory_and_sweep
from tests.benchmarks.peers.rate import Rate, rate_of

BATCH = 48
CONTEXT = load_contexts(Path(__file__).parents[3] / "sweeps/contexts/zoo.yaml")[0]
SWEEP: dict[str, Any] = {
    "name": "idle",
    "models": "zoo:gpt2-a",
    "contexts": [CONTEXT.model_dump()],
    "learning_rates": {"log": [1e-6, 1e-3, BATCH]},
}


class IdleEngine:
    """An engine whose trials take `seconds` each and leave the model as it is: a trace of step 0 alone."""

    name = "no-op"
    seconds = 0.0

    def __init__(self, plugin_instruments: Sequence[object] = (), training_sets: object = None) -> None:
        """Nothing is measured or trained here."""

    def run(self, loaded: LoadedModel, trials: Sequence[Trial]) -> Iterator[TrialResult]:
        """One result per trial, in order; see `engine.Engine.run`."""
        for trial in trials:
            if self.seconds:
                time.sleep(self.seconds)
            yield TrialResult(
                trial=trial,
                trace=(_untouched(trial),),
                vocabulary_size=1000,
                wall_time=self.seconds,
                engine=self.name,
                stopped_early=self.name,
            )


class SleepEngine(IdleEngine):
    """The same with 10 ms."""

    name = "sleep"
    seconds = 0.01


def register() -> None:
    """Make the engines known to this process; `HOOK` names it to Ray."""
    ENGINES.update({engine.name: engine for engine in (IdleEngine, SleepEngine)})


HOOK = f"{__name__}.{register.__name__}"


def ours(engine: type[IdleEngine], trials: int, out: Path) -> Rate:
    """Run so many trials, a multiple of 48; the engine is registered here, and through `HOOK` in Ray's workers.

    Raises:
        RuntimeError: a row is missing or doubled, in the plan or among the trials, or a batch is larger than 48.
    """
    began = time.time()
    phantom_dist.run(SWEEP | {"steps": list(range(1, trials // BATCH + 1))}, out, engine=engine.name)
    took = time.time() - began
    rows = directory_and_sweep(out)[0].trials().to_pylist()
    if max(Counter(row["batch"] for row in rows).values()) > BATCH or {r["engine"] for r in rows} != {
        engine.name
    }:
        raise RuntimeError(
            f"trials ran in larger batches than {BATCH}, or on another engine than {engine.name}"
        )
    if pq.read_metadata(out / "plan.parquet").num_rows != trials:
        raise RuntimeError(f"the plan doesn't have {trials} rows")
    ended = [row["finished_at"].timestamp() for row in rows]
    return rate_of([row["trial_id"] for row in rows], ended, asked=trials, seconds=took)


def _untouched(trial: Trial) -> Measurement:
    """Step 0, from what the probe knows."""
    pair = trial.measured.pair
    return Measurement(
        step=0,
        loss=pair.loss_0,
        logit_gap=pair.gap_0,
        p_target=math.exp(-pair.loss_0),
        p_competitor=math.exp(-pair.loss_0 - pair.gap_0),
        rank_target=2,
        rank_competitor=1,
        overlap=pair.overlap_0,
        order_parameter=0.0,
        signal=0.0,
        drag=0.0,
        readout_change=None,
        geometry_change=None,
        embedding_drift=0.0,
        gradient_norm=None,
        readout_hash=None,
    )
