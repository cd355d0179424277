"""Several runs: outcomes over the learning rate, run beside run."""

from __future__ import annotations

from typing import Any

import altair as alt

from phantom_dist.reports.comparison import changed_outcomes, twins
from phantom_dist.reports.figures.chart import MANY_LINES, finished, in_order, zoom
from phantom_dist.reports.figures.datasets import named
from phantom_dist.reports.figures.figure import Drawing, Figure, Many, Section
from phantom_dist.reports.figures.outcomes import outcome_marks, outcome_shares
from phantom_dist.reports.phrases import outcomes_of
from phantom_dist.reports.rows import Rows


@Drawing
def side_by_side(rows: Rows) -> Any | None:
    """Outcomes over the learning rate itself, a panel for each run with the same axes."""
    if not rows.several_runs or not rows.trials:
        return None
    marks = outcome_marks(
        rows, _rate(), alt.Y("pair:N", title=None, sort=in_order(), axis=alt.Axis(grid=True))
    )
    return _panels(rows, marks.add_params(zoom("x")).properties(width=330, height=alt.Step(18)))


@Drawing
def side_by_side_many(rows: Rows) -> Any | None:
    """The same with a line for each outcome; boxes show the number of trials as text and by opacity."""
    if not rows.several_runs or not rows.trials:
        return None
    return _panels(rows, outcome_shares(rows, "learning_rate", "learning rate η", by=["run", "method"]))


def _rate() -> Any:
    scale = alt.Scale(type="log", nice=False, padding=10)
    axis = alt.Axis(format=".0e", tickCount=5, labelOverlap=True, grid=False)
    return alt.X("learning_rate:Q", title="learning rate η", scale=scale, axis=axis)


def _panels(rows: Rows, chart: Any) -> Any:
    runs = list(dict.fromkeys(row["run"] for row in rows.trials))
    return finished(
        chart.properties(data=named("trials"))
        .transform_filter("isValid(datum.learning_rate)")
        .facet(column=alt.Column("run:N", title=None, sort=runs), row=alt.Row("method:N", title=None))
    )


def _alt_text(rows: Rows) -> str:
    runs = dict.fromkeys(row["run"] for row in rows.trials)
    counts = [f"{run}: {outcomes_of([r for r in rows.trials if r['run'] == run])}" for run in runs]
    changed = f"{len(changed_outcomes(rows))} of {twins(rows)}"
    return f"{'; '.join(counts)}. {changed} trials with a twin in the first run have a different outcome."


SIDE_BY_SIDE = Figure(
    name="side-by-side",
    section=Section.COMPARED,
    title="How trials ended, run beside run",
    caption="All panels have the same axes: the learning rate itself, not in units of η<sub>c</sub>, and a line for "
    "each context.",
    draw=side_by_side,
    alt_text=_alt_text,
    many=Many(
        draw=side_by_side_many,
        dataset="trials",
        by="pair",
        limit=MANY_LINES,
        note="With this many problems each box counts the trials of one outcome in a range of learning rates.",
    ),
)
