"""Assembles the page: figures, tables and text in one HTML file that loads nothing from the network.

User text (names, prompts, words) is untrusted: Jinja2 escapes it, JSON inside a script element contains no `<`, Vega
interprets expressions instead of compiling them, and a content security policy lets the browser run only the page's own
scripts (by their hashes) and fetch nothing.
"""

from __future__ import annotations

import base64
import functools
import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from typing import Any

import altair as alt
import jinja2
import vl_convert

from phantom_dist.core.quantities import BY_NAME
from phantom_dist.core.whole_file import write_whole
from phantom_dist.reports.figures import FIGURES
from phantom_dist.reports.figures.datasets import source
from phantom_dist.reports.figures.figure import Figure
from phantom_dist.reports.page_data import page_data
from phantom_dist.reports.page_text import page_text
from phantom_dist.reports.rows import AROUND, OVER, UNDER, Rows
from phantom_dist.reports.run_tables import RunTables
from phantom_dist.reports.sample import MOST_STEPS
from phantom_dist.reports.theme import styles

SCRIPTS = ("store", "words", "figures", "player", "picks", "start")
"""The parts of the page's own script, in order."""


@dataclass(frozen=True, kw_only=True)
class DrawnFigure:
    """A figure that has data on this page.

    `specs`: its Vega-Lite specifications without data; the page's script adds the rows.
    """

    figure: Figure
    alt_text: str
    specs: dict[str, Any]

    @property
    def many_note(self) -> str | None:
        """The note about the drawing for many problems; None where the page doesn't need that drawing."""
        return self.figure.many.note if self.figure.many is not None and "many" in self.specs else None

    @property
    def zoomable(self) -> bool:
        """Whether readers can zoom into it."""
        return '"bind": "scales"' in json.dumps(self.specs)


def write(runs: Sequence[RunTables], file: Path) -> None:
    """Write the page for one or several runs to `file`, whole or not at all."""
    write_whole(file, render(runs).encode())


def render(runs: Sequence[RunTables]) -> str:
    """The page as text."""
    rows = Rows.of(runs)
    drawn = {figure.name: shown for figure in FIGURES if (shown := _drawn(figure, rows)) is not None}
    data = {
        "figures": {name: shown.specs for name, shown in drawn.items()},
        "tables": page_data(rows),
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
        **page_text(runs, rows),
        drawn=drawn,
        most_steps=MOST_STEPS,
        style=styles() + "\n" + _part("style.css"),
        data=_json(data),
        scripts=scripts,
        script_hashes=[_sha256(text) for text in scripts.values()],
    )


def _drawn(figure: Figure, rows: Rows) -> DrawnFigure | None:
    chart = figure.draw.bare(rows)
    if chart is None:
        return None
    specs: dict[str, Any] = {"few": specification(chart)}
    many = figure.many
    if many is not None and len({row[many.by] for row in source(rows, many.dataset)}) > many.limit:
        specs |= {"many": specification(many.draw.bare(rows))}
        specs |= {"of": many.dataset, "by": many.by, "limit": many.limit}
    return DrawnFigure(figure=figure, alt_text=figure.alt_text(rows), specs=specs)


def specification(chart: Any) -> dict[str, Any]:
    """The chart without what the page has once for all figures, and without Vega's controls: the page has its own."""
    # Altair's validation of each part takes longer than everything else; the tests draw every figure.
    spec = {key: value for key, value in chart.to_dict(validate=False).items() if key != "$schema"}
    for param in spec.get("params", []):
        if param.get("bind") != "scales":
            param.pop("bind", None)
    return spec


def _json(value: Any) -> str:
    """JSON that is safe inside a script element: without `<`, `>`, `&` and JavaScript's line separators."""
    text = json.dumps(value, allow_nan=False, ensure_ascii=True, separators=(",", ":"))
    return text.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026")


def _sha256(text: str) -> str:
    return base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()


@functools.cache
def _vega() -> str:
    """The bundled Vega, Vega-Lite and Vega-Embed, in the versions for which Altair writes the charts."""
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
