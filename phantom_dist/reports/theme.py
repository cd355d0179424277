"""The look of page and figures: a light and a dark palette, shapes and dashes by outcome, the Vega-Lite configuration.

Five colours, in a light and a dark version, carry all meaning. Within a version any two of them are at least 15 apart
in CIEDE2000, for normal colour vision and under simulated protanopia, deuteranopia and tritanopia. Each has a contrast
of at least 3 : 1 against the figure's background (WCAG 2.2, 1.4.11), text of 4.5 : 1 (1.4.3);
`tests/reports/test_colours.py` checks this. No meaning depends on colour alone: outcomes differ in shape and dash as
well, and legends, axes and tooltips name them.

Figures are drawn in the light version; in the dark theme the page's CSS replaces each colour. Ink is `currentColor`, so
that the SVG takes the page's text colour.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import altair as alt

from phantom_dist.core.outcome import Outcome
from phantom_dist.core.quantities import BY_NAME

BLUE, ORANGE, MAROON, LILAC, SAGE = "#1c4fa8", "#e8590c", "#73061a", "#ad76f2", "#6f9488"
DARK = {BLUE: "#5cb8f5", ORANGE: "#f0b429", MAROON: "#cc3f55", LILAC: "#f3e3ff", SAGE: "#6f7787"}
"""Every colour of the light palette, with its replacement in the dark theme."""

PAGE = {
    "ink": ("#1b1f24", "#e4e8ec"),
    "soft": ("#59636e", "#9aa5b1"),
    "paper": ("#ffffff", "#14171b"),
    "card": ("#ffffff", "#1a1e23"),
    "line": ("#d5dae0", "#333a42"),
    "tint": ("#f4f6f8", "#1f242a"),
    "accent": ("#1c4fa8", "#5cb8f5"),
    "edge": ("#7d8792", "#76818d"),
}
"""The page's own colours, light and dark: text, secondary text, page, figures, rules, fields, accent, edges."""

INK = "currentColor"
FONT = "system-ui, -apple-system, 'Segoe UI', Roboto, 'Noto Sans', 'Liberation Sans', sans-serif"

OUTCOMES: dict[Outcome, tuple[str, str, list[int]]] = {
    Outcome.COMMITTED: (BLUE, "circle", [1, 0]),
    Outcome.KINEMATIC: (ORANGE, "square", [6, 2]),
    Outcome.STRUCTURAL: (MAROON, "triangle-down", [2, 2]),
    Outcome.RELAPSED: (LILAC, "diamond", [8, 2, 2, 2]),
    Outcome.DIVERGED: (SAGE, "cross", [12, 4]),
}
"""Colour, shape and dash of every outcome of a trained trial."""

WAYS = (BLUE, ORANGE, SAGE, MAROON, LILAC)
"""Colours of ways of training (or models), in order of appearance."""
SHAPES = ("circle", "square", "diamond", "triangle-up", "cross", "triangle-down", "triangle-right")
"""Their shapes; five and seven have no common divisor, so a pair of colour and shape repeats only after 35."""

PARTS = {"readout": BLUE, "geometry": ORANGE}
"""Colours of the two parts of a change of the order parameter."""

WORDS = {"target": BLUE, "competitor": ORANGE, "all other tokens": SAGE}
"""Colours of the parts of the predicted distribution."""


def styles() -> str:
    """The colours as CSS: variables for the page, and rules that recolour the SVG that Vega draws."""
    variables = "".join(f" --{name}: light-dark({light}, {dark});" for name, (light, dark) in PAGE.items())
    rules = [
        f'.plot svg [{what}="{light}" i] {{ {what}: light-dark({light}, {dark}); }}'
        for light, dark in DARK.items()
        for what in ("fill", "stroke")
    ]
    return "\n".join([f":root {{{variables} }}", *rules])


def way_scales(ways: Sequence[str]) -> tuple[alt.Scale, alt.Scale]:
    """The scales of colour and shape over ways of training (or models), in order."""
    return (
        alt.Scale(domain=list(ways), range=[WAYS[i % len(WAYS)] for i in range(len(ways))]),
        alt.Scale(domain=list(ways), range=[SHAPES[i % len(SHAPES)] for i in range(len(ways))]),
    )


def part_scale() -> alt.Scale:
    """The scale of colour over the two parts of a change of the order parameter."""
    return alt.Scale(domain=list(PARTS), range=list(PARTS.values()))


def axis_title(name: str) -> str:
    """A column's name, symbol and unit: `logit gap g (logit)`."""
    quantity = BY_NAME[name]
    unit = "" if quantity.unit in ("", "1") else f" ({quantity.unit})"
    return f"{name.replace('_', ' ')} {quantity.symbol}".rstrip() + unit


def outcome_scale(present: set[str], channel: int) -> alt.Scale:
    """The scale for colour (channel 0) or shape (1) over the outcomes that occur, in a fixed order."""
    shown = [o for o in OUTCOMES if o.value in present]
    return alt.Scale(domain=[o.value for o in shown], range=[OUTCOMES[o][channel] for o in shown])


def outcome_dash() -> alt.StrokeDashValue:
    """The dash of a line by its trial's outcome; as conditions, since a scale would change the legend's symbols."""
    tests = [{"test": f"datum.outcome === '{o.value}'", "value": dash} for o, (*_, dash) in OUTCOMES.items()]
    return alt.StrokeDashValue([1, 0], condition=tests)


def config() -> dict[str, Any]:
    """The Vega-Lite configuration that all figures share."""
    text = {
        "labelColor": INK,
        "titleColor": INK,
        "labelFontSize": 11,
        "titleFontSize": 12,
        "titleFontWeight": 500,
    }
    return {
        "background": "transparent",
        "font": FONT,
        "view": {"stroke": None},
        "axis": text
        | {
            "domainColor": INK,
            "domainOpacity": 0.5,
            "tickColor": INK,
            "tickOpacity": 0.5,
            "gridColor": INK,
            "gridOpacity": 0.12,
            "titlePadding": 8,
            "labelLimit": 320,
        },
        "legend": text
        | {
            "orient": "top",
            "symbolSize": 90,
            "symbolOpacity": 1,
            "titleOrient": "left",
            "labelLimit": 320,
            "offset": 8,
        },
        "header": text | {"labelFontSize": 12, "labelFontWeight": 600, "titleFontSize": 0},
        "title": {"color": INK, "fontSize": 12, "fontWeight": 600, "anchor": "start"},
        "mark": {"tooltip": True},
    }
