"""Exports one figure to a file, for a paper, a slide or a README."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import vl_convert

from phantom_dist.core.errors import InputError
from phantom_dist.core.whole_file import write_whole
from phantom_dist.reports.figures.monitored import monitored
from phantom_dist.reports.rows import Rows
from phantom_dist.traces.monitor_log import MonitorRecord


def export_figure(
    figure: Callable[[Rows], Any | None], rows: Rows, file: Path, *, scale: float = 2.0
) -> None:
    """Draw a function of `reports.figures` on white, as PNG, SVG or HTML by the file's suffix.

    A figure about one problem shows the first with a silent failure. `scale` multiplies a PNG's 72 pixels per inch.

    Raises:
        InputError: the suffix is another one, or the rows have no data for this figure.
    """
    _check_suffix(file)
    chart = figure(rows)
    if chart is None:
        raise InputError(f"{file}: the runs have no data for the figure {figure.__name__}")
    _draw(chart, file, scale)


def export_monitored(records: Mapping[str, MonitorRecord], file: Path, *, scale: float = 2.0) -> None:
    """Draw trainings that the monitor watched (`figures.monitored`) on white, as PNG, SVG or HTML by the file's suffix.

    Raises:
        InputError: the suffix is another one, or the records have no look.
    """
    _check_suffix(file)
    chart = monitored(records)
    if chart is None:
        raise InputError(f"{file}: the records have no look that could be drawn")
    _draw(chart, file, scale)


def _draw(chart: Any, file: Path, scale: float) -> None:
    drawn = chart.to_dict() | {"background": "white"}
    if file.suffix == ".png":
        data: bytes = vl_convert.vegalite_to_png(drawn, scale=scale)
    elif file.suffix == ".html":  # self-contained, with inlined scripts
        data = vl_convert.vegalite_to_html(drawn, bundle=True).encode()
    else:
        data = vl_convert.vegalite_to_svg(drawn).encode()
    write_whole(file, data)


def _check_suffix(file: Path) -> None:
    if file.suffix not in (".png", ".svg", ".html"):
        raise InputError(f"{file}: unknown suffix; allowed: .png, .svg, or .html (with tooltips)")
