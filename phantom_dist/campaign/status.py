"""The JSON object of a run directory, live or dead, from its files alone."""

from __future__ import annotations

import os
from collections import Counter
from typing import Any

from phantom_dist.core.errors import InputError
from phantom_dist.core.outcome import Outcome
from phantom_dist.refinement.critical_rate import critical_rates
from phantom_dist.spec import Critical, SweepSpec, from_yaml, learning_rates_of
from phantom_dist.traces import RunDirectory, Store
from phantom_dist.traces.claim import alive

Row = dict[str, Any]

FAILED = (Outcome.ERROR, Outcome.OUT_OF_MEMORY)


def open_run(location: str | os.PathLike[str]) -> tuple[RunDirectory, SweepSpec]:
    """A run directory and the sweep that it belongs to.

    Raises:
        InputError: there is no run in that directory.
    """
    directory = RunDirectory(Store(location))
    text = directory.read_sweep()
    if text is None:
        raise InputError(f"{location}: no run directory (it holds no sweep.yaml). Start one with `phantom-dist run`.")
    return directory, from_yaml(text, source=f"{location}/sweep.yaml")


def status(location: str | os.PathLike[str]) -> Row:
    """The contract's object: run, state, trials, outcomes, critical_rates; progress of a live run beside it.

    Raises:
        InputError: there is no run in that directory.
        StoreError: one of its Parquet files is damaged or foreign.
    """
    directory, spec = open_run(location)
    rows = directory.trials().to_pylist()
    state = directory.read_state()
    axis = learning_rates_of(spec)
    tolerance = axis.tolerance if isinstance(axis, Critical) else None
    outcomes = Counter(row["outcome"] for row in rows)
    failed = [
        {"trial_id": row["trial_id"], "model": row["model"], "context": row["context"], "error": row["error"]}
        for row in rows
        if Outcome(row["outcome"]) in FAILED
    ]
    live = alive(state)
    recorded = state.get("state", "interrupted")
    return {
        "run": spec.name,
        "state": "running" if live else "interrupted" if recorded == "running" else recorded,
        "trials": {
            "total": max(int(state.get("expected_trials", 0)), len(rows)),
            "done": len(rows),
            "failed": len(failed),
        },
        "outcomes": dict(sorted(outcomes.items())),
        "critical_rates": critical_rates(rows, tolerance),
        "errors": failed,
        "seconds": state.get("seconds"),
        "peak_memory_bytes": state.get("peak_memory_bytes"),
    }
