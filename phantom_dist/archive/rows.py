"""The rows of an archive against the invariants, in one stream over each model's traces."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

import duckdb

from phantom_dist.archive import invariants
from phantom_dist.archive.database import literal
from phantom_dist.archive.defect import Defect
from phantom_dist.archive.invariants import Invariant
from phantom_dist.archive.merge import TRAINED


def check_rows(
    connection: duckdb.DuckDBPyConnection, models: Sequence[str], progress: Callable[[str], None]
) -> Iterator[Defect]:
    """All that breaks an invariant, one entry for each invariant that is broken, with the first row that breaks it.

    Args:
        connection: with the views `trials`, `probes` and `traces`.
        models: those that have traces.
        progress: told each model that is done.
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
    yield from _between(connection)


def _broken(
    connection: duckdb.DuckDBPyConnection, where: str, relation: str, all_of: Sequence[Invariant], name: str
) -> Iterator[Defect]:
    counts = ", ".join(
        f"count(*) FILTER (NOT coalesce({i.holds}, false)), "
        f"min(coalesce({name}, '?')) FILTER (NOT coalesce({i.holds}, false))"
        for i in all_of
    )
    found = connection.execute(f"SELECT {counts} FROM {relation}").fetchall()[0]
    for invariant, count, example in zip(all_of, found[::2], found[1::2], strict=True):
        if count:
            yield Defect(where, f"not so in {count} row(s): {invariant.says}; the first: {example}")


def _between(connection: duckdb.DuckDBPyConnection) -> Iterator[Defect]:
    joined = (
        "(SELECT t.*, s.* EXCLUDE (trial_id) FROM trials t LEFT JOIN summary s ON t.trial_id = s.trial_id "
        f"WHERE outcome {TRAINED})"
    )
    yield from _broken(connection, "trials beside traces", joined, invariants.JOINED, "trial_id")
    for where, what, query in (
        (
            "trials",
            "trial_id stands in more than one row",
            "SELECT trial_id FROM trials GROUP BY trial_id HAVING count(*) > 1",
        ),
        (
            "probes",
            "a problem of one model stands in more than one row",
            "SELECT problem FROM probes GROUP BY problem, weights HAVING count(*) > 1",
        ),
        (
            "traces",
            "traces of a trial that is not in trials, or was not trained",
            f"SELECT trial_id FROM summary ANTI JOIN (FROM trials WHERE outcome {TRAINED}) USING (trial_id)",
        ),
        (
            "traces",
            "a trial's traces stand under several models",
            "SELECT trial_id FROM summary GROUP BY trial_id HAVING count(*) > 1",
        ),
        (
            "trials",
            "no probe of its problem and model",
            "SELECT trial_id FROM trials t ANTI JOIN probes p ON t.problem = p.problem "
            "AND t.weights IS NOT DISTINCT FROM p.weights",
        ),
    ):
        found = connection.execute(
            f"SELECT count(*), min(coalesce(columns(*), '?')) FROM ({query})"
        ).fetchall()[0]
        if found[0]:
            yield Defect(where, f"{what}: {found[0]}; the first: {found[1]}")
