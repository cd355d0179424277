"""From the looks at one context to a warning: the loss falls, and the right word will not overtake in time.

Numbers in, a decision out. The two kinds are those of a trial's outcome (`instruments.outcome`): structural where the
drag has fallen by more than the threshold, kinematic else; the names are arXiv 2606.07559's, the rules our own. Where a
word had overtaken and fell behind again the same rules hold.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Literal

from phantom_dist.monitor.forecast import Line, line
from phantom_dist.monitor.look import Reading
from phantom_dist.monitor.settings import MonitorSettings

Kind = Literal["kinematic", "structural", "diverged"]


@dataclass(frozen=True, kw_only=True, slots=True)
class Progress:
    """Where training is.

    step: optimizer steps taken. total: how many there will be; None if unknown. tau: τ, the sum of learning rates so
    far. left: the sum of those to come; where nobody knows the end, as much again. rising: still warming up. over:
    training has ended.
    """

    step: int
    total: int | None
    tau: float
    left: float
    rising: bool
    over: bool = False


@dataclass(frozen=True, kw_only=True, slots=True)
class Finding:
    """A silent failure as the numbers show it; gaps in logits, losses in nats.

    `since`: the first step of the looks in a row that agree, or from which the drag stayed down. `gap_end`: where the
    gap ends at its pace. `share`: the part of the first gap that is closed by then: to first order, this learning
    rate as a multiple of the critical one; None where the gap widens, or where nobody knows the end.
    """

    kind: Kind
    step: int
    since: int
    first: Reading
    last: Reading
    gap_end: float | None
    share: float | None
    overtook: int | None
    over: bool


@dataclass(slots=True)
class Course:
    """All looks at one context, and what was said of it."""

    steps: list[int] = field(default_factory=list)
    taus: list[float] = field(default_factory=list)
    readings: list[Reading] = field(default_factory=list)
    agreeing: int = 0
    said: set[Kind] = field(default_factory=set)

    def add(self, reading: Reading, now: Progress, settings: MonitorSettings) -> Finding | None:
        """Take a look's reading; a finding where a warning is due that was not given yet."""
        self.steps.append(now.step)
        self.taus.append(now.tau)
        self.readings.append(reading)
        return self.judge(now, settings)

    def judge(self, now: Progress, settings: MonitorSettings) -> Finding | None:
        """What is to be said of the looks so far; asked again when training turns out to be over."""
        if not _finite(self.readings[-1]):
            return self._say(self._finding("diverged", now, now.step, None))
        enough = settings.fewest_looks if not now.over else 2
        if "diverged" in self.said or len(self.steps) < enough:
            return None
        gaps = line(self.taus, [r.logit_gap for r in self.readings])
        self.agreeing = self.agreeing + 1 if self._lost(gaps, now, settings) else 0
        if self.agreeing < (1 if now.over else settings.streak):
            return None
        down = self._down_since(settings.thresholds.structural_drag)
        if down is not None:
            return self._say(self._finding("structural", now, down, gaps))
        return self._say(self._finding("kinematic", now, self.steps[-self.agreeing], gaps))

    def _lost(self, gaps: Line, now: Progress, settings: MonitorSettings) -> bool:
        """Whether the loss fell and the gap stays open even if everything goes well from here."""
        if not self.readings[-1].loss <= (1 - settings.loss_fall) * self.readings[0].loss:
            return False
        if now.over:  # a fact, not a forecast
            return self.readings[-1].logit_gap <= 0
        if now.rising or (now.total is not None and now.step < settings.judged_from * now.total):
            return False
        best = gaps.at_best(now.left, settings.speed_up, settings.noise)
        return self.readings[-1].logit_gap <= 0 and best < 0

    def _down_since(self, fall: float) -> int | None:
        """The first look of those at the end whose drag is below δ_0 - fall; None if the last is not."""
        since = None
        for step, reading in zip(reversed(self.steps), reversed(self.readings), strict=True):
            if not reading.drag < self.readings[0].drag - fall:
                break
            since = step
        return since

    def _finding(self, kind: Kind, now: Progress, since: int, gaps: Line | None) -> Finding:
        first, last = self.readings[0], self.readings[-1]
        end = None if gaps is None else last.logit_gap if now.over else gaps.ahead(now.left)
        end = None if now.total is None and not now.over else end
        share = None if end is None or first.logit_gap >= 0 else 1 - end / first.logit_gap
        overtook = next((s for s, r in zip(self.steps, self.readings, strict=True) if r.logit_gap > 0), None)
        return Finding(
            kind=kind,
            step=now.step,
            since=since,
            first=first,
            last=last,
            gap_end=end,
            share=share if share is not None and share > 0 else None,
            overtook=overtook,
            over=now.over,
        )

    def _say(self, finding: Finding) -> Finding | None:
        if finding.kind in self.said:
            return None
        self.said.add(finding.kind)
        return finding


def _finite(reading: Reading) -> bool:
    return all(map(math.isfinite, (reading.loss, reading.logit_gap, reading.order_parameter)))
