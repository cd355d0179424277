"""What must hold in every row, in every trial, and between the tables: one SQL condition each, with its description.

Tolerances. Everything in a trace is computed in float64 from float32 logits. Φ is a sum of V terms p_i M_i with
Σ p_i = 1 and |M_i| <= 1, so its rounding error is below V ε = 3e-11 for V = 150,000; σ and δ add no more. `EXACT`
(1e-9) leaves a factor of 30. The gap is a difference of two float32 logits, rounded once: 6e-8 of its size; `FLOAT32`
(1e-6). Gap and loss of the untouched model are measured twice, by a probe and by a lane. They agree within 1e-2 of
their size, more than the engines' tolerance; not in bfloat16, where a logit of 20 is rounded by 0.06.

Training may become NaN or Inf. The row in which it does is the trial's last one; quantities that can't be computed
there are NaN.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass
from typing import get_args

from phantom_dist.archive.layout import PRIVATE
from phantom_dist.archive.sql import TRAINED
from phantom_dist.core.outcome import Outcome
from phantom_dist.core.quantities import PROBE_COLUMNS, TRACE_COLUMNS, TRIAL_COLUMNS, Quantity
from phantom_dist.core.schedule import SCHEDULE_NAMES
from phantom_dist.core.tokens import PairKind
from phantom_dist.core.trial import OPTIMIZER_NAMES, OPTIMIZER_SETTINGS, PRECISIONS

EXACT, FLOAT32 = "1e-9", "1e-6"


@dataclass(frozen=True, kw_only=True)
class Invariant:
    """`sql`: a condition over the columns of one row; false and null are violations. `rule`: the same in words."""

    rule: str
    sql: str


def _ranges(columns: Iterable[Quantity]) -> list[Invariant]:
    """Every column within its range in `core.quantities`; null and NaN are left to other invariants."""
    ranges = []
    for q in columns:
        bounds = [f"{q.name} >= {q.low:g} - {EXACT}"] * math.isfinite(q.low)
        bounds += [f"{q.name} <= {q.high:g} + {EXACT}"] * math.isfinite(q.high)
        if bounds:
            # DuckDB sorts NaN above every number
            inside = f"{q.name} IS NULL OR isnan({q.name}::DOUBLE) OR ({' AND '.join(bounds)})"
            rule = f"{q.name} is in [{q.low:g}, {q.high:g}]"
            ranges.append(Invariant(rule=rule, sql=inside))
    return ranges


def _not_null(names: Iterable[str]) -> list[Invariant]:
    return [Invariant(rule=f"{name} is not null", sql=f"{name} IS NOT NULL") for name in names]


def _one_of(column: str, allowed: Iterable[str]) -> Invariant:
    words = ", ".join(f"'{word}'" for word in allowed)
    return Invariant(rule=f"{column} is one of {words}", sql=f"{column} IN ({words})")


_FINITE = "isfinite(loss) AND isfinite(logit_gap) AND isfinite(order_parameter)"
_FIRST = "trial_before IS DISTINCT FROM trial_id"
_ADDS_UP = f"abs(order_parameter - phi_before - readout_change - geometry_change) <= {EXACT}"

TRACES: tuple[Invariant, ...] = (
    *_not_null(
        (
            "trial_id", "step", "loss", "logit_gap", "p_target", "p_competitor", "overlap", "order_parameter", "signal",
            "drag", "embedding_drift",
        )
    ),
    *_ranges(TRACE_COLUMNS),
    Invariant(
        rule="trial_id is 32 hex digits", sql="regexp_full_match(trial_id, '[0-9a-f]{32}')"
    ),
    Invariant(
        rule="rows are sorted by trial_id and step, and a trial's steps rise from 0",
        sql=f"CASE WHEN {_FIRST} THEN step = 0 AND (trial_before IS NULL OR trial_before < trial_id) "
        "ELSE step > step_before END",
    ),
    Invariant(
        rule="a step with a non-finite value is the trial's last",
        sql=f"{_FIRST} OR finite_before",
    ),
    Invariant(
        rule="Φ = σ + δ",
        sql=f"NOT finite OR abs(order_parameter - signal - drag) <= {EXACT}",
    ),
    Invariant(
        rule="σ = (p_t - p_c)(1 - S_tc²)",
        sql=f"NOT finite OR abs(signal - (p_target - p_competitor) * (1 - overlap * overlap)) <= {EXACT}",
    ),
    Invariant(rule="p_t + p_c <= 1", sql=f"NOT finite OR p_target + p_competitor <= 1 + {EXACT}"),
    Invariant(
        rule="loss = -ln p_t, of words of several tokens at least that",
        sql=f"NOT finite OR p_target < 1e-290 OR abs(loss + ln(p_target)) <= {EXACT} * (1 + loss) OR "
        "(several AND loss > -ln(p_target))",
    ),
    Invariant(
        rule="logit_gap = ln p_t - ln p_c, but for words of several tokens",
        sql="NOT finite OR several OR p_target < 1e-290 OR p_competitor < 1e-290 OR "
        f"abs(logit_gap - ln(p_target) + ln(p_competitor)) <= {FLOAT32} * (1 + abs(logit_gap))",
    ),
    Invariant(
        rule="the target has the better rank if and only if the gap is positive (of words of several tokens: if p_t "
        "is larger); no ranks where logits are not finite",
        sql="CASE WHEN finite THEN coalesce(sign(rank_competitor - rank_target) = "
        "CASE WHEN several THEN sign(p_target - p_competitor) ELSE sign(logit_gap) END, "
        "rank_target IS NULL AND rank_competitor IS NULL) "
        "ELSE (rank_target IS NULL) = (rank_competitor IS NULL) END",
    ),
    Invariant(
        rule="readout_change and geometry_change add up to the change of Φ; both are null in row 0",
        sql=f"CASE WHEN {_FIRST} THEN readout_change IS NULL AND geometry_change IS NULL "
        f"ELSE readout_change IS NOT NULL AND geometry_change IS NOT NULL AND (NOT finite OR {_ADDS_UP}) END",
    ),
    Invariant(
        rule="embedding_drift starts at 0", sql="step <> 0 OR embedding_drift = 0"
    ),
    Invariant(
        rule="a frozen readout keeps its hash and its overlap, has no drift and no geometry_change",
        sql=f"CASE WHEN readout_hash IS NULL THEN {_FIRST} OR hash_before IS NULL "
        f"ELSE embedding_drift = 0 AND (NOT finite OR geometry_change IS NULL OR geometry_change = 0) AND "
        f"({_FIRST} OR (hash_before = readout_hash AND (NOT finite OR overlap = overlap_before))) END",
    ),
)  # fmt: skip
"""Of each row of `TRACE_ROWS`."""

TRACE_ROWS = (
    f"SELECT *, {_FINITE} AS finite, trial_id IN (SELECT trial_id FROM trials WHERE pair_kind = 'several') AS several, "
    + ", ".join(
        f"lag({value}) OVER () AS {name}"
        for name, value in {
            "trial_before": "trial_id",
            "step_before": "step",
            "phi_before": "order_parameter",
            "finite_before": _FINITE,
            "hash_before": "readout_hash",
            "overlap_before": "overlap",
        }.items()
    )
    + " FROM {source}"
)
"""The rows of one model's traces, in the order of its files, with `finite` and values of the previous row."""

_LORA = ("lora_rank", "lora_alpha", "lora_targets")
_ENDED = (
    "commit_step", "jump_step", "jump_size", "jump_readout_share", "steps_taken", "gap_final", "loss_final",
    "drag_final", "silent",
)  # fmt: skip
_PI = "learning_rate * effective_steps * kappa / abs(gap_0)"


def _set_exactly(columns: Iterable[str], when: str) -> str:
    return " AND ".join(f"({column} IS NOT NULL) = ({when})" for column in columns)


def _set_exactly_where_used(column: str) -> Invariant:
    """A setting that only some optimizers have is null under the others."""
    names = [name for name, settings in OPTIMIZER_SETTINGS.items() if column in settings]
    return Invariant(
        rule=f"{column} is set if and only if the optimizer is {' or '.join(names)}",
        sql=_set_exactly([column], f"optimizer IN ({', '.join(map(repr, names))})"),
    )


_PROBLEM = (
    *_not_null(("problem", "model", "context", "target", "competitor", "steps", "seed", "effective_steps")),
    _one_of("method", ("full", "lora")),
    _one_of("optimizer", OPTIMIZER_NAMES),
    Invariant(
        rule=f"schedule is {' or '.join(SCHEDULE_NAMES)}, alone or with settings in parentheses",
        sql=f"regexp_full_match(schedule, '({'|'.join(SCHEDULE_NAMES)})([(].+[)])?')",
    ),
    _one_of("precision", PRECISIONS),
    Invariant(
        rule="lora_rank and lora_alpha are set if and only if the method is lora",
        sql=_set_exactly(_LORA[:2], "method = 'lora'"),
    ),
    *map(_set_exactly_where_used, ("beta1", "beta2", "epsilon")),
)

TRIALS: tuple[Invariant, ...] = (
    *_not_null(("trial_id", "structural_drag", "jump_threshold", "jump_share_of_range", "synonym_floor_rms")),
    *_PROBLEM,
    *_ranges(TRIAL_COLUMNS),
    *(Invariant(rule=f"{name} is null in an archive", sql=f"{name} IS NULL") for name in PRIVATE),
    Invariant(rule="trial_id is 32 hex digits", sql="regexp_full_match(trial_id, '[0-9a-f]{32}')"),
    _one_of("outcome", [outcome.value for outcome in Outcome]),
    Invariant(
        rule="pair_kind is single, several or null",
        sql=f"pair_kind IS NULL OR pair_kind IN ({', '.join(map(repr, get_args(PairKind)))})",
    ),
    Invariant(
        rule="a trained trial has a learning rate, weights, an architecture, gap_0 and kappa, and no error",
        sql=f"outcome NOT {TRAINED} OR (isfinite(learning_rate) AND learning_rate > 0 AND error IS NULL AND "
        "weights IS NOT NULL AND architecture IS NOT NULL AND gap_0 IS NOT NULL AND kappa IS NOT NULL)",
    ),
    Invariant(
        rule="an untrained trial has no results of training",
        sql=f"outcome {TRAINED} OR ({' AND '.join(f'{name} IS NULL' for name in _ENDED)})",
    ),
    Invariant(
        rule="stopped_early is set if and only if steps are missing",
        sql=f"outcome NOT {TRAINED} OR (steps_taken <= steps AND "
        "(stopped_early IS NOT NULL) = (steps_taken < steps))",
    ),
    Invariant(
        rule="jump_step, jump_size and jump_readout_share are all set or all null",
        sql="(jump_step IS NULL) = (jump_size IS NULL) AND (jump_step IS NULL) = (jump_readout_share IS NULL)",
    ),
    Invariant(
        rule="Π = η T κ / |g_0|",
        sql=f"CASE WHEN learning_rate IS NULL OR kappa IS NULL OR gap_0 IS NULL THEN pi IS NULL "
        f"ELSE coalesce(isnan(pi) OR abs(pi - {_PI}) <= {EXACT} * abs(pi), false) END",
    ),
)
"""Of each row of `trials`."""

PROBES: tuple[Invariant, ...] = (
    *_PROBLEM,
    *_ranges(PROBE_COLUMNS),
    Invariant(
        rule="refusal is null, or the outcome of an untrained trial",
        sql=f"refusal IS NULL OR (refusal NOT {TRAINED} AND refusal IN "
        f"({', '.join(repr(outcome.value) for outcome in Outcome)}))",
    ),
    Invariant(
        rule="a probe that was not refused has tokens, weights, gap_0 and kappa",
        sql="refusal IS NOT NULL OR (prompt_tokens IS NOT NULL AND target_token IS NOT NULL AND "
        "competitor_token IS NOT NULL AND weights IS NOT NULL AND gap_0 IS NOT NULL AND kappa IS NOT NULL)",
    ),
    Invariant(
        rule="overlap_0, gap_0 and kappa are finite or null",
        sql="coalesce(isfinite(gap_0), true) AND coalesce(isfinite(overlap_0), true) AND "
        "(refusal IS NOT NULL OR isfinite(kappa))",
    ),
)
"""Of each row of `probes`."""

SUMMARY = """
SELECT trial_id, any_value(model) AS in_model, max(step) AS last_step, count(*) AS measured,
    min(step) FILTER (logit_gap > 0 AND NOT isnan(logit_gap)) AS first_commit,
    bool_and(isfinite(loss) AND isfinite(logit_gap) AND isfinite(drag)) AS all_finite,
    bool_and(finite) AS ended_finite,
    bool_and(step = 0 OR loss < loss_before) AS fell,
    count(*) FILTER (gradient_norm IS NULL) = 1 AND max(step) FILTER (gradient_norm IS NULL) = max(step) AS norms,
    arg_min(loss, step) AS loss_first, arg_min(logit_gap, step) AS gap_first, arg_min(drag, step) AS drag_first,
    arg_min(overlap, step) AS overlap_first,
    arg_max(loss, step) AS loss_last, arg_max(logit_gap, step) AS gap_last, arg_max(drag, step) AS drag_last,
    max(order_parameter) FILTER (isfinite(order_parameter)) - min(order_parameter) FILTER (isfinite(order_parameter))
        AS phi_range,
    max(abs(change)) FILTER (isfinite(change)) AS largest,
    arg_max(step, abs(change)) FILTER (isfinite(change)) AS largest_step,
    arg_max(readout_change / change, abs(change)) FILTER (isfinite(change)) AS largest_share
FROM (
    SELECT *, CASE WHEN step > 0 THEN order_parameter - lag(order_parameter) OVER () END AS change,
        lag(loss) OVER () AS loss_before, {finite} AS finite
    FROM traces WHERE model = {model}
) GROUP BY trial_id
""".replace("{finite}", _FINITE)
"""One row per trial of a `model`, computed from its traces."""

_JUMPED = "largest >= greatest(jump_threshold, jump_share_of_range * phi_range) AND largest > 0"


_EVERY = "coalesce(regexp_extract(training_set, 'measure_every=([0-9]+)', 1)::INT, 1)"
"""Steps between two measurements."""


def _near(one: str, other: str, tolerance: str) -> str:
    return f"(precision LIKE 'bfloat16%' OR coalesce(abs({one} - {other}) <= {tolerance} * (1 + abs({one})), false))"


JOINED: tuple[Invariant, ...] = (
    Invariant(rule="it has traces", sql="last_step IS NOT NULL"),
    Invariant(rule="its traces are filed under its model", sql="in_model = model"),
    Invariant(
        rule="it has steps_taken + 1 trace rows, fewer where contexts are not measured at every step",
        sql=f"steps_taken = last_step AND measured = 1 + ceil(last_step / {_EVERY})",
    ),
    Invariant(rule="gradient_norm is null in its last trace row and only there", sql="norms"),
    Invariant(
        rule="gap_final, loss_final and drag_final equal its last trace row's values",
        sql="gap_final IS NOT DISTINCT FROM gap_last AND loss_final IS NOT DISTINCT FROM loss_last "
        "AND drag_final IS NOT DISTINCT FROM drag_last",
    ),
    Invariant(
        rule="gap_0, loss_0 and overlap_0 equal its trace row 0 to 1 %",
        sql=f"NOT isfinite(gap_first) OR ({_near('gap_0', 'gap_first', '1e-2')} AND "
        f"{_near('loss_0', 'loss_first', '1e-2')} AND {_near('overlap_0', 'overlap_first', '1e-2')})",
    ),
    Invariant(
        rule="commit_step is its first step with a positive gap",
        sql="commit_step IS NOT DISTINCT FROM first_commit",
    ),
    Invariant(
        rule="its outcome follows from its traces",
        sql="CASE outcome WHEN 'diverged' THEN NOT all_finite "
        "OR CASE WHEN training_set IS NULL THEN loss_last > loss_first "
        "ELSE NOT isfinite(training_loss_last) OR training_loss_last > training_loss_first END "
        "WHEN 'committed' THEN all_finite AND gap_last > 0 "
        "WHEN 'relapsed' THEN all_finite AND gap_last <= 0 AND first_commit IS NOT NULL "
        "WHEN 'structural' THEN all_finite AND first_commit IS NULL AND drag_last < drag_first - structural_drag "
        "WHEN 'kinematic' THEN all_finite AND first_commit IS NULL AND drag_last >= drag_first - structural_drag END",
    ),
    Invariant(
        rule="silent is true if and only if it did not commit although the loss fell at every step; with a training "
        "set, although the training loss and its own loss fell",
        sql="silent = (outcome <> 'committed' AND last_step > 0 AND CASE WHEN training_set IS NULL THEN fell "
        "ELSE loss_last < loss_first AND training_loss_last < training_loss_first END)",
    ),
    Invariant(
        rule="training_id and the ends of the training loss are set if and only if it has a training set",
        sql=_set_exactly(
            ("training_id", "training_loss_first", "training_loss_last"), "training_set IS NOT NULL"
        ),
    ),
    Invariant(
        rule="if it was stopped early as non-finite, its last trace row is not finite; if as decided, it is, and the "
        "sweep has early_stopping",
        sql="CASE stopped_early WHEN 'non_finite' THEN NOT ended_finite "
        "WHEN 'decided' THEN ended_finite AND coalesce(early_stopping, false) ELSE stopped_early IS NULL END",
    ),
    Invariant(
        rule="its jump is the largest change of Φ if that exceeds the thresholds, else null; null where contexts are "
        "not measured at every step",
        sql=f"CASE WHEN coalesce({_JUMPED} AND {_EVERY} = 1, false) THEN "
        "coalesce(jump_step = largest_step AND jump_size = largest "
        f"AND abs(jump_readout_share - largest_share) <= {EXACT} * (1 + abs(largest_share)), false) "
        "ELSE jump_step IS NULL END",
    ),
)  # fmt: skip
"""Of each trained trial, joined with its `SUMMARY`."""
