"""A figure of the report: one declaration with everything that belongs to it.

A drawing builds a chart over named datasets. Called from outside it gets them as its data, so that a notebook shows it;
the page takes the bare chart and holds each dataset once for all figures.
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
    SILENT_FAILURE = "silent-failure"
    PHASE_MAP = "phase-map"
    JUMPS = "jumps"
    FIRST_ORDER = "first-order"
    LAW = "law"
    TIMELINE = "timeline"
    CONDITIONS = "conditions"


class Drawing:
    """A function of `reports.figures`: from a run to an Altair chart that holds its data, or None without data."""

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
        """The chart; `number` picks the problem of a figure about one (its row in the table of critical rates, from
        0), `trial_id` the trial that `player` plays.
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
    """How a figure is drawn where `dataset` has more than `limit` different values of `by`.

    `note` tells readers what is drawn then; the page adds how to see each one.
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
        name: on the page, and of the files that readers save; lower case with hyphens.
        section: whose figures it stands among; within a section they follow in the order of `figures.FIGURES`.
        title: plain text; the page sets `_c` as a subscript.
        caption: HTML that the page takes as it stands, so it never holds text of a user.
        draw: the chart, None where the page has nothing for it.
        alt_text: what the chart shows in words and numbers, about everything that the page holds; for screen readers,
            for paper, and for whoever would rather read.
        many: how it is drawn where there is too much for `draw`.
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
        """All ways in which it is drawn."""
        return [self.draw] if self.many is None else [self.draw, self.many.draw]
