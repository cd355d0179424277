"""A law: for each class of training its closure, its intervals and the domain that they were calibrated on."""

from __future__ import annotations

import functools
import json
import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np

from phantom_dist.core.errors import InputError
from phantom_dist.law.classes import Classes, fit_classes
from phantom_dist.law.closure import Closure, fit, residuals, search
from phantom_dist.law.groups import BY_NAME, Row, path_rate
from phantom_dist.law.intervals import Interval, conformal

FORMAT = 1
LEVEL = 0.9
DOMAIN = ("gap", "length", "last", "earlier", "overlap", "odds")
"""Groups whose calibrated range bounds the domain."""

MARGIN = 0.1
"""A value may leave the calibrated range by this share of its width."""

WIDENED = 2.0
"""Half-widths (of ln η_c) outside the domain are this many times as wide. No guarantee holds there."""

FEWEST_MODELS = 3


@dataclass(frozen=True, slots=True)
class ClassLaw:
    """What is fitted for one way of training; `domain` has the calibrated range of each group, and of `parameters`."""

    closure: Closure
    interval: Interval
    domain: dict[str, tuple[float, float]]
    settings: list[dict[str, Any]]
    models: int
    rows: int


@dataclass(frozen=True, slots=True)
class Prediction:
    """η_c with its interval; None where the law withholds it. `reason` says why it does, or why it is not in domain."""

    eta_c: float | None
    interval: tuple[float, float] | None
    level: float
    in_domain: bool
    reason: str | None


@dataclass(frozen=True)
class Law:
    """Class laws, the rows that they were fitted to, where those come from; and where LoRA sufficed (`law.classes`)."""

    classes: dict[str, ClassLaw]
    rows: list[Row]
    provenance: dict[str, Any] = field(default_factory=dict)
    lora: list[Row] = field(default_factory=list)

    @functools.cached_property
    def lora_classes(self) -> Classes | None:
        """Whether the readout's bulk tells if LoRA suffices (`law.classes`); None where no run said."""
        return fit_classes(self.lora) if self.lora else None

    def predict(self, row: Row) -> Prediction:
        """The critical learning rate of a problem whose path was probed; `row` as in `probes/`."""
        law = self.classes.get(class_of(row))
        if law is None:
            known = ", ".join(sorted(self.classes))
            return Prediction(
                None, None, LEVEL, False, f"{class_of(row)} was not calibrated; calibrated: {known}"
            )
        reasons = [*_foreign_settings(law, row), *_out_of_range(law, row)]
        rate = path_rate(row) * math.exp(law.closure.correction(row))
        half = law.interval.half_width(row) * (WIDENED if reasons else 1.0)
        if not math.isfinite(half):
            reasons.append("too few architectures were calibrated for an interval")
            return Prediction(rate, None, LEVEL, False, "; ".join(reasons))
        bounds = (rate * math.exp(-half), rate * math.exp(half))
        return Prediction(rate, bounds, LEVEL, not reasons, "; ".join(reasons) or None)

    def to_json(self) -> dict[str, Any]:
        """The contents of law.json."""
        return {
            "format": FORMAT,
            "provenance": self.provenance,
            "classes": {name: asdict(law) for name, law in self.classes.items()},
            "lora": self.lora,
            "calibration": self.rows,
        }


def class_of(row: Row) -> str:
    """`full sgd`, `full adamw`, `lora adamw`, …"""
    return f"{row['method']} {row['optimizer']}"


def by_class(rows: Sequence[Row]) -> dict[str, list[Row]]:
    """Rows by class, classes and rows in a fixed order."""
    result: dict[str, list[Row]] = {}
    for row in sorted(rows, key=lambda r: (class_of(r), str(r["model"]), r["steps"], str(r["context"]))):
        result.setdefault(class_of(row), []).append(row)
    return result


def fit_law(rows: Sequence[Row], provenance: dict[str, Any] | None = None) -> Law:
    """Fit every class that has rows of at least three models.

    Raises:
        InputError: no class has.
    """
    classes = {
        name: fit_class(members)
        for name, members in by_class(rows).items()
        if len({row["model"] for row in members}) >= FEWEST_MODELS
    }
    if not classes:
        raise InputError(
            f"fit: a class of training (method and optimizer) needs critical rates of at least {FEWEST_MODELS} models; "
            f"found {len({row['model'] for row in rows})} model(s) in {len(rows)} critical rate(s)"
        )
    return Law(classes, list(rows), provenance or {})


def fit_class(rows: Sequence[Row]) -> ClassLaw:
    """The law of one class; its intervals come from errors on architectures left out."""
    closure = search(rows)
    models = np.array([row["model"] for row in rows])
    errors = np.empty(len(rows))
    for model in np.unique(models):
        out = models == model
        rest = [row for row, left_out in zip(rows, out, strict=True) if not left_out]
        held = [row for row, left_out in zip(rows, out, strict=True) if left_out]
        refitted = fit(rest, closure.groups, closure.ridge) if closure.constants else closure
        errors[out] = residuals(held, refitted)
    settings: list[dict[str, Any]] = []
    for row in rows:
        if (own := _settings(row)) not in settings:
            settings.append(own)
    return ClassLaw(
        closure, conformal(rows, errors, LEVEL), _domain(rows), settings, len(set(models.tolist())), len(rows)
    )


def from_json(value: Any, where: str) -> Law:
    """A law from the contents of its file.

    Raises:
        InputError: it is no law, or of a newer format.
    """
    try:
        if value["format"] > FORMAT:
            raise InputError(f"{where}: law of format {value['format']}; this version reads up to {FORMAT}")
        classes = {
            name: ClassLaw(
                closure=Closure(
                    constant=item["closure"]["constant"],
                    groups=tuple(item["closure"]["groups"]),
                    weights=tuple(item["closure"]["weights"]),
                    ridge=item["closure"]["ridge"],
                ),
                interval=Interval(tuple(item["interval"]["weights"]), item["interval"]["quantile"]),
                domain={key: (low, high) for key, (low, high) in item["domain"].items()},
                settings=item["settings"],
                models=item["models"],
                rows=item["rows"],
            )
            for name, item in value["classes"].items()
        }
        return Law(classes, value["calibration"], value["provenance"], value.get("lora", []))
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise InputError(f"{where}: no law file ({type(error).__name__}: {error})") from None


def dumps(law: Law) -> str:
    """law.json: one calibration row a line, so that a change can be read."""
    head = law.to_json()
    tables = {name: head.pop(name) for name in ("lora", "calibration")}
    text = json.dumps(head, indent=1, allow_nan=True)[:-2]
    for name, rows in tables.items():
        lines = ",\n  ".join(json.dumps(row) for row in rows)
        text += f',\n "{name}": [\n  {lines}\n ]'
    return text + "\n}\n"


def _settings(row: Row) -> dict[str, Any]:
    keys = ("momentum", "weight_decay", "schedule", "precision")
    return {key: row[key] for key in keys + (("lora_rank", "lora_alpha") if row["method"] == "lora" else ())}


def _foreign_settings(law: ClassLaw, row: Row) -> list[str]:
    own = _settings(row)
    if own in law.settings:
        return []
    # Said of the nearest settings: those that differ in the fewest.
    other = min(law.settings, key=lambda known: sum(known.get(key) != value for key, value in own.items()))
    words = ", ".join(f"{key} {value}" for key, value in own.items() if value != other.get(key))
    return [f"not calibrated with {words}"]


def _domain(rows: Sequence[Row]) -> dict[str, tuple[float, float]]:
    values = {name: [BY_NAME[name].value(row) for row in rows] for name in DOMAIN}
    values["ln parameters"] = [math.log(row["parameters"]) for row in rows]
    return {name: (min(numbers), max(numbers)) for name, numbers in values.items()}


def _out_of_range(law: ClassLaw, row: Row) -> list[str]:
    reasons = []
    for name, (low, high) in law.domain.items():
        value = math.log(row["parameters"]) if name == "ln parameters" else BY_NAME[name].value(row)
        slack = MARGIN * (high - low) + 1e-9
        if not low - slack <= value <= high + slack:
            meaning = BY_NAME[name].meaning if name in BY_NAME else name
            reasons.append(f"{name} ({meaning}) is {value:.3g}, calibrated from {low:.3g} to {high:.3g}")
    return reasons
