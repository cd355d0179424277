"""One self-contained HTML page from one or several runs, and each of its figures on its own.

| file | what it does |
|---|---|
| `read` | `report`: reads run directories and writes the page |
| `page`, `page_text`, `page_data` | the page: figures, text and data in one HTML file; read `page` first |
| `run_tables`, `rows`, `sample`, `changes` | from stored tables to the rows that the figures draw |
| `comparison` | compares several runs |
| `predictions` | the law's predictions of a run's critical rates |
| `training_rows` | how many words each training taught, and tools' default rates |
| `timeline_rows`, `timeline_tables` | which worker ran which task when |
| `figures/` | one figure a file: its drawing, section, caption and alternative text |
| `abstract` | what the runs show, in the order of the paper's abstract |
| `tables`, `verdict`, `phrases` | numbers as text, for tables and sentences |
| `column_codec`, `labels` | encodes columns for the page; labels rows |
| `theme`, `export` | colours, shapes and fonts; exports one figure to a file |

`report(directories, file)` is the command; `write(runs, file)` makes the page from tables in memory.
`phantom_dist.reports.figures` has a function for each figure, from `Rows` to an Altair chart;
`export_figure(figure, rows, file)` writes one as PNG, SVG or HTML.
"""

from phantom_dist.reports.export import export_figure, export_monitored
from phantom_dist.reports.page import render, write
from phantom_dist.reports.read import read_run, report
from phantom_dist.reports.rows import Rows
from phantom_dist.reports.run_tables import RunTables

__all__ = [
    "Rows",
    "RunTables",
    "export_figure",
    "export_monitored",
    "read_run",
    "render",
    "report",
    "write",
]
