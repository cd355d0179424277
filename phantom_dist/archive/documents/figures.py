"""The report's figures for an archive's card. They show as many problems as fit a page, however large the archive."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import duckdb

from phantom_dist.refinement.critical_rate import critical_rates_of
from phantom_dist.reports import Rows, RunTables, export_figure, figures
from phantom_dist.spec import SweepSpec
from phantom_dist.traces.decode import probe_summaries, trial_summaries

TRIALS, STEPS = 1_000, 50_000
"""The problems that are drawn have at most this many trials and trace rows together."""

FIGURES = {
    "phase-map": (figures.phase_map, "How every trial ended, over its learning rate in units of the critical one."),
    "silent-failure": (figures.silent_failure, "Loss, gap, signal and drag around one critical rate."),
    "collapse": (figures.collapse, "Final gaps of all problems over the dimensionless rate."),
    "jumps": (figures.jumps, "Jumps of the order parameter and the readout's share of each."),
}  # fmt: skip
"""By name of file: the figure and its caption."""


def draw(
    connection: duckdb.DuckDBPyConnection, specs: Sequence[SweepSpec], name: str, archive: Path
) -> tuple[list[str], str | None]:
    """Draw the figures for which there are data into `figures/`.

    Returns:
        The names of the drawn figures, and a sentence if they show only a part of the problems.
    """
    rows, note = _rows(connection, specs, name)
    drawn = []
    for file, (figure, _) in FIGURES.items():
        if figure(rows) is not None:
            (archive / "figures").mkdir(exist_ok=True)
            export_figure(figure, rows, archive / "figures" / f"{file}.png", scale=1.5)
            drawn.append(file)
    return drawn, note


def _rows(
    connection: duckdb.DuckDBPyConnection, specs: Sequence[SweepSpec], name: str
) -> tuple[Rows, str | None]:
    # Round-robin over models and methods, so that a part of the problems still shows all of them. The first problem is
    # drawn even if it alone exceeds the limits.
    connection.execute(
        "CREATE OR REPLACE TEMP TABLE drawn AS SELECT problem FROM ("
        "SELECT problem, sum(n) OVER w AS trials_so_far, sum(rows) OVER w AS rows_so_far, row_number() OVER w AS place "
        "FROM (SELECT problem, min(model) AS model, count(*) AS n, sum(coalesce(steps_taken + 1, 0)) AS rows, "
        "row_number() OVER (PARTITION BY min(model), min(method) ORDER BY problem) AS turn "
        "FROM trials GROUP BY problem) "
        "WINDOW w AS (ORDER BY turn, model, problem)) "
        f"WHERE place = 1 OR (trials_so_far <= {TRIALS} AND rows_so_far <= {STEPS})"
    )
    trials = connection.sql("FROM trials SEMI JOIN drawn USING (problem) ORDER BY ALL").to_arrow_table()
    probes = connection.sql("FROM probes SEMI JOIN drawn USING (problem) ORDER BY ALL").to_arrow_table()
    chosen = trials.column("trial_id").to_pylist()
    connection.execute("CREATE OR REPLACE TEMP TABLE drawn_trials AS SELECT unnest($1) AS trial_id", [chosen])
    steps = "FROM traces SEMI JOIN drawn_trials USING (trial_id) ORDER BY trial_id, step"
    traces = connection.sql(steps).to_arrow_table()
    rates = critical_rates_of(specs, probe_summaries(probes), trial_summaries(trials))
    tables = RunTables(name=name, trials=trials, traces=traces, critical_rates=rates)
    count, total = (
        connection.execute(f"SELECT count(DISTINCT problem) FROM {table}").fetchall()[0][0]
        for table in ("drawn", "trials")
    )
    return Rows.of([tables]), None if count == total else f"The figures show {count} of {total:,} problems."
