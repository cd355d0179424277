"""Copies of a trial or a probe whose results contradict each other.

Equal ids mean equal trials: the id covers everything that defines a result. Two results may therefore differ by
rounding, up to the engines' stated tolerance (CONTRIBUTING, "Numbers"), and no further. If they differ more, nothing
says which of them is right, so packing stops.

| column | may differ by |
|---|---|
| what defines the trial | nothing |
| gaps, step by step, up to the first jump of either copy | 1e-3 or 1e-4 of their size (SGD); ten times that otherwise |
| gaps in bfloat16 | 0.5: its rounding of logits of size 20 to 60 |
| probe: gap, loss, overlaps | as gaps under SGD |
| probe: κ | 1 % |
| outcome | a trained outcome may be another trained one: the sign of a gap near 0 is not certain |

SGD's step is linear in the gradient, so rounding stays small. Optimizers that divide the gradient by its size, like
AdamW, turn gradients near ε into full steps. Their stated tolerance is the trial's own sensitivity to the last bit,
which no column stores; ten times SGD's is what the tests allow between batches. After a jump the engines state no
tolerance, so nothing is compared there.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import duckdb

from phantom_dist.archive.pack.sources import Source, stream
from phantom_dist.archive.sql import FAILED, TRAINED, any_of
from phantom_dist.core.quantities import PROBLEM_COLUMNS
from phantom_dist.core.tokens import Tokens

SHOWN = 8
"""A message lists at most this many conflicts."""

LINEAR_OPTIMIZERS = ("sgd",)
"""Optimizers whose step is linear in the gradient. Any other one, also one added later, gets the wider tolerance."""

_LABELS = {"problem", "model", "context", "seed", "target", "competitor"}
"""Columns outside the id: sweeps may name the same trial differently, and full fine-tuning ignores the seed."""

_BFLOAT16 = "a.precision LIKE 'bfloat16%'"


@dataclass(frozen=True, kw_only=True)
class Conflict:
    """Two values of one column, and the numbers of the runs that they are in.

    Attributes:
        table: `trial` or `probe`; `key`: the row's id.
        one, run: the value of the copy that is kept, and its run; `other`, `other_run`: those of the other copy.
    """

    table: str
    key: str
    column: str
    one: str
    run: int
    other: str
    other_run: int


def conflicts(connection: duckdb.DuckDBPyConnection, sources: Sequence[Source]) -> list[Conflict]:
    """Compare the copies in the tables `trial_copies` and `probe_copies` (`merge`); some of what differs, if any."""
    return [
        *_row_conflicts(connection, "trial", "trial_id", f"outcome {FAILED}", _TRIAL_CONFLICTS),
        *_row_conflicts(connection, "probe", "problem", f"refusal {FAILED}", _PROBE_CONFLICTS),
        *_trace_conflicts(connection, sources),
    ]


def message(found: Sequence[Conflict], sources: Sequence[Source]) -> str:
    """The error message: what differs, and in which directories."""
    lines = [
        f"  {c.table} {c.key}: {c.column} is {c.one} in {sources[c.run].location} and {c.other} in "
        f"{sources[c.other_run].location}"
        for c in found[:SHOWN]
    ]
    if len(found) > SHOWN:
        lines.append("  … and more")
    return (
        "archive pack: the same trial has results that differ by more than the engines' tolerance, and nothing says "
        "which is right. Nothing was written; leave one of the directories out.\n" + "\n".join(lines)
    )


def _gap_tolerance(value: str, factor: str = "1") -> str:
    return f"CASE WHEN {_BFLOAT16} THEN 0.5 ELSE {factor} * greatest(1e-3, 1e-4 * abs({value})) END"


def _differ(one: str, other: str, tolerance: str) -> str:
    """True if two numbers differ by more than the tolerance; two NaN, or two equal infinities, do not."""
    return f"({one} IS DISTINCT FROM {other} AND NOT coalesce(abs({one} - {other}) <= {tolerance}, false))"


def _unequal(names: Iterable[str]) -> dict[str, str]:
    return {name: f"a.{name} IS DISTINCT FROM b.{name}" for name in names}


_PROBED = {
    name: _differ(f"a.{name}", f"b.{name}", _gap_tolerance(f"a.{name}"))
    for name in ("gap_0", "loss_0", "overlap_0", "centred_overlap", "synonym_floor")
} | {"kappa": _differ("a.kappa", "b.kappa", f"CASE WHEN {_BFLOAT16} THEN 0.5 ELSE 1e-2 END * abs(a.kappa)")}

_TRIAL_CONFLICTS = (
    _unequal(q.name for q in PROBLEM_COLUMNS if q.name not in _LABELS)
    | _unequal(["learning_rate", "effective_steps"])
    | _PROBED
    | {
        "outcome": f"a.outcome <> b.outcome AND NOT (a.outcome {TRAINED} AND b.outcome {TRAINED})",
        "steps_taken": "a.steps_taken <> b.steps_taken AND a.jump_step IS NULL AND b.jump_step IS NULL",
        "trial_id": "a.run = b.run AND a.file = b.file",  # twice in one file, which no worker writes
    }
)
_PROBE_CONFLICTS = (
    _unequal(["prompt_tokens", "target_token", "competitor_token", *Tokens.LATER, "width", "effective_steps"])
    | _PROBED
)
"""SQL by column: true if the copies `a` and `b` of a row contradict each other there."""


def _row_conflicts(
    connection: duckdb.DuckDBPyConnection, table: str, key: str, failed: str, columns: Mapping[str, str]
) -> list[Conflict]:
    """Compare the kept copy with every other copy that is a result and not a failure."""
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
        Conflict(table=table, key=k, column=c, one=v, run=r, other=w, other_run=s)
        for k, c, v, r, w, s in rows
    ]


def _trace_conflicts(connection: duckdb.DuckDBPyConnection, sources: Sequence[Source]) -> list[Conflict]:
    """Compare gaps step by step; only the trace files of trials with several copies are read."""
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
    factor = f"CASE WHEN a.optimizer {any_of(LINEAR_OPTIMIZERS)} THEN 1 ELSE 10 END"
    rows = connection.execute(
        f"SELECT a.trial_id, x.step, x.logit_gap::VARCHAR, a.run, y.logit_gap::VARCHAR, b.run "
        f"FROM trial_copies a JOIN trial_copies b ON a.trial_id = b.trial_id AND a.copy = 1 AND b.copy > 1 "
        f"JOIN copied_trace x ON x.trial_id = a.trial_id AND x.run = a.run AND x.file = a.file "
        f"JOIN copied_trace y ON y.trial_id = b.trial_id AND y.run = b.run AND y.file = b.file AND y.step = x.step "
        f"WHERE x.step < least(coalesce(a.jump_step, 2147483647), coalesce(b.jump_step, 2147483647)) "
        f"AND {_differ('x.logit_gap', 'y.logit_gap', _gap_tolerance('x.logit_gap', factor))} LIMIT {SHOWN + 1}"
    ).fetchall()
    return [
        Conflict(table="trial", key=k, column=f"logit_gap at step {n}", one=v, run=r, other=w, other_run=s)
        for k, n, v, r, w, s in rows
    ]
