"""One figure a file: each function takes `Rows` and returns an Altair chart, or None without data.

`monitored` takes the monitor's records instead.
"""

from phantom_dist.reports.figures.collapse import collapse
from phantom_dist.reports.figures.first_order import first_order
from phantom_dist.reports.figures.jumps import jumps
from phantom_dist.reports.figures.law import predicted, residuals
from phantom_dist.reports.figures.monitored import monitored
from phantom_dist.reports.figures.phase_map import phase_map
from phantom_dist.reports.figures.shares import shares_by_step, shares_in_sum
from phantom_dist.reports.figures.silent_failure import every_failure, silent_failure

__all__ = [
    "collapse",
    "every_failure",
    "first_order",
    "jumps",
    "monitored",
    "phase_map",
    "predicted",
    "residuals",
    "shares_by_step",
    "shares_in_sum",
    "silent_failure",
]
