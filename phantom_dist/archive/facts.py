"""What the tables of an archive say of themselves: counts, models, devices, versions.

Packing writes it into `provenance.json`; verifying counts again and compares.
"""

from __future__ import annotations

import datetime
from typing import Any

import duckdb

from phantom_dist.archive.layout import TABLES

Facts = dict[str, Any]


def facts_of(connection: duckdb.DuckDBPyConnection) -> Facts:
    """Count the views `trials`, `probes` and `traces`."""

    def rows(query: str) -> list[tuple[Any, ...]]:
        return connection.execute(query).fetchall()

    def counts(column: str) -> dict[str, int]:
        found = rows(
            f"SELECT {column}, count(*) FROM trials WHERE {column} IS NOT NULL GROUP BY ALL ORDER BY ALL"
        )
        return dict(found)

    steps = dict(rows("SELECT model, count(*) FROM traces GROUP BY ALL"))
    models = rows(
        "SELECT model, architecture, parameters, weights, count(*) FROM trials GROUP BY ALL ORDER BY ALL NULLS FIRST"
    )
    first, last = rows("SELECT epoch_us(min(finished_at)), epoch_us(max(finished_at)) FROM trials")[0]
    return {
        "rows": {table: rows(f"SELECT count(*) FROM {table}")[0][0] for table in TABLES},
        "outcomes": counts("outcome"),
        "models": [
            {
                "model": model,
                "architecture": architecture,
                "parameters": parameters,
                "weights_sha256": weights,
                "trials": trials,
            }
            for model, architecture, parameters, weights, trials in models
        ],
        "trace_rows": dict(sorted(steps.items())),
        "contexts": [row[0] for row in rows("SELECT DISTINCT context FROM trials ORDER BY ALL")],
        "engines": counts("engine"),
        "devices": counts("device"),
        "versions": counts("versions"),
        "first_result": _moment(first),
        "last_result": _moment(last),
    }


def date_of(facts: Facts) -> str | None:
    """The day of the last result, YYYY-MM-DD: the archive's date, so that packing it later changes nothing."""
    moment: str | None = facts["last_result"]
    return None if moment is None else moment[:10]


def _moment(microseconds: int | None) -> str | None:
    if microseconds is None:
        return None
    moment = datetime.datetime.fromtimestamp(microseconds // 1_000_000, datetime.UTC)
    return moment.isoformat()
