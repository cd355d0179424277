"""A warning in words: what fails silently, since when, and what first order and the law say of the learning rate."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

from phantom_dist.monitor.rate import LawSays
from phantom_dist.monitor.verdict import Finding
from phantom_dist.monitor.watch import Watched


@dataclass(frozen=True, kw_only=True, slots=True)
class SilentFailure:
    """What a user is told once for each context and kind; `law` is None where the law has no word on it.

    `learning_rate` is None where no optimizer says it and steps were counted.
    """

    watched: Watched
    finding: Finding
    learning_rate: float | None
    law: LawSays | None

    @property
    def message(self) -> str:
        """The warning, one paragraph."""
        context, pair, found = self.watched.context, self.watched.tokens, self.finding
        if found.kind == "diverged":
            return (
                f"phantom_dist: at step {found.step} the model's logits after context {context.id!r} are no longer "
                "finite numbers; nothing more can be said of it."
            )
        parts = [
            f"phantom_dist: silent failure ({found.kind}) in context {context.id!r} since step {found.since}: "
            f"the loss on {pair.target_text!r} fell from {found.first.loss:.2f} to {found.last.loss:.2f} while the gap "
            f"to {pair.competitor_text!r} stays at {found.last.logit_gap:+.2f} logits "
            f"(at first {found.first.logit_gap:+.2f}), so the model still prefers {pair.competitor_text!r}.",
            self._how(),
            self._pace(),
        ]
        if self.law is not None:
            parts.append(
                f"The law, for training on this context alone from here: Π = {self.law.pi:.2g} against a critical "
                f"{self.law.pi_c[0]:.2g} to {self.law.pi_c[1]:.2g} ({self.law.way}; {self.law.reason})."
            )
        return " ".join(part for part in parts if part)

    def _how(self) -> str:
        found = self.finding
        again = "" if found.overtook is None else f" It had overtaken at step {found.overtook} and fell back."
        if found.kind == "structural":
            return (
                f"The drag worsened from {found.first.drag:+.3f} to {found.last.drag:+.3f}: the words around lean to "
                f"the rival.{again}"
            )
        return f"The signal is {found.last.signal:+.3f} and the drag has not worsened: the training is too weak.{again}"

    def _pace(self) -> str:
        found = self.finding
        if found.over:
            return "" if found.share is None else f"Training closed {found.share:.0%} of the gap and is over."
        if found.gap_end is None:
            return "Even as many steps again at twice this pace would not close it."
        if found.share is None:
            return "At this pace the gap widens, so a larger learning rate alone is no remedy."
        if self.learning_rate is None:
            return (
                f"At this pace training ends at a gap of {found.gap_end:+.2f}: to first order {found.share:.2g} of the "
                "critical learning rate is in use (no rate is known, so steps were counted)."
            )
        return (
            f"At this pace training ends at a gap of {found.gap_end:+.2f}: to first order the learning rate in use "
            f"({self.learning_rate:.3g} now) is {found.share:.2g} of the critical one."
        )

    def row(self) -> dict[str, Any]:
        """The warning as a row of the record."""
        found = self.finding
        return {
            "row": "warning",
            "context": self.watched.context.id,
            "kind": found.kind,
            "step": found.step,
            "since": found.since,
            "gap_end": found.gap_end,
            "share_of_critical": found.share,
            "learning_rate": self.learning_rate,
            "first": asdict(found.first),
            "last": asdict(found.last),
            "law": None if self.law is None else asdict(self.law),
            "message": self.message,
        }
