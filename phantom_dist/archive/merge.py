"""Trials that several runs, or several batches of one, have: which copy stays, and which copies contradict each other.

Equal ids mean equal trials: the id covers everything that defines a result. So two results may differ by rounding, up
to the engines' stated tolerance (CONTRIBUTING, "Numbers"), and no further. Nothing decides between two that do.

| column | may differ by |
|---|---|
| what defines the trial | nothing |
| gaps, step by step, up to the first jump of either | 1e-3 or 1e-4 of their size (SGD); ten times that under AdamW |
| gaps in bfloat16 | 0.5: its rounding of logits of size 20 to 60 |
| probe: gap, loss, overlaps | as gaps |
| probe: κ | 1 % |
| outcome | a trained outcome may be another trained one: a gap next to 0 has no sure sign |

Under AdamW the stated tolerance is a trial's own sensitivity to its last bit, which no row holds; ten times is what the
tests allow between batches. After a jump neither states a number, so nothing is compared there.
Results of failure (`error`, `out_of_memory`) say nothing of the trial: any other result supersedes them.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import duckdb

from phantom_dist.archive.database import literal
from phantom_dist.archive.layout import Observer
from phantom_dist.archive.sources import Source, stream
from phantom_dist.core.errors import InputError
from phantom_dist.core.outcome import Outcome
from phantom_dist.core.quantities import PROBLEM_COLUMNS

SHOWN = 8
"""So many conflicts are named."""


def _in(outcomes: Iterable[Outcome]) -> str:
    return f"IN ({', '.join(literal(outcome.value) for outcome in outcomes)})"


FAILED = _in([Outcome.ERROR, Outcome.OUT_OF_MEMORY])
TRAINED = _in([outcome for outcome in Outcome if outcome.trained])

_NAMES = {"problem", "model", "context", "seed", "target", "competitor"}
"""Labels: the same trial may go by other names in another sweep; under full fine-tuning the seed draws nothing."""

_BFLOAT16 = "a.precision = 'bfloat16'"


def _gap_tolerance(value: str, factor: str = "1") -> str:
    return f"CASE WHEN {_BFLOAT16} THEN 0.5 ELSE {factor} * greatest(1e-3, 1e-4 * abs({value})) END"


def _further(one: str, other: str, tolerance: str) -> str:
    """True where two numbers are further apart than that; two NaN, or two equal infinities, are not."""
    return f"({one} IS DISTINCT FROM {other} AND NOT coalesce(abs({one} - {other}) <= {tolerance}, false))"


_PROBED = {
    f"{name}": _further(f"a.{name}", f"b.{name}", _gap_tolerance(f"a.{name}"))
    for name in ("gap_0", "loss_0", "overlap_0", "centred_overlap", "synonym_floor")
} | {"kappa": _further("a.kappa", "b.kappa", f"CASE WHEN {_BFLOAT16} THEN 0.5 ELSE 1e-2 END * abs(a.kappa)")}


def _unequal(names: Iterable[str]) -> dict[str, str]:
    return {name: f"a.{name} IS DISTINCT FROM b.{name}" for name in names}


_TRIAL_CONFLICTS = (
    _unequal(q.name for q in PROBLEM_COLUMNS if q.name not in _NAMES)
    | _unequal(["learning_rate", "effective_steps"])
    | _PROBED
    | {
        "outcome": f"a.outcome <> b.outcome AND NOT (a.outcome {TRAINED} AND b.outcome {TRAINED})",
        "steps_taken": "a.steps_taken <> b.steps_taken AND a.jump_step IS NULL AND b.jump_step IS NULL",
        "trial_id": "a.run = b.run AND a.file = b.file",  # twice in one file: no batch of ours
    }
)
_PROBE_CONFLICTS = (
    _unequal(["prompt_tokens", "target_token", "competitor_token", "width", "effective_steps"]) | _PROBED
)
"""By column: when copies `a` and `b` of a row contradict each other there."""


def load(connection: duckdb.DuckDBPyConnection, sources: Sequence[Source], observer: Observer) -> None:
    """Make the views `kept_trial` and `kept_probe`, and the table `loser`: the places of trials' copies that go.

    Raises:
        InputError: two results contradict each other; the message names trial, directories, column and values.
        StoreError: a run's file is damaged or foreign.
    """
    files = sum(len(source.directory.files("trials")) for source in sources)
    counted = itertools.count(1)
    for table in ("trial", "probe"):
        watch: Callable[[int], None] = (
            (lambda rows: observer("files of trials read", next(counted), files))
            if table == "trial"
            else lambda rows: None
        )
        incoming = stream(sources, f"{table}s", read=watch)
        connection.register("incoming", incoming)
        connection.execute(f"CREATE TABLE {table} AS SELECT * FROM incoming")
        connection.unregister("incoming")
    # The order of the runs counts last, so that naming them in another order gives the same archive.
    _copies(
        connection,
        "trial",
        ["trial_id"],
        f"outcome {FAILED}, engine IS DISTINCT FROM 'single', finished_at, attempt",
    )
    _copies(
        connection, "probe", ["problem", "weights"], f"coalesce(refusal {FAILED}, false), path_rates IS NULL"
    )
    found = [
        *_conflicts(connection, "trial", "trial_id", f"outcome {FAILED}", _TRIAL_CONFLICTS),
        *_conflicts(connection, "probe", "problem", f"refusal {FAILED}", _PROBE_CONFLICTS),
        *_trace_conflicts(connection, sources),
    ]
    if found:
        raise InputError(_message(found, sources))
    # A trial that failed before its weights were known has another id than the one that went well later.
    connection.execute(
        "CREATE TABLE loser AS SELECT trial_id, run, file FROM trial_copies WHERE copy > 1 UNION "
        f"SELECT trial_id, run, file FROM trial WHERE outcome {FAILED} AND weights IS NULL AND problem IN "
        "(SELECT problem FROM trial WHERE weights IS NOT NULL)"
    )
    connection.execute("CREATE VIEW kept_trial AS FROM trial ANTI JOIN loser USING (trial_id, run, file)")
    # What failed before its weights were known is superseded by the same problem with weights.
    connection.execute(
        "CREATE VIEW kept_probe AS FROM probe p "
        "ANTI JOIN (FROM probe_copies WHERE copy > 1) c ON p.problem = c.problem AND p.run = c.run AND p.file = c.file "
        "AND p.weights IS NOT DISTINCT FROM c.weights "
        "ANTI JOIN (FROM probe WHERE weights IS NOT NULL) w ON p.problem = w.problem AND p.weights IS NULL"
    )


def _copies(connection: duckdb.DuckDBPyConnection, table: str, key: Sequence[str], order: str) -> None:
    """Make `TABLE_copies`: the rows of every key that has several, numbered by `copy`; number 1 stays."""
    keys, same = ", ".join(key), " AND ".join(f"t.{k} IS NOT DISTINCT FROM s.{k}" for k in key)
    connection.execute(
        f"CREATE TABLE {table}_copies AS "
        f"SELECT t.*, row_number() OVER (PARTITION BY {keys} ORDER BY {order}, file, run) AS copy FROM {table} t "
        f"SEMI JOIN (SELECT {keys} FROM {table} GROUP BY {keys} HAVING count(*) > 1) s ON {same}"
    )


def trace_rows(connection: duckdb.DuckDBPyConnection, model: str | None = None) -> int:
    """How many trace rows all copies have, or those of one model.

    Raises:
        InputError: there are no trials at all.
    """
    trials, rows = connection.execute(
        "SELECT count(*), coalesce(sum(steps_taken + 1) FILTER ($1 IS NULL OR model = $1), 0)::BIGINT FROM trial",
        [model],
    ).fetchall()[0]
    if not trials:
        raise InputError("archive pack: the runs hold no finished trials yet")
    return int(rows)


def runs_of(connection: duckdb.DuckDBPyConnection, sweeps: Sequence[str]) -> list[dict[str, Any]]:
    """The sweep's file and the number of trials of each run, copies included; `sweeps`: the files by run."""
    counts = dict(connection.execute("SELECT run, count(*) FROM trial GROUP BY run").fetchall())
    return [{"sweep": sweep, "trials": counts.get(run, 0)} for run, sweep in enumerate(sweeps)]


def left_out(connection: duckdb.DuckDBPyConnection) -> dict[str, int]:
    """How many copies were left out, and how many of these were failures."""
    copies, failures = connection.execute(
        f"SELECT count(*), count(*) FILTER (outcome {FAILED}) FROM trial SEMI JOIN loser USING (trial_id, run, file)"
    ).fetchall()[0]
    return {"duplicates": copies, "superseded_failures": failures}


@dataclass(frozen=True, kw_only=True)
class Conflict:
    """Two values of one column, and the numbers of the runs that they stand in."""

    what: str
    key: str
    column: str
    one: str
    run: int
    other: str
    other_run: int


def _conflicts(
    connection: duckdb.DuckDBPyConnection, table: str, key: str, failed: str, columns: Mapping[str, str]
) -> list[Conflict]:
    """Compare the copy that stays with each other one that is a result as well."""
    differences = ", ".join(
        f"CASE WHEN {unlike} THEN {{'name': '{name}', 'one': a.{name}::VARCHAR, 'other': b.{name}::VARCHAR}} END"
        for name, unlike in columns.items()
    )
    same_weights = "AND a.weights IS NOT DISTINCT FROM b.weights" if table == "probe" else ""
    rows = connection.execute(
        f"SELECT key, d.name, coalesce(d.one, 'null'), run, coalesce(d.other, 'null'), other_run FROM ("
        f"SELECT a.{key} AS key, a.run AS run, b.run AS other_run, unnest([{differences}]) AS d "
        f"FROM {table}_copies a JOIN {table}_copies b ON a.{key} = b.{key} {same_weights} "
        f"WHERE a.copy = 1 AND b.copy > 1 AND NOT coalesce(b.{failed}, false)) WHERE d IS NOT NULL LIMIT {SHOWN + 1}"
    ).fetchall()
    return [
        Conflict(what=table, key=k, column=c, one=v, run=r, other=w, other_run=s) for k, c, v, r, w, s in rows
    ]


def _trace_conflicts(connection: duckdb.DuckDBPyConnection, sources: Sequence[Source]) -> list[Conflict]:
    """Compare gaps step by step; only files that hold copies are read."""
    places = connection.execute(
        f"SELECT DISTINCT run, file FROM trial_copies WHERE outcome {TRAINED}"
    ).fetchall()
    if not places:
        return []
    connection.register("incoming", stream(sources, "traces", only=set(places)))
    connection.execute(
        "CREATE TABLE copied_trace AS SELECT trial_id, step, logit_gap, run, file FROM incoming "
        "SEMI JOIN trial_copies USING (trial_id, run, file)"
    )
    connection.unregister("incoming")
    tolerance = _gap_tolerance("x.logit_gap", "CASE WHEN a.optimizer = 'adamw' THEN 10 ELSE 1 END")
    rows = connection.execute(
        f"SELECT a.trial_id, x.step, x.logit_gap::VARCHAR, a.run, y.logit_gap::VARCHAR, b.run "
        f"FROM trial_copies a JOIN trial_copies b ON a.trial_id = b.trial_id AND a.copy = 1 AND b.copy > 1 "
        f"JOIN copied_trace x ON x.trial_id = a.trial_id AND x.run = a.run AND x.file = a.file "
        f"JOIN copied_trace y ON y.trial_id = b.trial_id AND y.run = b.run AND y.file = b.file AND y.step = x.step "
        f"WHERE x.step < least(coalesce(a.jump_step, 2147483647), coalesce(b.jump_step, 2147483647)) "
        f"AND {_further('x.logit_gap', 'y.logit_gap', tolerance)} LIMIT {SHOWN + 1}"
    ).fetchall()
    return [
        Conflict(what="trial", key=k, column=f"logit_gap at step {n}", one=v, run=r, other=w, other_run=s)
        for k, n, v, r, w, s in rows
    ]


def _message(found: Sequence[Conflict], sources: Sequence[Source]) -> str:
    lines = [
        f"  {c.what} {c.key}: {c.column} is {c.one} in {sources[c.run].location} and {c.other} in "
        f"{sources[c.other_run].location}"
        for c in found[:SHOWN]
    ]
    if len(found) > SHOWN:
        lines.append("  … and more")
    return (
        "archive pack: the same trial has results that differ by more than the engines' tolerance, and nothing says "
        "which is right. Nothing was written; leave one of the directories out.\n" + "\n".join(lines)
    )
