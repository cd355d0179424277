"""How the figures look: colours and shapes by outcome, axis titles, one Vega-Lite configuration.

Colours are those of Okabe and Ito, which people with the common colour-vision deficiencies can tell apart;
outcomes differ in shape as well. Ink is `currentColor`, so the page's text colour, light or dark, reaches
into the SVG.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import altair as alt

from phantom_dist.core.outcome import Outcome
from phantom_dist.core.quantities import BY_NAME

ORANGE, SKY, GREEN, YELLOW = "#E69F00", "#56B4E9", "#009E73", "#F0E442"
BLUE, VERMILLION, PURPLE, GREY = "#0072B2", "#D55E00", "#CC79A7", "#8A8F98"
INK = "currentColor"
FONT = "system-ui, -apple-system, 'Segoe UI', Roboto, 'Noto Sans', 'Liberation Sans', sans-serif"

OUTCOMES: dict[Outcome, tuple[str, str]] = {
    Outcome.COMMITTED: (BLUE, "circle"),
    Outcome.KINEMATIC: (ORANGE, "square"),
    Outcome.STRUCTURAL: (VERMILLION, "triangle-down"),
    Outcome.RELAPSED: (PURPLE, "diamond"),
    Outcome.DIVERGED: (GREY, "cross"),
}
"""Colour and shape of every outcome that comes from training."""

WAYS = (GREEN, VERMILLION, BLUE, PURPLE, ORANGE, SKY, GREY)
"""Colours of ways of training, in order of appearance."""


def way_scale(ways: Sequence[str]) -> alt.Scale:
    """The colour scale over ways of training (or models), in order; colours come round again where they are many."""
    return alt.Scale(domain=list(ways), range=[WAYS[i % len(WAYS)] for i in range(len(ways))])


PARTS = {"readout": SKY, "geometry": VERMILLION}
"""Colours of the two parts of a change of the order parameter."""


def axis_title(name: str) -> str:
    """A column's words, symbol and unit: `logit gap g (logit)`."""
    quantity = BY_NAME[name]
    unit = "" if quantity.unit in ("", "1") else f" ({quantity.unit})"
    return f"{name.replace('_', ' ')} {quantity.symbol}".rstrip() + unit


def outcome_scale(present: set[str], channel: int) -> alt.Scale:
    """The scale for colour (channel 0) or shape (1) over the outcomes that occur, in a fixed order."""
    shown = [o for o in OUTCOMES if o.value in present]
    return alt.Scale(domain=[o.value for o in shown], range=[OUTCOMES[o][channel] for o in shown])


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
