"""One self-contained HTML page from one or several runs, and its figures one by one.

`report(directories, file)` is the command; `write(runs, file)` makes the page from tables in memory.
`phantom_dist.reports.figures` holds a function per figure, from `Rows` to an Altair chart;
`picture(figure, rows, file)` makes a PNG or SVG of one.
"""

from phantom_dist.reports.page import render, write
from phantom_dist.reports.picture import picture, picture_of_monitored
from phantom_dist.reports.read import read_run, report
from phantom_dist.reports.rows import Rows
from phantom_dist.reports.run_tables import RunTables

__all__ = ["Rows", "RunTables", "picture", "picture_of_monitored", "read_run", "render", "report", "write"]
