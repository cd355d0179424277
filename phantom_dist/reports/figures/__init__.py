"""One figure a file: its drawings, section, caption and alternative text.

`FIGURES` lists them in the order of the page. A drawing takes runs (`RunTables`, several of them, or `Rows`) and
returns an Altair chart with its data, or None where there is no data. A name that ends in `_many` is the same figure
for sweeps of many problems. `monitored` is not on the page: it draws records of the monitor.
"""

from phantom_dist.reports.figures.collapse import COLLAPSE, collapse, collapse_many
from phantom_dist.reports.figures.every_failure import EVERY_FAILURE, every_failure, every_failure_many
from phantom_dist.reports.figures.figure import Drawing, Figure
from phantom_dist.reports.figures.first_order import FIRST_ORDER, first_order, first_order_many
from phantom_dist.reports.figures.jumps import JUMPS, jumps
from phantom_dist.reports.figures.phase_map import PHASE_MAP, phase_map, phase_shares
from phantom_dist.reports.figures.player import PLAYER, player
from phantom_dist.reports.figures.predicted import PREDICTED, predicted
from phantom_dist.reports.figures.rates_compared import RATES_COMPARED, rates_compared, rates_compared_many
from phantom_dist.reports.figures.residuals import RESIDUALS, residuals, residuals_many
from phantom_dist.reports.figures.shares_by_step import SHARES_BY_STEP, shares_by_step
from phantom_dist.reports.figures.shares_in_sum import SHARES_IN_SUM, shares_in_sum, shares_in_sum_many
from phantom_dist.reports.figures.side_by_side import SIDE_BY_SIDE, side_by_side, side_by_side_many
from phantom_dist.reports.figures.silent_failure import SILENT_FAILURE, silent_failure
from phantom_dist.reports.figures.timeline import TIMELINE, timeline
from phantom_dist.reports.figures.words_learnt import WORD_MAP, WORDS_LEARNT, word_map, words_learnt

FIGURES: tuple[Figure, ...] = (
    RATES_COMPARED,
    SIDE_BY_SIDE,
    WORDS_LEARNT,
    WORD_MAP,
    SILENT_FAILURE,
    PLAYER,
    EVERY_FAILURE,
    PHASE_MAP,
    JUMPS,
    SHARES_IN_SUM,
    SHARES_BY_STEP,
    FIRST_ORDER,
    COLLAPSE,
    PREDICTED,
    RESIDUALS,
    TIMELINE,
)
"""The figures of the page, in order."""

DRAWINGS: dict[str, Drawing] = {
    drawing.__name__: drawing for figure in FIGURES for drawing in figure.drawings
}
"""Every drawing by the name of its function: what `open_run(...).figure(name)` draws."""

__all__ = [
    "DRAWINGS",
    "FIGURES",
    "collapse",
    "collapse_many",
    "every_failure",
    "every_failure_many",
    "first_order",
    "first_order_many",
    "jumps",
    "phase_map",
    "phase_shares",
    "player",
    "predicted",
    "rates_compared",
    "rates_compared_many",
    "residuals",
    "residuals_many",
    "shares_by_step",
    "shares_in_sum",
    "shares_in_sum_many",
    "side_by_side",
    "side_by_side_many",
    "silent_failure",
    "timeline",
    "word_map",
    "words_learnt",
]
