"""Rows of the table `traces/`: one for each step of a trial."""

from __future__ import annotations

import dataclasses

from phantom_dist.core.measurement import Measurement, TrialResult
from phantom_dist.records.row import Row

_STEP_COLUMNS = tuple(
    field.name for field in dataclasses.fields(Measurement) if field.name != "plugin_values"
)
"""Fields of `Measurement` that are columns of the same name."""


def trace_rows(result: TrialResult) -> list[Row]:
    """Encode the trace of a result as rows of `traces/`."""
    trial_id = result.id
    return [
        {"trial_id": trial_id}
        | {name: getattr(measurement, name) for name in _STEP_COLUMNS}
        | dict(measurement.plugin_values)
        for measurement in result.trace
    ]
