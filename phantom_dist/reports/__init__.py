"""One self-contained HTML page from one or several runs, and its figures one by one.

| file | what it does |
|---|---|
| `read` | `report`: from run directories to a page |
| `page` | the page: figures, tables and words in one HTML file; read it first |
| `run_tables`, `rows`, `sample`, `changes` | what the figures draw, from stored tables |
| `comparison` | several runs beside each other |
| `predictions` | what the law says of a run's critical rates |
| `timeline_rows`, `timeline_tables` | who ran what when |
| `figures/` | one figure a file |
| `alternatives`, `tables`, `verdict` | the same numbers in words |
| `held`, `pack`, `naming` | the page's data, packed; how rows are called |
| `theme`, `picture` | how figures look; a single picture of one |

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
