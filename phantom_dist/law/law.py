"""A law: for each class of training its closure, its intervals and the domain that they were calibrated on."""

from __future__ import annotations

import functools
import json
import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np

from phantom_dist.core.errors import InputError
from phantom_dist.law.classes import Classes, fit_classes
from phantom_dist.law.closure import Closure, fit, residuals, search
from phantom_dist.law.domain import Domain, domain_of
from phantom_dist.law.groups import Row, path_rate
from phantom_dist.law.intervals import Interval, conformal

FORMAT = 2
LEVEL = 0.9
WIDENED = 2.0
"""Half-widths (of ln η_c) outside the domain are this many times as wide. No guarantee holds there, so the coverage is
measured (`validation`)."""

FEWEST_MODELS = 3


@dataclass(frozen=True, slots=True)
class ClassLaw:
    """What is fitted for one way of training, and where; `interval`: None where there are too few architectures."""

    closure: Closure
    interval: Interval | None
    domain: Domain
    models: int
    rows: int

    def half_width(self, row: Row, *, in_domain: bool) -> float | None:
        """Half the interval, of ln η_c; None where it is withheld, as nothing that was measured says how wide it is."""
        if self.interval is None or not self.domain.tells_width(row):
            return None
        return self.interval.half_width(row) * (1.0 if in_domain else WIDENED)


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

    @property
    def dropped(self) -> dict[str, int]:
        """How many problems of the calibration gave no critical rate, by reason; those of the prior laws included."""
        counts: Counter[str] = Counter()
        link: dict[str, Any] | None = self.provenance
        while link:
            counts.update(link.get("dropped") or {})
            link = link.get("prior")
        return dict(counts)

    def predict(self, row: Row) -> Prediction:
        """The critical learning rate of a problem whose path was probed; `row` as in `probes/`."""
        law = self.classes.get(class_of(row))
        if law is None:
            known = ", ".join(sorted(self.classes))
            return Prediction(
                None, None, LEVEL, False, f"{class_of(row)} was not calibrated; calibrated: {known}"
            )
        reasons = law.domain.outside(row)
        rate = path_rate(row) * math.exp(law.closure.correction(row))
        if law.interval is None:
            reasons.append("too few architectures were calibrated for an interval")
        half = law.half_width(row, in_domain=not reasons)
        if half is None and law.interval is not None:
            reasons.append("no interval is given, as nothing that was measured says how wide it must be")
        bounds = None if half is None else (rate * math.exp(-half), rate * math.exp(half))
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


def fit_class(rows: Sequence[Row], closure: Closure | None = None) -> ClassLaw:
    """The law of one class; its intervals come from errors on architectures left out.

    Args:
        rows: of one class.
        closure: None: search for it; `Closure()`: the unfitted core.
    """
    closure = search(rows) if closure is None else closure
    models = np.array([row["model"] for row in rows])
    errors = np.empty(len(rows))
    for model in np.unique(models):
        out = models == model
        rest = [row for row, left_out in zip(rows, out, strict=True) if not left_out]
        held = [row for row, left_out in zip(rows, out, strict=True) if left_out]
        refitted = fit(rest, closure.groups, closure.ridge) if closure.constants else closure
        errors[out] = residuals(held, refitted)
    return ClassLaw(
        closure=closure,
        interval=conformal(rows, errors, LEVEL),
        domain=domain_of(rows, closure.groups),
        models=len(set(models.tolist())),
        rows=len(rows),
    )


def from_json(value: Any, where: str) -> Law:
    """A law from the contents of its file.

    Raises:
        InputError: it is no law, or of a newer format.
    """
    try:
        if value["format"] > FORMAT:
            raise InputError(f"{where}: law of format {value['format']}; this version reads up to {FORMAT}")
        if value["format"] < FORMAT:
            # What a class says beside its closure and intervals follows from its rows.
            value = to_format_2(value)
        classes = {
            name: ClassLaw(
                closure=Closure(
                    constant=item["closure"]["constant"],
                    groups=tuple(item["closure"]["groups"]),
                    weights=tuple(item["closure"]["weights"]),
                    ridge=item["closure"]["ridge"],
                ),
                interval=item["interval"]
                and Interval(tuple(item["interval"]["weights"]), item["interval"]["quantile"]),
                domain=Domain(
                    {key: (low, high) for key, (low, high) in item["domain"]["ranges"].items()},
                    item["domain"]["settings"],
                    item["domain"]["parameters"],
                ),
                models=item["models"],
                rows=item["rows"],
            )
            for name, item in value["classes"].items()
        }
        return Law(classes, value["calibration"], value["provenance"], value.get("lora", []))
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise InputError(f"{where}: no law file ({type(error).__name__}: {error})") from None


def to_format_2(value: dict[str, Any]) -> dict[str, Any]:
    """A law file of format 1: settings and sizes were kept beside the domain, no interval was an infinite one."""
    classes = {}
    for name, item in value["classes"].items():
        rows = [row for row in value["calibration"] if class_of(row) == name]
        interval = item["interval"] if math.isfinite(item["interval"]["quantile"]) else None
        domain = asdict(domain_of(rows, item["closure"]["groups"]))
        classes[name] = {key: item[key] for key in ("closure", "models", "rows")} | {
            "interval": interval,
            "domain": domain,
        }
    return value | {"classes": classes}


def dumps(law: Law) -> str:
    """law.json: one calibration row a line, so that a change can be read."""
    head = law.to_json()
    tables = {name: head.pop(name) for name in ("lora", "calibration")}
    text = json.dumps(head, indent=1, allow_nan=False)[:-2]
    for name, rows in tables.items():
        lines = ",\n  ".join(json.dumps(row) for row in rows)
        text += f',\n "{name}": [\n  {lines}\n ]'
    return text + "\n}\n"
