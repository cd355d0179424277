"""Words over learning rates: which word each training taught, and the share that it taught."""

from __future__ import annotations

from typing import Any

import altair as alt

from phantom_dist.reports.figures.chart import finished, in_order, line_height, tooltip, ways_of
from phantom_dist.reports.figures.datasets import named
from phantom_dist.reports.figures.figure import Drawing, Figure, Section
from phantom_dist.reports.figures.outcomes import outcome_marks
from phantom_dist.reports.rows import Rows
from phantom_dist.reports.tables import number
from phantom_dist.reports.theme import BLUE, INK, ORANGE, SAGE
from phantom_dist.reports.training_rows import HELD_OUT, IN_DATA

_WIDTH = 640


@Drawing
def word_map(rows: Rows) -> Any | None:
    """The outcome of every word in every training, with a panel for each way of training."""
    if not rows.trainings:
        return None
    marks = outcome_marks(
        rows, _rate_axis(), alt.Y("line:N", title=None, sort=in_order(), axis=alt.Axis(grid=True))
    )
    silent = (
        alt.Chart()
        .transform_filter("datum.silent")
        .mark_point(shape="circle", size=12, filled=True, color=INK, tooltip=None)
        .encode(x=_rate_axis(), y=alt.Y("line:N", sort=in_order()))
    )
    panels = [
        alt.layer(marks, silent, data=named("trials"))
        .transform_filter(alt.datum.way == way)
        .properties(width=_WIDTH, height=line_height(rows), title=way)
        for way in ways_of(rows)
    ]
    return finished(alt.vconcat(*panels))


@Drawing
def words_learnt(rows: Rows) -> Any | None:
    """The share of words that a training taught, and its loss, over its rate; dashed: tools' default rates."""
    if not rows.trainings:
        return None
    return finished(alt.vconcat(_share(rows), _loss(rows), spacing=14).resolve_scale(x="shared"))


def _rate_axis() -> Any:
    return alt.X(
        "learning_rate:Q",
        title="learning rate η",
        scale=alt.Scale(type="log", nice=False, padding=12),
        axis=alt.Axis(format="~e", labelOverlap="greedy"),
    )


def _defaults() -> Any:
    """A dashed line at each default rate."""
    return (
        alt.Chart(named("defaults"))
        .mark_rule(color=INK, strokeDash=[5, 4], opacity=0.55)
        .encode(x=_rate_axis(), tooltip=tooltip("recipes", "learning_rate"))
    )


def _share(rows: Rows) -> Any:
    present = [p for p in (IN_DATA, HELD_OUT) if any(row["prompts"] == p for row in rows.trainings)]
    base = alt.Chart(named("trainings")).encode(
        x=_rate_axis(),
        y=alt.Y(
            "learnt:Q",
            title="share of words learnt",
            axis=alt.Axis(format="%"),
            scale=alt.Scale(domain=[0, 1]),
        ),
        color=alt.Color(
            "prompts:N", title=None, scale=alt.Scale(domain=present, range=[BLUE, ORANGE][: len(present)])
        ),
        detail=["way:N", "model:N", "run:N"],
    )
    marks = base.mark_point(filled=True, size=50, opacity=0.9).encode(
        shape=alt.Shape("prompts:N", title=None, scale=alt.Scale(domain=present, range=["circle", "square"])),
        tooltip=tooltip("way", "model", "prompts", "learning_rate", "learnt", "watched", "training_loss"),
    )
    names = (
        alt.Chart(named("defaults"))
        .mark_text(align="left", baseline="top", dx=4, angle=90, fontSize=10, color=INK, tooltip=None)
        .encode(x=_rate_axis(), y=alt.value(2), text="recipes:N")
    )
    lines = base.mark_line(strokeWidth=1.5, opacity=0.7, tooltip=None)
    return alt.layer(_defaults(), names, lines, marks).properties(width=_WIDTH, height=230)


def _loss(rows: Rows) -> Any:
    marks = (
        alt.Chart(named("trainings"))
        .transform_filter(alt.datum.prompts == rows.trainings[0]["prompts"])
        .transform_filter("isValid(datum.training_loss)")
        .mark_line(point={"color": SAGE, "size": 40}, color=SAGE, strokeWidth=1.5)
        .encode(
            x=_rate_axis(),
            y=alt.Y("training_loss:Q", title="training loss (nat)", scale=alt.Scale(zero=False)),
            detail=["way:N", "model:N", "run:N"],
            tooltip=tooltip("way", "model", "learning_rate", "training_loss"),
        )
    )
    return alt.layer(_defaults(), marks).properties(width=_WIDTH, height=120)


def _alt_text(rows: Rows) -> str:
    def most(prompts: str) -> str:
        own = [row for row in rows.trainings if row["prompts"] == prompts]
        if not own:
            return ""
        best = max(own, key=lambda row: (row["learnt"], -row["learning_rate"]))
        return f" Most {prompts} are learnt ({best['learnt']:.0%}) at η = {number(best['learning_rate'], 3)}."

    finite = [row for row in rows.trainings if row["training_loss"] is not None]
    loss = min(finite, key=lambda row: row["training_loss"], default=None)
    lowest = (
        "" if loss is None else f" The training loss is lowest at η = {number(loss['learning_rate'], 3)}."
    )
    trainings = len({(row["run"], row["way"], row["learning_rate"], row["model"]) for row in rows.trainings})
    return f"{trainings} trainings.{most(IN_DATA)}{most(HELD_OUT)}{lowest}"


def _map_text(rows: Rows) -> str:
    own = [row for row in rows.trials if row.get("training_id") is not None]
    silent = sum(bool(row["silent"]) for row in own)
    learnt = sum(row["outcome"] == "committed" for row in own)
    return (
        f"{len(own)} words in trainings: {learnt} learnt, {silent} failed silently, "
        f"{len(own) - learnt - silent} failed otherwise."
    )


WORDS_LEARNT = Figure(
    name="words-learnt",
    section=Section.TRAININGS,
    title="How many words a training teaches",
    caption="Above, the share of the watched words that overtake their competitor, over the learning rate; below, the "
    "training loss at the end. Dashed lines are default rates of tools, with the names of their recipes. Where the "
    "loss is low, words need not be learnt: it counts all tokens alike.",
    draw=words_learnt,
    alt_text=_alt_text,
)

WORD_MAP = Figure(
    name="word-map",
    section=Section.TRAININGS,
    title="Which words a training teaches",
    caption="Each mark is a word in one training. A word is learnt from its critical rate on, until training diverges: "
    "this is its window. A dot in a mark is a silent failure: the training loss fell, the word's own loss fell, and "
    "the word never overtook its competitor. Pick a context above to see its own curves.",
    draw=word_map,
    alt_text=_map_text,
)
