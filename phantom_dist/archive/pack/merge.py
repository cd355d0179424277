"""Which copy of a trial is kept where several runs, or several batches of one run, contain it.

Copies that agree (`conflicts`) are interchangeable, so the choice only has to be the same whatever the order of the
runs. A failure (`error`, `out_of_memory`) says nothing about the trial: any other result supersedes it.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from typing import Any

import duckdb

from phantom_dist.archive.layout import Observer
from phantom_dist.archive.pack.conflicts import conflicts, message
from phantom_dist.archive.pack.sources import Source, stream
from phantom_dist.archive.sql import FAILED
from phantom_dist.core.errors import InputError


def load(connection: duckdb.DuckDBPyConnection, sources: Sequence[Source], observer: Observer) -> None:
    """Create the views `kept_trial` and `kept_probe`, and the table `loser`: the copies of trials that are left out.

    Raises:
        InputError: two results contradict each other; the message names trial, directories, column and values.
        StoreError: a run's file is damaged or foreign.
    """
    files = sum(len(source.directory.files("trials")) for source in sources)
    counter = itertools.count(1)

    def file_read(rows: int) -> None:
        observer("files of trials read", next(counter), files)

    _create(connection, "trial", sources, file_read)
    _create(connection, "probe", sources, lambda rows: None)
    # `_copies` compares the runs' order last, so that naming them in another order gives the same archive.
    _copies(
        connection,
        "trial",
        ["trial_id"],
        f"outcome {FAILED}, engine IS DISTINCT FROM 'single', finished_at, attempt",
    )
    _copies(
        connection, "probe", ["problem", "weights"], f"coalesce(refusal {FAILED}, false), path_rates IS NULL"
    )
    found = conflicts(connection, sources)
    if found:
        raise InputError(message(found, sources))
    # A trial that failed before its weights were known has another id than the later one that succeeded.
    connection.execute(
        "CREATE TABLE loser AS SELECT trial_id, run, file FROM trial_copies WHERE copy > 1 UNION "
        f"SELECT trial_id, run, file FROM trial WHERE outcome {FAILED} AND weights IS NULL AND problem IN "
        "(SELECT problem FROM trial WHERE weights IS NOT NULL)"
    )
    connection.execute("CREATE VIEW kept_trial AS FROM trial ANTI JOIN loser USING (trial_id, run, file)")
    # Likewise, a probe with weights supersedes one that failed before its weights were known.
    connection.execute(
        "CREATE VIEW kept_probe AS FROM probe p "
        "ANTI JOIN (FROM probe_copies WHERE copy > 1) c ON p.problem = c.problem AND p.run = c.run AND p.file = c.file "
        "AND p.weights IS NOT DISTINCT FROM c.weights "
        "ANTI JOIN (FROM probe WHERE weights IS NOT NULL) w ON p.problem = w.problem AND p.weights IS NULL"
    )


def _create(
    connection: duckdb.DuckDBPyConnection,
    table: str,
    sources: Sequence[Source],
    file_read: Callable[[int], None],
) -> None:
    """Create the table `trial` or `probe`: all rows of all runs, with the place that each comes from."""
    connection.register("incoming", stream(sources, f"{table}s", read=file_read))
    connection.execute(f"CREATE TABLE {table} AS SELECT * FROM incoming")
    connection.unregister("incoming")


def _copies(connection: duckdb.DuckDBPyConnection, table: str, key: Sequence[str], order: str) -> None:
    """Create `TABLE_copies`: the rows of every key that has several, numbered in the column `copy`; 1 is kept."""
    keys, same = ", ".join(key), " AND ".join(f"t.{k} IS NOT DISTINCT FROM s.{k}" for k in key)
    connection.execute(
        f"CREATE TABLE {table}_copies AS "
        f"SELECT t.*, row_number() OVER (PARTITION BY {keys} ORDER BY {order}, file, run) AS copy FROM {table} t "
        f"SEMI JOIN (SELECT {keys} FROM {table} GROUP BY {keys} HAVING count(*) > 1) s ON {same}"
    )


def trace_rows(connection: duckdb.DuckDBPyConnection, model: str | None = None) -> int:
    """The number of trace rows of all copies, or of one model's.

    Raises:
        InputError: the runs contain no trials at all.
    """
    trials, rows = connection.execute(
        "SELECT count(*), coalesce(sum(steps_taken + 1) FILTER ($1 IS NULL OR model = $1), 0)::BIGINT FROM trial",
        [model],
    ).fetchall()[0]
    if not trials:
        raise InputError("archive pack: the runs contain no finished trials yet")
    return int(rows)


def runs_of(connection: duckdb.DuckDBPyConnection, sweeps: Sequence[str]) -> list[dict[str, Any]]:
    """The sweep's file and the number of trials of each run, copies included; `sweeps`: the files by run."""
    counts = dict(connection.execute("SELECT run, count(*) FROM trial GROUP BY run").fetchall())
    return [{"sweep": sweep, "trials": counts.get(run, 0)} for run, sweep in enumerate(sweeps)]


def left_out(connection: duckdb.DuckDBPyConnection) -> dict[str, int]:
    """The number of copies that are left out, and how many of them are failures."""
    copies, failures = connection.execute(
        f"SELECT count(*), count(*) FILTER (outcome {FAILED}) FROM trial SEMI JOIN loser USING (trial_id, run, file)"
    ).fetchall()[0]
    return {"duplicates": copies, "superseded_failures": failures}
