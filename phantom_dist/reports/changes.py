"""Sums the changes of Φ over the steps of every trial: from the whole trace table, of which the page has a sample."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from phantom_dist.reports.run_tables import Table

Row = dict[str, Any]


def changes(traces: Table, trials: Mapping[str, Row]) -> None:
    """Add the sums over its steps to every trial; `trials` maps trial ids to their rows.

    `readout_sum`, `geometry_sum`: the two parts of Φ_T − Φ_0. `geometry_part`: Σ|geometry| / Σ(|geometry| + |readout|),
    None where Φ did not change. `steps_measured`: steps after step 0; `steps_exact`: those with a geometry part of
    exactly 0. `readout_frozen`: whether the readout matrix's hash is stored and the same at every step.
    """
    place = {trial: i for i, trial in enumerate(trials)}
    trial_N = np.array([place.get(t, -1) for t in traces.column("trial_id").to_pylist()], dtype=np.int64)
    known_N = trial_N >= 0

    def summed(values_N: Any, where_N: Any) -> list[float]:
        sums: list[float] = np.bincount(
            trial_N[where_N], weights=values_N[where_N], minlength=len(place)
        ).tolist()
        return sums

    readout_N, geometry_N = (numbers(traces, name) for name in ("readout_change", "geometry_change"))
    both_N = known_N & np.isfinite(readout_N) & np.isfinite(geometry_N)
    later_N = known_N & (numbers(traces, "step") > 0)
    readout, geometry = summed(readout_N, both_N), summed(geometry_N, both_N)
    moved = summed(np.abs(geometry_N), both_N)
    whole = summed(np.abs(geometry_N) + np.abs(readout_N), both_N)
    ones_N = np.ones(len(trial_N))
    measured, exact = summed(ones_N, later_N), summed(ones_N, later_N & (geometry_N == 0))
    frozen = _frozen(traces, trial_N, len(place))
    for i, row in enumerate(trials.values()):
        row["readout_sum"], row["geometry_sum"] = readout[i], geometry[i]
        row["geometry_part"] = moved[i] / whole[i] if whole[i] else None
        row["steps_measured"], row["steps_exact"] = int(measured[i]), int(exact[i])
        row["readout_frozen"] = frozen[i]


def numbers(traces: Table, name: str) -> Any:
    """A column as float64; NaN where a value is null or the table has no such column."""
    if name not in traces.column_names:
        return np.full(traces.num_rows, np.nan)
    return np.asarray(traces.column(name).to_numpy(), dtype=np.float64)


def _frozen(traces: Table, trial_N: Any, count: int) -> list[bool]:
    hashes: list[set[str | None]] = [set() for _ in range(count)]
    if "readout_hash" in traces.column_names:
        for trial, value in zip(trial_N, traces.column("readout_hash").to_pylist(), strict=True):
            if trial >= 0:
                hashes[trial].add(value)
    return [len(seen) == 1 and None not in seen for seen in hashes]
