"""Assembles the page: figures, tables and words into one HTML file that loads nothing from anywhere.

Text that a user wrote (names, prompts, words) is untrusted: Jinja2 escapes it, JSON inside a script element
has no `<`, expressions are interpreted instead of compiled, and a content security policy lets the browser
run the page's own scripts (by their hashes) and fetch nothing.
"""

from __future__ import annotations

import base64
import functools
import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib import metadata, resources
from pathlib import Path
from typing import Any

import altair as alt
import jinja2
import vl_convert

from phantom_dist.core.quantities import BY_NAME
from phantom_dist.core.whole_file import write_whole
from phantom_dist.reports import comparison, figures, tables, verdict
from phantom_dist.reports.alternatives import alternative
from phantom_dist.reports.figures.chart import MANY_LINES, Figure, source
from phantom_dist.reports.held import held
from phantom_dist.reports.rows import AROUND, OVER, UNDER, Row, Rows
from phantom_dist.reports.run_tables import RunTables
from phantom_dist.reports.sample import MOST_STEPS
from phantom_dist.reports.theme import styles
from phantom_dist.reports.timeline_tables import summary_of


@dataclass(frozen=True)
class Placed:
    """A figure on the page: how it is drawn, and how where more than `limit` different `by` would be drawn."""

    draw: Figure
    many: Figure | None = None
    dataset: str = ""
    by: str = ""
    limit: int = 0


MANY_FAILURES = 150
"""From this many failures on their lines give way to bands."""
MANY_PROBLEMS = 400
"""From this many problems on clouds of marks give way to boxes and quartiles."""
MOST_LINES = 3000
"""Lines of the table of critical rates that a page holds."""
SCRIPTS = ("store", "words", "figures", "player", "picks", "start")
"""The page's own script, part by part."""

FIGURES = {
    "rates-compared": Placed(
        figures.rates_compared, figures.rates_compared_many, "compared", "line", MANY_LINES
    ),
    "side-by-side": Placed(figures.side_by_side, figures.side_by_side_many, "trials", "pair", MANY_LINES),
    "silent-failure": Placed(figures.silent_failure),
    "player": Placed(figures.player),
    "every-failure": Placed(
        figures.every_failure, figures.every_failure_many, "failures", "trial_id", MANY_FAILURES
    ),
    "phase-map": Placed(figures.phase_map, figures.phase_shares, "trials", "line", MANY_LINES),
    "jumps": Placed(figures.jumps),
    "shares-in-sum": Placed(figures.shares_in_sum, figures.shares_in_sum_many, "trials", "line", MANY_LINES),
    "shares-by-step": Placed(figures.shares_by_step),
    "first-order": Placed(figures.first_order, figures.first_order_many, "problems", "line", MANY_LINES),
    "collapse": Placed(figures.collapse, figures.collapse_many, "trials", "number", MANY_PROBLEMS),
    "predicted": Placed(figures.predicted),
    "residuals": Placed(figures.residuals, figures.residuals_many, "predictions", "number", MANY_PROBLEMS),
    "timeline": Placed(figures.timeline),
}
"""The figures by their names on the page, in order."""

MANY = {
    "rates-compared": "These are many problems: a mark is one of them, and each line holds all of a way of training.",
    "side-by-side": "These are many problems: each box counts the trials of a range of learning rates that ended so.",
    "every-failure": "These are many failures: the line is their median, the bands their middle half and nine tenths.",
    "phase-map": "These are many problems: each box counts the trials of a range of η/η_c that ended so.",
    "shares-in-sum": "These are many problems: each mark is a last failure, geometry’s part over readout’s.",
    "first-order": "These are many problems: on the right, each line holds all of a way of training.",
    "collapse": "These are many trials: the deeper a box, the more of them lie in it.",
    "residuals": "These are many rates: in each range of a group, the mark is their median, the bar their middle half.",
}
"""What a reader must know where a figure draws many."""


def write(runs: Sequence[RunTables], file: Path) -> None:
    """Write the page for one or several runs to `file`, whole or not at all."""
    write_whole(file, render(runs).encode())


def render(runs: Sequence[RunTables]) -> str:
    """The page as text."""
    rows = Rows.of(runs)
    specs = {
        name: spec for name, placed in FIGURES.items() if (spec := _specifications(placed, rows)) is not None
    }
    data = {
        "figures": specs,
        "tables": held(rows),
        "opening": rows.opening,
        "around": AROUND,
        "under": UNDER,
        "over": OVER,
        "symbols": {
            name: BY_NAME[name].symbol for name in ("order_parameter", "signal", "drag", "logit_gap")
        },
    }
    scripts = {"vega": _vega(), "page": "\n".join(_part(f"script/{name}.js") for name in SCRIPTS)}
    return _template().render(
        **_words(runs, rows),
        drawn=set(specs),
        many={name: MANY[name] for name, spec in specs.items() if "many" in spec},
        zoomable={name for name, spec in specs.items() if '"bind": "scales"' in json.dumps(spec)},
        most_steps=MOST_STEPS,
        alternatives={name: alternative(name, rows) for name in specs},
        style=styles() + "\n" + _part("style.css"),
        data=_json(data),
        scripts=scripts,
        script_hashes=[_sha256(text) for text in scripts.values()],
    )


def _specifications(placed: Placed, rows: Rows) -> dict[str, Any] | None:
    """The bare Vega-Lite specifications of a figure; the page's script gives them their rows."""
    chart = placed.draw.bare(rows)
    if chart is None:
        return None
    found: dict[str, Any] = {"few": _specification(chart)}
    if (
        placed.many is not None
        and len({row[placed.by] for row in source(rows, placed.dataset)}) > placed.limit
    ):
        found |= {"many": _specification(placed.many.bare(rows)), "of": placed.dataset, "by": placed.by}
        found |= {"limit": placed.limit}
    return found


def _specification(chart: Any) -> dict[str, Any]:
    """Without what the page has once for all figures, and without Vega's controls in place of which it has its own."""
    # Altair's own check of each part takes longer than all the rest; the tests draw every figure.
    spec = {key: value for key, value in chart.to_dict(validate=False).items() if key != "$schema"}
    for param in spec.get("params", []):
        if param.get("bind") != "scales":
            param.pop("bind", None)
    return spec


def _json(value: Any) -> str:
    """JSON that may stand inside a script element: without `<`, `>`, `&` and the line ends of JavaScript."""
    text = json.dumps(value, allow_nan=False, ensure_ascii=True, separators=(",", ":"))
    return text.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026")


def _sha256(text: str) -> str:
    return base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()


@functools.cache
def _vega() -> str:
    """Vega, Vega-Lite and Vega-Embed in the versions that the charts are written for."""
    version = ".".join(alt.SCHEMA_VERSION.removeprefix("v").split(".")[:2])
    bundle: str = vl_convert.javascript_bundle("window.vegaEmbed = vegaEmbed;", vl_version=version)
    return bundle.replace("</script", "<\\/script").replace("\r\n", "\n")


def _part(name: str) -> str:
    return resources.files("phantom_dist.reports").joinpath(name).read_text(encoding="utf-8")


def _template() -> jinja2.Template:
    loader = jinja2.PackageLoader("phantom_dist.reports", "")
    environment = jinja2.Environment(
        loader=loader, autoescape=True, trim_blocks=True, lstrip_blocks=True, undefined=jinja2.StrictUndefined
    )
    return environment.get_template("template.html")


def _words(runs: Sequence[RunTables], rows: Rows) -> dict[str, Any]:
    """Everything that the template says in words and numbers."""
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
        "geometry": tables.geometry(rows),
        "first_order": tables.first_order(rows),
        "law": tables.law(rows),
        "lora": list(dict.fromkeys(run.lora for run in runs if run.lora is not None)),
        "timelines": [summary_of(run.name, run.timeline) for run in runs if run.timeline is not None],
        "number": tables.number,
        "conditions": _conditions(runs, everything),
    }


def _compared(runs: Sequence[RunTables], rows: Rows) -> dict[str, Any]:
    """What the comparison of several runs says."""
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


MOST_COMPARED = 200
"""Lines of each table that compares runs; the figures show all."""


def _distinct(rows: Sequence[Mapping[str, Any]], name: str) -> list[str]:
    return list(dict.fromkeys(str(row[name]) for row in rows if row.get(name) is not None))


def _conditions(runs: Sequence[RunTables], trials: Sequence[Row]) -> dict[str, str]:
    """How it was measured: a name and the values that occur, each once."""
    with_epsilon = [trial for trial in trials if trial.get("epsilon") is not None]
    found = {
        "precision": _distinct(trials, "precision"),
        "optimizer steps T": _distinct(trials, "steps"),
        "schedule": _distinct(trials, "schedule"),
        f"{' and '.join(_distinct(with_epsilon, 'optimizer'))}'s epsilon": _distinct(trials, "epsilon"),
        "weight decay": _distinct(trials, "weight_decay"),
        "engine": _distinct(trials, "engine"),
        "device": _distinct(trials, "device"),
        "threads per process": _distinct(trials, "threads"),
        "tolerance asked of a bracket": list(
            dict.fromkeys(tables.percent(run.tolerance) for run in runs if run.tolerance is not None)
        ),
        "structural failure: the drag fell by more than": _distinct(trials, "structural_drag"),
        "jump: smallest change of the order parameter in one step": _distinct(trials, "jump_threshold"),
        "versions": _distinct(trials, "versions"),
        "finished": _span(trials),
        "report": [f"phantom_dist {_version()}, Vega-Lite {alt.SCHEMA_VERSION.lstrip('v')}"],
    }
    return {name: "; ".join(values) for name, values in found.items() if values}


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
