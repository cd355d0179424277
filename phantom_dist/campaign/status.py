"""The JSON object of a run directory, live or dead, from its files alone."""

from __future__ import annotations

import os
from collections import Counter
from typing import Any

from phantom_dist.campaign.explain import explain
from phantom_dist.core.outcome import Outcome
from phantom_dist.refinement.critical_rate import critical_rates
from phantom_dist.scheduling.timeline import timeline
from phantom_dist.spec import tolerance_of
from phantom_dist.traces import directory_and_sweep
from phantom_dist.traces.claim import alive
from phantom_dist.traces.decode import probe_summaries, trial_summaries

Row = dict[str, Any]


def status(location: str | os.PathLike[str], *, why: str | None = None) -> Row:
    """The object of `run` and `status`: run, state, trials, outcomes, critical_rates; progress of a live run beside it.

    `timeline` says where the run's time went (`scheduling.timeline`); null for runs that recorded no events.

    Args:
        location: a run directory.
        why: the beginning of a trial's or a batch's id: `why` then says what happened to it (`campaign.explain`).

    Raises:
        InputError: there is no run in that directory, or nothing in it is called `why`.
        StoreError: one of its Parquet files is damaged or foreign.
    """
    directory, spec = directory_and_sweep(location)
    trials = trial_summaries(directory.trials())
    rates = critical_rates(probe_summaries(directory.probes()), trials, tolerance_of(spec))
    state = directory.read_state()
    outcomes = Counter(trial.outcome.value for trial in trials)
    failed = [
        {"trial_id": trial.trial_id, "model": trial.model, "context": trial.context, "error": trial.error}
        for trial in trials
        if trial.outcome is Outcome.ERROR
    ]
    refused = {
        (trial.model, trial.context, trial.outcome.value): trial.error
        for trial in trials
        if trial.outcome.refused
    }
    live = alive(state)
    recorded = state.get("state", "interrupted")
    run_timeline = timeline(directory.events(), until=float(state.get("heartbeat_at", 0.0)) if live else None)
    explained = {} if why is None else {"why": explain(directory, run_timeline, why).to_json()}
    return {
        "run": spec.name,
        "state": "running" if live else "interrupted" if recorded == "running" else recorded,
        "trials": {
            "total": max(int(state.get("expected_trials", 0)), len(trials)),
            "done": len(trials),
            "failed": len(failed),
        },
        "outcomes": dict(sorted(outcomes.items())),
        "critical_rates": [rate.to_json() for rate in rates],
        "errors": failed,
        "refusals": [
            {"model": model, "context": context, "outcome": outcome, "error": error}
            for (model, context, outcome), error in refused.items()
        ],
        "notes": dict(Counter(trial.note for trial in trials if trial.note)),
        "models": state.get("models", {}),
        "reason": None if live else state.get("reason"),
        "workers": state.get("workers"),
        "seconds": state.get("seconds"),
        "peak_memory_bytes": state.get("peak_memory_bytes"),
        "timeline": None if run_timeline is None else run_timeline.to_json(),
    } | explained
