"""A single picture of one figure, for a paper, a slide or a README."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import vl_convert

from phantom_dist.core.errors import InputError
from phantom_dist.reports.rows import Rows


def picture(figure: Callable[[Rows], Any | None], rows: Rows, file: Path, *, scale: float = 2.0) -> None:
    """Draw a function of `reports.figures` on white, as PNG or SVG by the file's ending.

    A figure about one problem shows the first with a silent failure. `scale` multiplies a PNG's 72 pixels per inch.

    Raises:
        InputError: another ending, or the rows hold nothing for this figure.
    """
    if file.suffix not in (".png", ".svg"):
        raise InputError(f"{file}: a picture ends in .png or .svg")
    chart = figure(rows)
    if chart is None:
        raise InputError(f"{file}: the runs hold nothing that {figure.__name__} could draw")
    drawn = chart.to_dict() | {"background": "white"}
    if file.suffix == ".png":
        file.write_bytes(vl_convert.vegalite_to_png(drawn, scale=scale))
    else:
        file.write_text(vl_convert.vegalite_to_svg(drawn), encoding="utf-8")
