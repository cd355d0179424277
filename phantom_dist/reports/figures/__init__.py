"""One figure a file: each function takes a run (`RunTables`, several of them, or `Rows`) and returns an Altair chart
that holds its data, or None without data. A name ending in `_many` is the same figure for sweeps of many problems.

`monitored` is beside them: it takes the records of the monitor.
"""

from phantom_dist.reports.figures.collapse import collapse, collapse_many
from phantom_dist.reports.figures.comparison import (
    rates_compared,
    rates_compared_many,
    side_by_side,
    side_by_side_many,
)
from phantom_dist.reports.figures.first_order import first_order, first_order_many
from phantom_dist.reports.figures.jumps import jumps
from phantom_dist.reports.figures.law import predicted, residuals, residuals_many
from phantom_dist.reports.figures.phase_map import phase_map, phase_shares
from phantom_dist.reports.figures.player import player
from phantom_dist.reports.figures.shares import shares_by_step, shares_in_sum, shares_in_sum_many
from phantom_dist.reports.figures.silent_failure import every_failure, every_failure_many, silent_failure
from phantom_dist.reports.figures.timeline import timeline

__all__ = [
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
]
