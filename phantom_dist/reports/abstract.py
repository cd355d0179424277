"""What a run shows, in the order and the words of the abstract of arXiv 2606.07559, and where the two disagree.

The claims are the paper's; the numbers, and the measures behind them, are this project's (`instruments`, `verdict`). A
claim that a run can't test is not mentioned.
"""

from __future__ import annotations

import statistics
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass

from phantom_dist.core.outcome import Outcome
from phantom_dist.reports.phrases import count_of
from phantom_dist.reports.predictions import CALIBRATED
from phantom_dist.reports.rows import Row, Rows
from phantom_dist.reports.verdict import Frozen, Jumps, frozen, jumps, verdict

NEAR = 2.0
"""Up to this ratio to the critical rate, either way, a trial counts as near it."""

FAILED = (Outcome.KINEMATIC, Outcome.STRUCTURAL)


@dataclass(frozen=True, kw_only=True)
class Onset:
    """Where something begins: the smallest η / η_c of each problem in which it was seen."""

    ratios: list[float]
    problems: int

    @property
    def text(self) -> str:
        """The median and the range, in units of the critical rate."""
        if not self.ratios:
            return f"in none of {self.problems} problems"
        low, middle, high = map(times, (min(self.ratios), statistics.median(self.ratios), max(self.ratios)))
        spread = "" if low == high else f"median; {low} to {high}; "
        return f"from {middle} times the critical rate on ({spread}in {len(self.ratios)} of {self.problems} problems)"


def times(ratio: float) -> str:
    """Two significant digits without an exponent."""
    return f"{float(f'{ratio:.2g}'):g}"


def onset(trials: Iterable[Row], begins: Callable[[Row], bool]) -> Onset:
    """The smallest tried η / η_c at which a trial above its critical rate has begun it, in each problem with a rate."""
    lowest: dict[int, float | None] = {}
    for row in trials:
        if row["ratio"] is None:
            continue
        known = lowest.setdefault(row["number"], None)
        if row["ratio"] > 1 and begins(row) and (known is None or row["ratio"] < known):
            lowest[row["number"]] = row["ratio"]
    return Onset(ratios=[ratio for ratio in lowest.values() if ratio is not None], problems=len(lowest))


def jumped(row: Row) -> bool:
    """Whether the trial has a jump."""
    return row.get("jump_step") is not None


def ended_as(outcome: Outcome) -> Callable[[Row], bool]:
    """Whether a trial ended with this outcome."""
    return lambda row: bool(row["outcome"] == outcome)


def abstract(rows: Rows) -> str:
    """A paragraph; empty for a run without trained trials."""
    if not rows.trials:
        return ""
    by_method, readout = jumps(rows), frozen(rows)
    differs = list(_disagreements(rows, by_method, readout))
    last = (
        f"Against the paper’s claims: {'; '.join(differs)}."
        if differs
        else "Nothing here contradicts the paper’s claims."
    )
    return " ".join([*_sentences(rows, verdict(by_method, readout)), last])


def _sentences(rows: Rows, judgement: str) -> Iterator[str]:
    trials = rows.trials
    models, pairs = ({row[name] for row in trials} for name in ("model", "pair"))
    yield (
        f"{count_of(trials, 'trial')} of {count_of(list(models), 'model')} on {count_of(list(pairs), 'context')}; "
        f"{len(rows.located)} of {count_of(rows.problems, 'critical rate')} located."
    )
    if below := _failed_below(trials):
        silent = sum(bool(row.get("silent")) for row in below)
        yield (
            f"Below the critical rate fine-tuning fails silently in {silent} of {count_of(below, 'trial')}: the loss "
            "falls at every step while the right word never overtakes its competitor."
        )
    if failed := [row for row in trials if row["outcome"] in FAILED]:
        kinematic = sum(row["outcome"] == Outcome.KINEMATIC for row in failed)
        yield (
            f"Of {count_of(failed, 'failure')} at any rate {kinematic} are kinematic (the signal stays small) and "
            f"{len(failed) - kinematic} structural (the drag worsens)."
        )
    if near := _near(trials):
        jumping = sum(map(jumped, near))
        yield (
            f"Of {count_of(near, 'trial')} within a factor of {NEAR:g} of the critical rate {jumping or 'none'} "
            f"{'jump' if jumping > 1 else 'jumps'}{'' if jumping else ': the right word takes the lead gradually'}."
        )
    begun = onset(trials, jumped)
    if begun.ratios:
        yield f"Sharp jumps of the order parameter occur {begun.text}."
    yield judgement
    for what, outcome in (
        ("The right word is overtaken again", Outcome.RELAPSED),
        ("Trainings diverge", Outcome.DIVERGED),
    ):
        if (lost := onset(trials, ended_as(outcome))).ratios:
            yield f"{what} {lost.text}."
    unseen = [row for row in rows.predictions if row["known"] != CALIBRATED]
    if unseen:
        errors = [100 * abs(1 / row["found_ratio"] - 1) for row in unseen]
        yield (
            f"Where the law had not seen the architecture, its predictions of {count_of(errors, 'critical rate')} are "
            f"off by {statistics.median(errors):.2g} % in the median, {max(errors):.2g} % at most (the paper’s: 2.1 %)."
        )


def _disagreements(rows: Rows, by_method: dict[str, Jumps], readout: Frozen) -> Iterator[str]:
    below = _failed_below(rows.trials)
    loud = sum(not row.get("silent") for row in below)
    if 2 * loud > len(below):
        yield f"most failures below the critical rate are not silent ({loud} of {len(below)}: their loss rises once)"
    full, lora = by_method.get("full"), by_method.get("lora")
    if full is not None and full.mostly_readout < full.count:
        yield (
            f"{full.count - full.mostly_readout} of {full.count} jumps under full fine-tuning are made by the geometry "
            "for the larger part, and so are no phantoms"
        )
    if full is not None and full.count and lora is not None and not lora.count:
        yield f"none of {lora.trials} LoRA trials jumps, where full fine-tuning does"
    if readout.identical < readout.trials:
        yield f"the readout matrix changes in {readout.trials - readout.identical} of {readout.trials} LoRA trials"
    failed = [row["outcome"] for row in rows.trials if row["outcome"] in FAILED]
    if len(failed) >= FEW and len(set(failed)) == 1:
        missing = next(outcome.value for outcome in FAILED if outcome not in failed)
        yield f"of the two failure modes one does not occur here ({missing})"


FEW = 10
"""With fewer failures than these, a failure mode that does not occur says nothing."""


def _failed_below(trials: Iterable[Row]) -> list[Row]:
    """Failures below the critical rate, and those of problems without one."""
    return [row for row in trials if row["outcome"] in FAILED and (row["ratio"] is None or row["ratio"] < 1)]


def _near(trials: Iterable[Row]) -> list[Row]:
    return [row for row in trials if row["ratio"] is not None and 1 / NEAR <= row["ratio"] <= NEAR]
