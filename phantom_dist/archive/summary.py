"""Counts over the tables of an archive, and the models, devices and versions in them.

Packing writes the summary into `provenance.json`; verifying recomputes it from the tables and compares.
"""

from __future__ import annotations

import datetime
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

import duckdb

from phantom_dist.archive.layout import TABLES


@dataclass(frozen=True, kw_only=True, slots=True)
class ModelSummary:
    """A model of the table `trials`; `weights_sha256` and the architecture are None where it was never loaded."""

    model: str
    architecture: str | None
    parameters: int | None
    weights_sha256: str | None
    trials: int


@dataclass(frozen=True, kw_only=True, slots=True)
class Summary:
    """What the tables contain.

    Attributes:
        rows: rows by table.
        outcomes: trials by outcome.
        models: one entry per model reference and weights.
        trace_rows: rows of `traces` by model.
        contexts: their ids.
        engines, devices, versions: trials by engine, device and versions of the software.
        first_result, last_result: when the first and the last trial finished (ISO 8601, UTC, whole seconds).
    """

    rows: Mapping[str, int]
    outcomes: Mapping[str, int]
    models: tuple[ModelSummary, ...]
    trace_rows: Mapping[str, int]
    contexts: tuple[str, ...]
    engines: Mapping[str, int]
    devices: Mapping[str, int]
    versions: Mapping[str, int]
    first_result: str | None
    last_result: str | None

    @property
    def date(self) -> str | None:
        """The day of the last result, YYYY-MM-DD: the archive's date, so that packing it later changes nothing."""
        return None if self.last_result is None else self.last_result[:10]

    def to_json(self) -> dict[str, Any]:
        """The object `data` of `provenance.json`."""
        return asdict(self) | {
            "models": [asdict(model) for model in self.models],
            "contexts": list(self.contexts),
        }


def summarise(connection: duckdb.DuckDBPyConnection) -> Summary:
    """Query the views `trials`, `probes` and `traces`."""

    def rows(query: str) -> list[tuple[Any, ...]]:
        return connection.execute(query).fetchall()

    def counts(column: str) -> dict[str, int]:
        return dict(
            rows(
                f"SELECT {column}, count(*) FROM trials WHERE {column} IS NOT NULL GROUP BY ALL ORDER BY ALL"
            )
        )

    steps = dict(rows("SELECT model, count(*) FROM traces GROUP BY ALL"))
    models = rows(
        "SELECT model, architecture, parameters, weights, count(*) FROM trials GROUP BY ALL ORDER BY ALL NULLS FIRST"
    )
    first, last = rows("SELECT epoch_us(min(finished_at)), epoch_us(max(finished_at)) FROM trials")[0]
    return Summary(
        rows={table: rows(f"SELECT count(*) FROM {table}")[0][0] for table in TABLES},
        outcomes=counts("outcome"),
        models=tuple(
            ModelSummary(
                model=model,
                architecture=architecture,
                parameters=parameters,
                weights_sha256=weights,
                trials=trials,
            )
            for model, architecture, parameters, weights, trials in models
        ),
        trace_rows=dict(sorted(steps.items())),
        contexts=tuple(row[0] for row in rows("SELECT DISTINCT context FROM trials ORDER BY ALL")),
        engines=counts("engine"),
        devices=counts("device"),
        versions=counts("versions"),
        first_result=_iso(first),
        last_result=_iso(last),
    )


def _iso(microseconds: int | None) -> str | None:
    if microseconds is None:
        return None
    moment = datetime.datetime.fromtimestamp(microseconds // 1_000_000, datetime.UTC)
    return moment.isoformat()
