"""The page's text outside of its figures: all variables of the template's sentences and tables."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from importlib import metadata
from typing import Any

import altair as alt

from phantom_dist.reports import comparison, tables, verdict
from phantom_dist.reports.abstract import abstract
from phantom_dist.reports.rows import UNDER, Row, Rows
from phantom_dist.reports.run_tables import RunTables
from phantom_dist.reports.timeline_tables import summary_of

MOST_LINES = 3000
"""How many lines the table of critical rates has at most."""
MOST_COMPARED = 200
"""How many lines each table that compares runs has at most; the figures show all."""


def page_text(runs: Sequence[RunTables], rows: Rows) -> dict[str, Any]:
    """The template's variables, apart from its figures, data, style and scripts."""
    titles = {model: title for run in runs for model, title in run.titles.items()}
    prompts = {context: text for run in runs for context, text in run.prompts.items()}
    everything = [*rows.trials, *rows.others]
    jumps, readout = verdict.jumps(rows), verdict.frozen(rows)
    under = [row for row in rows.trials if row["place"] == UNDER]
    return {
        "title": ", ".join(run.name for run in runs),
        "rows": rows,
        "compared": _compared(runs, rows) if rows.several_runs else None,
        "most_lines": MOST_LINES,
        "models": [
            (model, titles.get(model, "")) for model in _distinct([*rows.problems, *everything], "model")
        ],
        "pairs": _distinct([*rows.problems, *everything], "pair"),
        "ways": _distinct([*rows.problems, *everything], "way"),
        "outcomes": tables.outcome_counts(rows),
        "critical_rates": tables.critical_rates(rows, prompts),
        "prompts": prompts,
        "under": under,
        "under_silent": sum(bool(row.get("silent")) for row in under),
        "jumps": jumps,
        "frozen": readout,
        "verdict": verdict.verdict(jumps, readout),
        "abstract": abstract(rows),
        "geometry": tables.geometry(rows),
        "first_order": tables.first_order(rows),
        "law": tables.law(rows),
        "lora": list(dict.fromkeys(run.lora for run in runs if run.lora is not None)),
        "timelines": [summary_of(run.name, run.timeline) for run in runs if run.timeline is not None],
        "number": tables.number,
        "conditions": _conditions(runs, everything),
    }


def _compared(runs: Sequence[RunTables], rows: Rows) -> dict[str, Any]:
    """Variables of the section that compares several runs."""
    pairs = comparison.compared(rows)
    changes = sorted(pairs, key=lambda row: -abs(row.get("log_change") or 0))
    return {
        "runs": [run.name for run in runs],
        "differences": comparison.differences(rows),
        "pairs": pairs,
        "lines": [tables.compared_line(row) for row in changes[:MOST_COMPARED]],
        "agreements": comparison.agreements(pairs),
        "outcomes": comparison.outcomes_by_run(rows),
        "changed": comparison.changed_outcomes(rows),
        "twins": comparison.twins(rows),
    }


def _distinct(rows: Sequence[Mapping[str, Any]], name: str) -> list[str]:
    return list(dict.fromkeys(str(row[name]) for row in rows if row.get(name) is not None))


def _conditions(runs: Sequence[RunTables], trials: Sequence[Row]) -> dict[str, str]:
    """Settings, thresholds and execution metadata of the trials: by name, the distinct values that occur."""
    with_epsilon = [trial for trial in trials if trial.get("epsilon") is not None]
    conditions = {
        "precision": _distinct(trials, "precision"),
        "optimizer steps T": _distinct(trials, "steps"),
        "schedule": _distinct(trials, "schedule"),
        f"{' and '.join(_distinct(with_epsilon, 'optimizer'))}'s epsilon": _distinct(trials, "epsilon"),
        "warm-up steps": _distinct([t for t in trials if t.get("warmup_steps")], "warmup_steps"),
        "weight decay": _distinct(trials, "weight_decay"),
        "what decays": _distinct(trials, "decay"),
        "largest gradient norm": _distinct(trials, "gradient_clipping"),
        "rank-stabilised adapters": _distinct(trials, "lora_rslora"),
        "engine": _distinct(trials, "engine"),
        "device": _distinct(trials, "device"),
        "threads per process": _distinct(trials, "threads"),
        "tolerance of a bracket": list(
            dict.fromkeys(tables.percent(run.tolerance) for run in runs if run.tolerance is not None)
        ),
        "structural failure: the drag falls by more than": _distinct(trials, "structural_drag"),
        "jump: smallest change of the order parameter in one step": _distinct(trials, "jump_threshold"),
        "versions": _distinct(trials, "versions"),
        "finished": _span(trials),
        "report": [f"phantom_dist {_version()}, Vega-Lite {alt.SCHEMA_VERSION.lstrip('v')}"],
    }
    return {name: "; ".join(values) for name, values in conditions.items() if values}


def _span(trials: Sequence[Row]) -> list[str]:
    moments = sorted(row["finished_at"] for row in trials if row.get("finished_at") is not None)
    if not moments:
        return []
    first, last = (moment.strftime("%Y-%m-%d %H:%M") for moment in (moments[0], moments[-1]))
    return [f"{first} UTC" if first == last else f"{first} to {last} UTC"]


def _version() -> str:
    try:
        return metadata.version("phantom-dist")
    except metadata.PackageNotFoundError:
        return "(not installed)"
