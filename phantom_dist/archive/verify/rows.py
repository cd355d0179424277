"""Checks the rows of an archive against the invariants, in one pass over each model's traces."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

import duckdb

from phantom_dist.archive.sql import TRAINED, literal
from phantom_dist.archive.verify import invariants
from phantom_dist.archive.verify.defect import Defect
from phantom_dist.archive.verify.invariants import Invariant


def check_rows(
    connection: duckdb.DuckDBPyConnection, models: Sequence[str], progress: Callable[[str], None]
) -> Iterator[Defect]:
    """One defect for each invariant that is broken, with the number of rows that break it and one of them.

    Args:
        connection: with the views `trials`, `probes` and `traces`.
        models: those that have traces.
        progress: called with each model whose traces were checked.
    """
    yield from _broken(connection, "trials", "trials", invariants.TRIALS, "trial_id")
    yield from _broken(connection, "probes", "probes", invariants.PROBES, "problem")
    connection.execute("CREATE TABLE summary AS " + invariants.SUMMARY.replace("{model}", "''"))
    for model in models:
        source = f"traces WHERE model = {literal(model)}"
        rows = invariants.TRACE_ROWS.replace("{source}", source)
        where = f"traces of {model}"
        yield from _broken(connection, where, f"({rows})", invariants.TRACES, "trial_id || ' step ' || step")
        connection.execute("INSERT INTO summary " + invariants.SUMMARY.replace("{model}", literal(model)))
        progress(model)
    yield from _across_tables(connection)


def _broken(
    connection: duckdb.DuckDBPyConnection, where: str, relation: str, required: Sequence[Invariant], name: str
) -> Iterator[Defect]:
    columns = ", ".join(
        f"count(*) FILTER (NOT coalesce({i.sql}, false)), "
        f"min(coalesce({name}, '?')) FILTER (NOT coalesce({i.sql}, false))"
        for i in required
    )
    counts = connection.execute(f"SELECT {columns} FROM {relation}").fetchall()[0]
    for invariant, count, example in zip(required, counts[::2], counts[1::2], strict=True):
        if count:
            yield Defect(where, f"{count} row(s) violate: {invariant.rule}; the first: {example}")


def _across_tables(connection: duckdb.DuckDBPyConnection) -> Iterator[Defect]:
    joined = (
        "(SELECT t.*, s.* EXCLUDE (trial_id) FROM trials t LEFT JOIN summary s ON t.trial_id = s.trial_id "
        f"WHERE outcome {TRAINED})"
    )
    yield from _broken(connection, "trials beside traces", joined, invariants.JOINED, "trial_id")
    for where, what, query in (
        (
            "trials",
            "a trial_id occurs in more than one row",
            "SELECT trial_id FROM trials GROUP BY trial_id HAVING count(*) > 1",
        ),
        (
            "probes",
            "a problem of one model occurs in more than one row",
            "SELECT problem FROM probes GROUP BY problem, weights HAVING count(*) > 1",
        ),
        (
            "traces",
            "traces belong to a trial that is not in trials or was not trained",
            f"SELECT trial_id FROM summary ANTI JOIN (FROM trials WHERE outcome {TRAINED}) USING (trial_id)",
        ),
        (
            "traces",
            "a trial's traces are filed under several models",
            "SELECT trial_id FROM summary GROUP BY trial_id HAVING count(*) > 1",
        ),
        (
            "trials",
            "a trial's pair_kind doesn't follow from its probe's tokens",
            "SELECT trial_id FROM trials t JOIN probes p ON t.problem = p.problem "
            "AND t.weights IS NOT DISTINCT FROM p.weights WHERE pair_kind IS NOT NULL "
            "AND (pair_kind = 'several') <> (coalesce(shared, target_rest, competitor_rest) IS NOT NULL)",
        ),
        *(
            (
                table,
                "near_synonym doesn't follow from the overlap and the floor",
                f"SELECT {key} FROM {table} WHERE near_synonym <> (centred_overlap >= synonym_floor)",
            )
            for table, key in (("trials", "trial_id"), ("probes", "problem"))
        ),
        (
            "trials",
            "a trial's problem and model have no probe",
            "SELECT trial_id FROM trials t ANTI JOIN probes p ON t.problem = p.problem "
            "AND t.weights IS NOT DISTINCT FROM p.weights",
        ),
    ):
        count, first = connection.execute(
            f"SELECT count(*), min(coalesce(columns(*), '?')) FROM ({query})"
        ).fetchall()[0]
        if count:
            yield Defect(where, f"{what}: {count} time(s); the first: {first}")
