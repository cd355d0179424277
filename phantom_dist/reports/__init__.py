"""One self-contained HTML page from one or several runs, and its figures one by one.

| file | what it does |
|---|---|
| `read` | `report`: from run directories to a page |
| `page`, `page_text`, `page_data` | the page: its figures, words and tables in one HTML file; read `page` first |
| `run_tables`, `rows`, `sample`, `changes` | what the figures draw, from stored tables |
| `comparison` | several runs beside each other |
| `predictions` | what the law says of a run's critical rates |
| `timeline_rows`, `timeline_tables` | who ran what when |
| `figures/` | one figure a file: how it is drawn, where it stands, its caption and its alternative text |
| `tables`, `verdict`, `phrases` | numbers in tables and sentences |
| `column_codec`, `labels` | how the page encodes columns; what it calls rows |
| `theme`, `export` | how figures look; one figure as a file of its own |

`report(directories, file)` is the command; `write(runs, file)` makes the page from tables in memory.
`phantom_dist.reports.figures` has a function for each figure, from `Rows` to an Altair chart;
`picture(figure, rows, file)` makes a PNG, SVG or HTML file of one.
"""

from phantom_dist.reports.export import picture, picture_of_monitored
from phantom_dist.reports.page import render, write
from phantom_dist.reports.read import read_run, report
from phantom_dist.reports.rows import Rows
from phantom_dist.reports.run_tables import RunTables

__all__ = ["Rows", "RunTables", "picture", "picture_of_monitored", "read_run", "render", "report", "write"]
