"""The predicted critical rate of one context, and a table of such predictions."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Self

from phantom_dist.core.outcome import Outcome
from phantom_dist.core.probe_result import ProbeResult, Refused
from phantom_dist.core.problem_columns import ProblemColumns, problem_columns
from phantom_dist.core.result import table
from phantom_dist.law.law import LEVEL, Law
from phantom_dist.law.law_input import law_input
from phantom_dist.records import probe_row, problem_row

if TYPE_CHECKING:
    from rich.table import Table


_EXPLAINED = re.compile(r"^(\w+) \((.+)\) is ")
"""The beginning of a reason that names a group and says in parentheses what it is."""

_REFUSED = {outcome.value for outcome in Outcome if outcome.refused}


@dataclass(frozen=True, kw_only=True, slots=True)
class PredictedRate(ProblemColumns):
    """The predicted critical rate of one context.

    Attributes:
        eta_c: the predicted rate; None where there is none, with a `reason`.
        interval: the interval at `level`; None where the law withholds it.
        in_domain: whether the problem is in the law's calibrated domain; if not, `reason` says why.
        kappa: κ in logits per step per unit learning rate; `gap_0`: g_0 in logits. None where the pair was refused
            before they were measured.
        near_synonym: whether the pair's overlap reaches the floor; None where that is unknown.
        held_out: whether the training data don't hold the prompt.
        trial_steps_used: cost of the prediction, in trial-steps.
    """

    eta_c: float | None
    interval: tuple[float, float] | None
    level: float
    in_domain: bool
    reason: str | None
    kappa: float | None
    gap_0: float | None
    trial_steps_used: float
    near_synonym: bool | None = None
    held_out: bool = False

    @property
    def refused(self) -> bool:
        """Whether the model can't or needn't be trained on the pair."""
        return self.eta_c is None and (self.reason or "").split(":")[0] in _REFUSED

    @property
    def reasons(self) -> list[str]:
        """Why there is no prediction, or why it is out of domain; empty inside."""
        return [] if self.in_domain or self.reason is None else self.reason.split("; ")

    def notes(self, said: Collection[str] = ()) -> list[str]:
        """What a reader should know of the prediction; `said`: reasons that stand elsewhere, so not here."""
        strangers = ["no near-synonyms"] if self.near_synonym is False else []
        strangers += ["held out"] if self.held_out else []
        if self.in_domain:
            return strangers
        left = ", and ".join(_EXPLAINED.sub(r"\1 is ", each) for each in self.reasons if each not in said)
        return [*strangers, f"out of domain: {left}" if left else "out of domain"]

    def to_json(self) -> dict[str, Any]:
        """The entry of `predictions` in the JSON of `predict`."""
        return self.problem_columns() | {
            "eta_c": self.eta_c,
            "interval": None if self.interval is None else list(self.interval),
            "level": self.level,
            "in_domain": self.in_domain,
            "reason": self.reason,
            "kappa": self.kappa,
            "gap_0": self.gap_0,
            "trial_steps_used": self.trial_steps_used,
            "near_synonym": self.near_synonym,
            "held_out": True if self.held_out else None,
        }

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> Self:
        """Decode an object that `to_json` made."""
        interval = value["interval"]
        own = {
            "interval": None if interval is None else (interval[0], interval[1]),
            "held_out": bool(value.get("held_out")),
        }
        return cls(**{**value, **own})


def predicted_rate(probed: ProbeResult, law: Law) -> PredictedRate:
    """What the law says of a probed problem."""
    problem = probed.problem
    row = problem_row(problem) | {k: v for k, v in probe_row(probed).items() if v is not None}
    if isinstance(probed, Refused):
        return unpredicted(row, f"{probed.outcome.value}: {probed.message}")
    if probed.estimated is None:
        return unpredicted(row, f"the first steps widen the gap (kappa = {probed.kappa:.3g})")
    predicted = law.predict(law_input(probe_row(probed), problem))
    return PredictedRate(
        **problem_columns(row),
        eta_c=predicted.eta_c,
        interval=predicted.interval,
        level=LEVEL,
        in_domain=predicted.in_domain,
        reason=predicted.reason,
        kappa=probed.kappa,
        gap_0=probed.gap_0,
        trial_steps_used=probed.trial_steps,
        near_synonym=row.get("near_synonym"),
        held_out=problem.context.held_out,
    )


def unpredicted(row: Mapping[str, Any], reason: str) -> PredictedRate:
    """The entry of a problem without a prediction; `row`: as `records.problem_row` makes it, and what else is known."""
    return PredictedRate(
        **problem_columns(row),
        eta_c=None,
        interval=None,
        level=LEVEL,
        in_domain=False,
        reason=reason,
        kappa=row.get("kappa"),
        gap_0=row.get("gap_0"),
        trial_steps_used=row.get("probe_trial_steps", 0.0),
        near_synonym=row.get("near_synonym"),
        held_out=bool(row.get("held_out")),
    )


VARYING = (
    "model", "way", "steps", "momentum", "weight_decay", "decay", "schedule", "warmup_steps", "lora_rank",
    "lora_alpha", "lora_targets", "lora_rslora", "seed", "precision", "gradient_clipping",
)  # fmt: skip
"""Columns that a table of predictions has where they differ."""


def predictions_text(predictions: Iterable[PredictedRate]) -> Iterable[str | Table]:
    """A table of predicted critical rates, one line each; model, method and settings are shown where they differ.

    What puts all of them out of domain, and what the groups are, stands below it once.
    """
    predictions = tuple(predictions)
    predicted = [set(entry.reasons) for entry in predictions if entry.eta_c is not None]
    said = set.intersection(*predicted) if len(predicted) > 1 else set()
    yield _table(predictions, said)
    for reason in sorted(said):
        yield f"All of these are out of domain: {reason}"
    explained = (
        _EXPLAINED.match(each) for entry in predictions for each in entry.reasons if each not in said
    )
    for name, meaning in sorted({(found[1], found[2]) for found in explained if found}):
        yield f"{name}: {meaning}"


def _table(predictions: Sequence[PredictedRate], said: Collection[str]) -> Table:
    varying = [name for name in VARYING if len({getattr(entry, name) for entry in predictions}) > 1]
    shown = table(
        "predicted critical learning rates",
        (*varying, "context", "target / competitor"),
        ("eta_c", "interval", "trial-steps"),
        ("note",),
    )
    for entry in predictions:
        interval = entry.interval
        shown.add_row(
            *("" if (value := getattr(entry, name)) is None else str(value) for name in varying),
            entry.context,
            f"{entry.target} /{entry.competitor}",
            "none" if entry.eta_c is None else f"{entry.eta_c:.5g}",
            "" if interval is None else f"{interval[0]:.5g} … {interval[1]:.5g} ({100 * entry.level:.0f} %)",
            f"{entry.trial_steps_used:.3g}",
            "; ".join(entry.notes(said)),
        )
    return shown
