"""A law: for each training class a closure, an interval rule, and the domain on which both were calibrated."""

from __future__ import annotations

import functools
import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from phantom_dist.core.errors import InputError
from phantom_dist.law.calibration_row import CalibrationRow, by_training_class
from phantom_dist.law.closure import Closure, fit, residuals, search
from phantom_dist.law.domain import Domain, domain_of
from phantom_dist.law.groups import path_rate
from phantom_dist.law.intervals import Interval, conformal
from phantom_dist.law.law_input import LawInput
from phantom_dist.law.sufficiency_split import SufficiencyCount, SufficiencySplit, fit_split

LEVEL = 0.9
WIDENED = 2.0
"""Factor on half-widths (of ln η_c) outside the domain. No guarantee holds there, so coverage is measured
(`validation`)."""

FEWEST_MODELS = 3


@dataclass(frozen=True, slots=True)
class TrainingClassLaw:
    """The fitted law of one training class and its domain; `interval` is None with too few architectures."""

    closure: Closure
    interval: Interval | None
    domain: Domain
    models: int
    rows: int

    def half_width(self, probed: LawInput, *, in_domain: bool) -> float | None:
        """Half-width of the interval in ln η_c; None (withheld) where its necessary width was not measured."""
        if self.interval is None or not self.domain.width_is_measured(probed):
            return None
        return self.interval.half_width(probed) * (1.0 if in_domain else WIDENED)


@dataclass(frozen=True, slots=True)
class Prediction:
    """η_c and its interval, None where the law withholds them; `reason` says why, or why the domain is left."""

    eta_c: float | None
    interval: tuple[float, float] | None
    level: float
    in_domain: bool
    reason: str | None


@dataclass(frozen=True)
class Law:
    """The laws of the training classes, and what they were fitted to.

    Attributes:
        classes: laws by training class.
        rows: the calibration rows.
        provenance: the origin of the rows, as JSON; the prior law's provenance is nested under `prior`.
        lora: counts of LoRA sufficiency (`law.sufficiency_split`).
    """

    classes: Mapping[str, TrainingClassLaw]
    rows: Sequence[CalibrationRow]
    provenance: Mapping[str, Any] = field(default_factory=dict)
    lora: Sequence[SufficiencyCount] = ()

    @functools.cached_property
    def lora_split(self) -> SufficiencySplit | None:
        """Whether the readout's bulk predicts LoRA sufficiency; None where no run searched under LoRA."""
        return fit_split(self.lora) if self.lora else None

    @property
    def dropped(self) -> dict[str, int]:
        """Number of problems that gave no critical rate, by reason, including those of prior laws."""
        counts: Counter[str] = Counter()
        link: Mapping[str, Any] | None = self.provenance
        while link:
            counts.update(link.get("dropped") or {})
            link = link.get("prior")
        return dict(counts)

    def predict(self, probed: LawInput) -> Prediction:
        """The critical learning rate of a problem whose path was probed."""
        law = self.classes.get(probed.training_class)
        if law is None:
            known = ", ".join(sorted(self.classes))
            return Prediction(
                None, None, LEVEL, False, f"{probed.training_class} was not calibrated, calibrated: {known}"
            )
        reasons = law.domain.outside(probed)
        rate = path_rate(probed) * math.exp(law.closure.correction(probed))
        if law.interval is None:
            reasons.append("too few architectures were calibrated for an interval")
        half = law.half_width(probed, in_domain=not reasons)
        if half is None and law.interval is not None:
            reasons.append("the interval is withheld, because its necessary width was not measured here")
        bounds = None if half is None else (rate * math.exp(-half), rate * math.exp(half))
        return Prediction(rate, bounds, LEVEL, not reasons, "; ".join(reasons) or None)


def fit_law(rows: Sequence[CalibrationRow], provenance: Mapping[str, Any] | None = None) -> Law:
    """Fit every training class with rows of at least three models.

    Raises:
        InputError: there is no such class.
    """
    classes = {
        name: fit_training_class(members)
        for name, members in by_training_class(rows).items()
        if len({row.model for row in members}) >= FEWEST_MODELS
    }
    if not classes:
        raise InputError(
            f"fit: a training class (method and optimizer) needs critical rates of at least {FEWEST_MODELS} models; "
            f"there are {len(rows)} critical rate(s) of {len({row.model for row in rows})} model(s)"
        )
    return Law(classes, list(rows), provenance or {})


def fit_training_class(rows: Sequence[CalibrationRow], closure: Closure | None = None) -> TrainingClassLaw:
    """Fit the law of one training class; its intervals come from errors on architectures left out.

    Args:
        rows: rows of one training class.
        closure: None to search for it; `Closure()` for the unfitted core.
    """
    closure = search(rows) if closure is None else closure
    models = np.array([row.model for row in rows])
    errors = np.empty(len(rows))
    for model in np.unique(models):
        out = models == model
        rest = [row for row, left_out in zip(rows, out, strict=True) if not left_out]
        held_out = [row for row, left_out in zip(rows, out, strict=True) if left_out]
        refitted = fit(rest, closure.groups, closure.ridge) if closure.constants else closure
        errors[out] = residuals(held_out, refitted)
    return TrainingClassLaw(
        closure=closure,
        interval=conformal(rows, errors, LEVEL),
        domain=domain_of(rows, closure.groups),
        models=len(set(models.tolist())),
        rows=len(rows),
    )
