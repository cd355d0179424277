"""The predicted critical rate of one context, and a table of such predictions."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Self

from phantom_dist.core.problem_columns import ProblemColumns
from phantom_dist.core.result import table

if TYPE_CHECKING:
    from rich.table import Table


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

    @property
    def notes(self) -> list[str]:
        """What a reader should know of the prediction."""
        strangers = ["no near-synonyms"] if self.near_synonym is False else []
        return strangers if self.in_domain else [*strangers, f"out of domain: {self.reason}"]

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
        }

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> Self:
        """Decode an object that `to_json` made."""
        interval = value["interval"]
        return cls(**{**value, "interval": None if interval is None else (interval[0], interval[1])})


VARYING = (
    "model", "training_class", "steps", "momentum", "weight_decay", "decay", "schedule", "warmup_steps", "lora_rank",
    "lora_alpha", "lora_targets", "lora_rslora", "seed", "precision", "gradient_clipping",
)  # fmt: skip
"""Columns that a table of predictions has where they differ."""


def predictions_table(predictions: Iterable[PredictedRate]) -> Table:
    """A table of predicted critical rates, one line each; model, method and settings are shown where they differ."""
    predictions = tuple(predictions)
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
            "; ".join(entry.notes),
        )
    return shown
