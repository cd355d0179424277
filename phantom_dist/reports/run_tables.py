"""The report's input: the tables of a run, its critical rates, and what else the page shows of it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

from phantom_dist.refinement.critical_rate import CriticalRate
from phantom_dist.reports.predictions import RatePrediction
from phantom_dist.scheduling.timeline import Timeline


class Table(Protocol):
    """The part of `pyarrow.Table` that the report needs."""

    @property
    def column_names(self) -> list[str]:
        """Names of the columns, in order."""

    @property
    def num_rows(self) -> int:
        """Number of rows."""

    def to_pylist(self) -> list[dict[str, Any]]:
        """The rows as dictionaries; nulls are None."""

    def column(self, name: str) -> Any:
        """One column, with `to_pylist` and `to_numpy` (nulls are NaN)."""


@dataclass(frozen=True, kw_only=True)
class RunTables:
    """One stored run.

    Attributes:
        name: of the run.
        trials: a table with the columns of `core.quantities.TRIAL_COLUMNS`.
        traces: a table with those of `TRACE_COLUMNS` and `model`.
        critical_rates: one for each problem.
        predictions: a law's predictions of the critical rates.
        law: name of that law.
        lora: the verdict of its calibration on architectures under LoRA; None without one.
        titles: exact model titles by model reference.
        prompts: by context id.
        tolerance: the sweep's tolerance; None where no critical rate was requested.
        timeline: of the run's events; None where it recorded none.
    """

    name: str
    trials: Table
    traces: Table
    critical_rates: Sequence[CriticalRate]
    predictions: Sequence[RatePrediction] = ()
    law: str = ""
    lora: str | None = None
    titles: Mapping[str, str] = field(default_factory=dict)
    prompts: Mapping[str, str] = field(default_factory=dict)
    tolerance: float | None = None
    timeline: Timeline | None = None
