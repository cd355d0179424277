"""The declaration of a figure of the report, with everything that belongs to it.

A drawing builds a chart over named datasets. Calling it adds the datasets to the chart, so that a notebook can show it.
The page uses the bare chart instead, and contains each dataset once for all figures.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from phantom_dist.reports.figures.datasets import dataset, used
from phantom_dist.reports.rows import Rows
from phantom_dist.reports.run_tables import RunTables


class Section(StrEnum):
    """The sections of the page, in order."""

    COMPARED = "compared"
    CRITICAL_RATES = "critical-rates"
    TRAININGS = "trainings"
    SILENT_FAILURE = "silent-failure"
    PHASE_MAP = "phase-map"
    JUMPS = "jumps"
    FIRST_ORDER = "first-order"
    LAW = "law"
    TIMELINE = "timeline"
    CONDITIONS = "conditions"


class Drawing:
    """A function of `reports.figures`: from runs to an Altair chart with its data, or None where there is no data."""

    __name__: str

    def __init__(self, draw: Callable[[Rows], Any | None]) -> None:
        self.bare = draw
        functools.update_wrapper(self, draw)

    def __call__(
        self,
        runs: Rows | RunTables | Sequence[RunTables],
        *,
        number: int | None = None,
        trial_id: str | None = None,
    ) -> Any | None:
        """The chart. `number` selects the problem of a figure about a single one: its row in the table of critical
        rates, from 0. `trial_id` selects the trial that `player` plays.
        """
        rows = runs if isinstance(runs, Rows) else Rows.of(runs)
        chart = self.bare(rows)
        if chart is None:
            return None
        names = used(chart.to_dict())
        return chart.properties(
            datasets={name: dataset(rows, name, number=number, trial_id=trial_id) for name in names}
        )


@dataclass(frozen=True, kw_only=True)
class Many:
    """How a figure is drawn where `dataset` has more than `limit` distinct values of `by`.

    `note` explains this drawing to readers; the page adds how to see single ones.
    """

    draw: Drawing
    dataset: str
    by: str
    limit: int
    note: str


@dataclass(frozen=True, kw_only=True)
class Figure:
    """One figure of the page.

    Attributes:
        name: identifies it on the page and names the files that readers save; lower case with hyphens.
        section: its section of the page; within a section figures follow the order of `figures.FIGURES`.
        title: plain text; the page sets `_c` as a subscript.
        caption: HTML that the page inserts unescaped, so it must never contain user text.
        draw: builds the chart; None where there is no data for it.
        alt_text: returns what the chart shows of all data of the page, in words and numbers: for screen readers, for
            print, and for readers who prefer text.
        many: the drawing for more data than `draw` can show.
    """

    name: str
    section: Section
    title: str
    caption: str
    draw: Drawing
    alt_text: Callable[[Rows], str]
    many: Many | None = None

    @property
    def drawings(self) -> list[Drawing]:
        """All its drawings."""
        return [self.draw] if self.many is None else [self.draw, self.many.draw]
