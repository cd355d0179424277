"""Decodes stored tables into the typed records on which decisions are based."""

from __future__ import annotations

import dataclasses

import pyarrow as pa

from phantom_dist.core.problem_columns import PROBLEM_COLUMNS
from phantom_dist.core.summaries import ProbeSummary, TrialSummary

_TRIAL = [field.name for field in dataclasses.fields(TrialSummary)]
_PROBE = [
    "problem",
    *PROBLEM_COLUMNS,
    "effective_steps",
    "gap_0",
    "kappa",
    "probe_trial_steps",
    "refusal",
    "held_out",
    "near_synonym",
    "examples_used",
    "examples_cut",
]


def trial_summaries(trials: pa.Table) -> list[TrialSummary]:
    """The rows of `trials/`, in their order."""
    return [TrialSummary.from_row(row) for row in trials.select(_TRIAL).to_pylist()]


def probe_summaries(probes: pa.Table) -> list[ProbeSummary]:
    """The rows of `probes/`, in their order."""
    return [ProbeSummary.from_row(row) for row in probes.select(_PROBE).to_pylist()]
