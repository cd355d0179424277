"""A warning as text: what fails silently, since when, and the learning rate against first order and the law."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

from phantom_dist.monitor.rate import LawComparison
from phantom_dist.monitor.verdict import Finding
from phantom_dist.monitor.watch import Watched


@dataclass(frozen=True, kw_only=True, slots=True)
class SilentFailure:
    """A warning, given once for each context and kind.

    Attributes:
        watched: the context.
        finding: the failure in numbers.
        learning_rate: the current one; None where it is unknown and the monitor counts steps.
        law: the comparison with the law; None where the law doesn't apply.
    """

    watched: Watched
    finding: Finding
    learning_rate: float | None
    law: LawComparison | None

    @property
    def message(self) -> str:
        """The warning, one paragraph."""
        context, pair, finding = self.watched.context, self.watched.tokens, self.finding
        if finding.kind == "diverged":
            return (
                f"phantom_dist: at step {finding.step} the model's logits after context {context.id!r} are NaN or Inf; "
                "the monitor gives no further warning on it."
            )
        parts = [
            f"phantom_dist: silent failure ({finding.kind}) in context {context.id!r} since step {finding.since}: "
            f"the loss on {pair.target_text!r} fell from {finding.first.loss:.2f} to {finding.last.loss:.2f} while the "
            f"gap to {pair.competitor_text!r} stays at {finding.last.logit_gap:+.2f} logits "
            f"(at first {finding.first.logit_gap:+.2f}), so the model still prefers {pair.competitor_text!r}.",
            self._cause(),
            self._pace(),
        ]
        if self.law is not None:
            parts.append(
                f"The law, for training on this context alone from here: Π = {self.law.pi:.2g} against a critical "
                f"{self.law.pi_c[0]:.2g} to {self.law.pi_c[1]:.2g} ({self.law.training_class}; {self.law.reason})."
            )
        return " ".join(part for part in parts if part)

    def _cause(self) -> str:
        finding = self.finding
        relapse = (
            "" if finding.overtook is None else f" It had overtaken at step {finding.overtook} and fell back."
        )
        if finding.kind == "structural":
            return (
                f"The drag worsened from {finding.first.drag:+.3f} to {finding.last.drag:+.3f}: the other words of the "
                f"vocabulary favour the competitor.{relapse}"
            )
        signal = finding.last.signal
        return (
            f"The signal is {signal:+.3f} and the drag has not worsened: the training is too weak.{relapse}"
        )

    def _pace(self) -> str:
        finding = self.finding
        if finding.over:
            return (
                ""
                if finding.share is None
                else f"Training closed {finding.share:.0%} of the gap and is over."
            )
        if finding.gap_end is None:
            return "Even as many steps again at twice this pace would not close it."
        if finding.share is None:
            return "At this pace the gap widens, so a larger learning rate alone is no remedy."
        if self.learning_rate is None:
            return (
                f"At this pace training ends at a gap of {finding.gap_end:+.2f}: to first order the training uses "
                f"{finding.share:.2g} of the critical learning rate (no rate is known, so steps were counted)."
            )
        return (
            f"At this pace training ends at a gap of {finding.gap_end:+.2f}: to first order the learning rate in use "
            f"({self.learning_rate:.3g} now) is {finding.share:.2g} of the critical one."
        )

    def row(self) -> dict[str, Any]:
        """The warning as a row of the record."""
        finding = self.finding
        return {
            "row": "warning",
            "context": self.watched.context.id,
            "kind": finding.kind,
            "step": finding.step,
            "since": finding.since,
            "gap_end": finding.gap_end,
            "share_of_critical": finding.share,
            "learning_rate": self.learning_rate,
            "first": asdict(finding.first),
            "last": asdict(finding.last),
            "law": None if self.law is None else self.law.to_json(),
            "message": self.message,
        }
