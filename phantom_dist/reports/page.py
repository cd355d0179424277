"""Assembles the page: figures, tables and words into one HTML file that loads nothing from anywhere.

Text that a user wrote (names, prompts, words) is untrusted: Jinja2 escapes it, JSON inside a script element
has no `<`, expressions are interpreted instead of compiled, and a content security policy lets the browser
run the page's own two scripts (by their hashes) and fetch nothing.
"""

from __future__ import annotations

import base64
import functools
import hashlib
import json
import os
import tempfile
from collections.abc import Mapping, Sequence
from importlib import metadata, resources
from pathlib import Path
from typing import Any

import altair as alt
import jinja2
import vl_convert

from phantom_dist.reports import figures, tables, verdict
from phantom_dist.reports.figures.chart import DATASETS, dataset, specification
from phantom_dist.reports.rows import UNDER, Row, Rows
from phantom_dist.reports.run_tables import RunTables

_FIGURES = {
    "silent-failure": figures.silent_failure,
    "every-failure": figures.every_failure,
    "phase-map": figures.phase_map,
    "jumps": figures.jumps,
    "shares-in-sum": figures.shares_in_sum,
    "shares-by-step": figures.shares_by_step,
    "first-order": figures.first_order,
    "collapse": figures.collapse,
    "predicted": figures.predicted,
    "residuals": figures.residuals,
}


def write(runs: Sequence[RunTables], file: Path) -> None:
    """Write the page for one or several runs to `file`, whole or not at all."""
    page = render(runs)
    handle, name = tempfile.mkstemp(dir=file.parent, prefix=f".{file.name}.")
    try:
        with os.fdopen(handle, "w", encoding="utf-8", newline="\n") as stream:
            stream.write(page)
        os.chmod(name, 0o644)
        os.replace(name, file)
    except BaseException:
        Path(name).unlink(missing_ok=True)
        raise


def render(runs: Sequence[RunTables]) -> str:
    """The page as text."""
    rows = Rows.of(runs)
    charts = {name: figure(rows) for name, figure in _FIGURES.items()}
    specs = {name: _specification(chart) for name, chart in charts.items() if chart is not None}
    data = {
        "specs": specs,
        "datasets": {name: _packed(dataset(rows, name), DATASETS[name]) for name in DATASETS},
    }
    scripts = {"vega": _vega(), "draw": _part("draw.js")}
    return _template().render(
        **_words(runs, rows),
        drawn=set(specs),
        style=_part("style.css"),
        data=_json(data),
        scripts=scripts,
        script_hashes=[_sha256(text) for text in scripts.values()],
    )


def _specification(chart: Any) -> dict[str, Any]:
    """The chart's Vega-Lite specification; the page's script adds the datasets, which figures share."""
    return {key: value for key, value in specification(chart, {}).items() if key != "$schema"}


def _packed(rows: Sequence[Row], names: Sequence[str]) -> dict[str, Any]:
    """A table with its column names written once."""
    return {"columns": names, "rows": [[row[name] for name in names] for row in rows]}


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
        "number": tables.number,
        "conditions": _conditions(runs, everything),
    }


def _distinct(rows: Sequence[Mapping[str, Any]], name: str) -> list[str]:
    return list(dict.fromkeys(str(row[name]) for row in rows if row.get(name) is not None))


def _conditions(runs: Sequence[RunTables], trials: Sequence[Row]) -> dict[str, str]:
    """How it was measured: a name and the values that occur, each once."""
    found = {
        "precision": _distinct(trials, "precision"),
        "optimizer steps T": _distinct(trials, "steps"),
        "schedule": _distinct(trials, "schedule"),
        "adamw's epsilon": _distinct(trials, "epsilon"),
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
