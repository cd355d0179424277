"""Decides from the looks whether to warn: the loss falls, and the right word will not overtake in time.

The functions are pure: numbers in, a decision out. The two kinds are those of a trial's outcome
(`instruments.outcome`): structural where the drag has fallen by more than the threshold, otherwise kinematic. The names
are from arXiv 2606.07559, the rules are our own. The same rules apply where a word had overtaken and fell behind again.
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
class TrainingProgress:
    """How far training has come.

    Attributes:
        step: optimizer steps taken.
        total: steps of the whole training; None if unknown.
        tau: τ, the sum of learning rates so far.
        left: the remaining sum of learning rates; `tau` where `total` is unknown.
        rising: the learning rate is still warming up.
        over: training has ended.
    """

    step: int
    total: int | None
    tau: float
    left: float
    rising: bool
    over: bool = False


@dataclass(frozen=True, kw_only=True, slots=True)
class Finding:
    """A silent failure in numbers; gaps in logits, losses in nats.

    Attributes:
        kind: `kinematic`, `structural`, or `diverged`.
        step: the step of this finding.
        since: the first step of the consecutive looks that agree; for a structural failure, the step since which the
            drag has been low.
        first: reading of the first look.
        last: reading of the latest look.
        gap_end: the gap at the end of training, at its present pace; None where the training's length is unknown.
        share: the share of the first gap that is closed by then. To first order it is this learning rate as a multiple
            of the critical one. None where the gap widens or `gap_end` is None.
        overtook: the first step at which the right word was ahead; None where it never was.
        over: training has ended.
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
class LookHistory:
    """All looks at one context, and the kinds of warnings already given.

    Attributes:
        steps: of the looks.
        taus: τ at each.
        readings: one for each.
        agreeing: how many of the latest looks in a row meet the conditions of a warning.
        warned: kinds that `judge` has already returned.
    """

    steps: list[int] = field(default_factory=list)
    taus: list[float] = field(default_factory=list)
    readings: list[Reading] = field(default_factory=list)
    agreeing: int = 0
    warned: set[Kind] = field(default_factory=set)

    def add(self, reading: Reading, now: TrainingProgress, settings: MonitorSettings) -> Finding | None:
        """Add a look's reading; returns a finding where a warning is due that was not given yet."""
        self.steps.append(now.step)
        self.taus.append(now.tau)
        self.readings.append(reading)
        return self.judge(now, settings)

    def judge(self, now: TrainingProgress, settings: MonitorSettings) -> Finding | None:
        """Judge the looks so far; call it again, without a new look, once training is over."""
        if not _finite(self.readings[-1]):
            return self._once(self._finding("diverged", now, now.step, None))
        enough = settings.fewest_looks if not now.over else 2
        if "diverged" in self.warned or len(self.steps) < enough:
            return None
        gaps = line(self.taus, [r.logit_gap for r in self.readings])
        self.agreeing = self.agreeing + 1 if self._fails(gaps, now, settings) else 0
        if self.agreeing < (1 if now.over else settings.streak):
            return None
        low_since = self._low_drag_since(settings.thresholds.structural_drag)
        if low_since is not None:
            return self._once(self._finding("structural", now, low_since, gaps))
        return self._once(self._finding("kinematic", now, self.steps[-self.agreeing], gaps))

    def _fails(self, gaps: Line, now: TrainingProgress, settings: MonitorSettings) -> bool:
        """Whether the loss fell and the gap stays open even under the most optimistic forecast."""
        if not self.readings[-1].loss <= (1 - settings.loss_fall) * self.readings[0].loss:
            return False
        if now.over:  # a fact, not a forecast
            return self.readings[-1].logit_gap <= 0
        if now.rising or (now.total is not None and now.step < settings.judged_from * now.total):
            return False
        best = gaps.at_best(now.left, settings.speed_up, settings.noise)
        return self.readings[-1].logit_gap <= 0 and best < 0

    def _low_drag_since(self, fall: float) -> int | None:
        """The step since which every look's drag is below δ_0 - fall; None if that of the latest is not."""
        since = None
        for step, reading in zip(reversed(self.steps), reversed(self.readings), strict=True):
            if not reading.drag < self.readings[0].drag - fall:
                break
            since = step
        return since

    def _finding(self, kind: Kind, now: TrainingProgress, since: int, gaps: Line | None) -> Finding:
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

    def _once(self, finding: Finding) -> Finding | None:
        """The finding; None where one of its kind was returned before."""
        if finding.kind in self.warned:
            return None
        self.warned.add(finding.kind)
        return finding


def _finite(reading: Reading) -> bool:
    return all(map(math.isfinite, (reading.loss, reading.logit_gap, reading.order_parameter)))
