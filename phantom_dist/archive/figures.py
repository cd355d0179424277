"""The report's figures of an archive, for its card: of as many problems as a page can show, whatever its size."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import duckdb

from phantom_dist.refinement.critical_rate import critical_rates_of
from phantom_dist.reports import Rows, RunTables, export_figure, figures
from phantom_dist.spec import SweepSpec
from phantom_dist.traces.decode import probe_summaries, trial_summaries

TRIALS, STEPS = 1_000, 50_000
"""Problems are drawn until they have so many trials, or so many trace rows."""

FIGURES = {
    "phase-map": (figures.phase_map, "How every trial ended, over its learning rate in units of the critical one."),
    "silent-failure": (figures.silent_failure, "Loss, gap, signal and drag around one critical rate."),
    "collapse": (figures.collapse, "Final gaps of all problems over the dimensionless rate."),
    "jumps": (figures.jumps, "Jumps of the order parameter and the readout's share of each."),
}  # fmt: skip
"""By the file's name: the figure and its caption."""


def draw(
    connection: duckdb.DuckDBPyConnection, specs: Sequence[SweepSpec], name: str, archive: Path
) -> tuple[list[str], str | None]:
    """Draw what there is to draw into `figures/`.

    Returns:
        The names of the figures that were drawn, and a sentence if they show a part only.
    """
    rows, said = _rows(connection, specs, name)
    drawn = []
    for file, (figure, _) in FIGURES.items():
        if figure(rows) is not None:
            (archive / "figures").mkdir(exist_ok=True)
            export_figure(figure, rows, archive / "figures" / f"{file}.png", scale=1.5)
            drawn.append(file)
    return drawn, said


def _rows(
    connection: duckdb.DuckDBPyConnection, specs: Sequence[SweepSpec], name: str
) -> tuple[Rows, str | None]:
    # In turns from every model and method, so that a part shows all of them.
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
    count, every = (
        connection.execute(f"SELECT count(DISTINCT problem) FROM {table}").fetchall()[0][0]
        for table in ("drawn", "trials")
    )
    return Rows.of([tables]), None if count == every else f"The figures show {count} of {every:,} problems."
