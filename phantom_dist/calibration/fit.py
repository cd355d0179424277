"""`fit`: a law from runs and a prior law."""

from __future__ import annotations

import dataclasses
import datetime
import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from importlib import metadata
from typing import TYPE_CHECKING, Any

from phantom_dist.calibration.calibrate import MeasurementKey, Observer, calibrate
from phantom_dist.calibration.lora_sufficiency import merge_counts, sufficiency_counts
from phantom_dist.core.result import Result, table
from phantom_dist.law.calibration_row import CalibrationRow, by_training_class
from phantom_dist.law.closure import Closure
from phantom_dist.law.file import read_law, write_law
from phantom_dist.law.file_format import calibration_digest
from phantom_dist.law.law import Law, fit_law, fit_training_class
from phantom_dist.law.validation import (
    HeldOutPrediction,
    IntervalSummary,
    Validation,
    beats_core,
    leave_one_out,
    validate,
)

if TYPE_CHECKING:
    from rich.table import Table


@dataclass(frozen=True, kw_only=True, slots=True)
class FittedClass:
    """The fit of one training class: number of constants, groups, and numbers of models and rows."""

    constants: int
    groups: tuple[str, ...]
    models: int
    rows: int


@dataclass(frozen=True, kw_only=True, slots=True)
class FitResult(Result):
    """The result of `fit`, with the path of the law file.

    Attributes:
        file: path of the law file.
        rows: number of critical rates that the law was fitted to; `new_rows`: those not in the prior law.
        dropped: number of problems of the runs that gave no critical rate, by reason.
        models: the models of these rates.
        classes: the fits by training class.
        lora: verdict on LoRA sufficiency; None where no run searched under LoRA.
        validation: the law's errors on architectures left out, for each training class and T.
    """

    file: str
    rows: int
    new_rows: int
    dropped: Mapping[str, int]
    models: tuple[str, ...]
    classes: Mapping[str, FittedClass]
    lora: str | None
    validation: tuple[Validation, ...]

    def to_json(self) -> dict[str, Any]:
        """The JSON object of `fit`."""
        return {
            "file": self.file,
            "rows": self.rows,
            "new_rows": self.new_rows,
            "dropped": dict(self.dropped),
            "models": list(self.models),
            "classes": {
                name: dataclasses.asdict(item) | {"groups": list(item.groups)}
                for name, item in self.classes.items()
            },
            "lora": self.lora,
            "validation": [entry.to_json() for entry in self.validation],
        }

    def parts(self) -> Iterable[str | Table]:
        """The data that the law was fitted to, and its errors on architectures left out."""
        yield (
            f"{self.file}: fitted to {self.rows} critical rates ({self.new_rows} new) of {len(self.models)} models"
        )
        for name, item in self.classes.items():
            groups = ", ".join(item.groups) or "none"
            yield f"  {name}: {item.constants} fitted constants; groups: {groups}"
        if self.lora is not None:
            yield f"  LoRA: {self.lora}"
        yield validation_table(self.validation)


def validation_table(validation: Iterable[Validation]) -> Table:
    """A table of errors on architectures left out, one line for each training class and T."""
    shown = table(
        "errors on architectures left out",
        ("class", "T", "architectures", "contexts"),
        (
            "context: median",
            "90th percentile",
            "architecture: median",
            "worst",
            "90 % intervals cover",
            "upper / lower end",
            "out of domain: cover",
        ),
    )
    for entry in validation:
        errors, intervals = entry.errors, entry.intervals
        sizes = (
            errors.context_error_median,
            errors.context_error_p90,
            errors.architecture_error_median,
            errors.architecture_error_max,
        )
        shown.add_row(
            entry.training_class,
            *map(str, (entry.steps, errors.architectures, errors.contexts)),
            *(f"{100 * size:.2f} %" for size in sizes),
            *_interval_cells(intervals),
        )
    return shown


def _interval_cells(intervals: IntervalSummary | None) -> tuple[str, str, str]:
    if intervals is None:
        return "none", "none", "none"
    covers = intervals.coverage_90
    width = intervals.interval_width_median
    return (
        "none" if covers is None else f"{100 * covers:.2f} %",
        "none" if width is None else f"{width:.3f}",
        outside_domain(intervals),
    )


def outside_domain(intervals: IntervalSummary) -> str:
    """Coverage of the intervals outside the domain, `N of M`, and the number of withheld ones."""
    given, share = intervals.out_of_domain - intervals.withheld, intervals.coverage_out_of_domain
    cover = "" if share is None else f"{round(given * share)} of {given}"
    withheld = f"{intervals.withheld} withheld" if intervals.withheld else ""
    return ", ".join(part for part in (cover, withheld) if part) or "none"


def fit(
    directories: Sequence[str | os.PathLike[str]] = (),
    *,
    out: str | os.PathLike[str],
    prior: str | os.PathLike[str] | None = None,
    alone: bool = False,
    lora: Sequence[str | os.PathLike[str]] = (),
    observer: Observer | None = None,
) -> FitResult:
    """Fit the critical-rate law and write its file.

    The runs' critical rates are added to those of the prior law. The path of each new one is probed first (4 to 6
    trial-steps), so its model must be reachable.

    Args:
        directories: run directories.
        out: the law file to write.
        prior: law file whose calibration is extended; None for the shipped one.
        alone: use no prior.
        lora: more run directories, of which only LoRA sufficiency is counted; their critical rates are not used.
        observer: called with (done, total) after each probed path.

    Raises:
        InputError: a directory contains no run, a model can't be reached, or there are too few models for a fit.
        StoreError: the file can't be written.
    """
    before = None if alone else read_law(prior)
    old = [] if before is None else [dataclasses.replace(row, held_out=None) for row in before.rows]
    new = calibrate(directories, set(map(MeasurementKey.of_row, old)), observer)
    rows = [*old, *new.rows]
    law = fit_law(rows, _provenance(rows, before, [*directories, *lora], len(new.rows), new.dropped))
    law, predictions = _fall_back_to_core(law)
    with_prediction = {id(p.row): p.with_row() for p in predictions}
    earlier = [] if before is None else list(before.lora)
    law = dataclasses.replace(
        law,
        rows=[with_prediction.get(id(row), row) for row in rows],
        lora=merge_counts(earlier, sufficiency_counts([*directories, *lora], earlier)),
    )
    write_law(law, out)
    return FitResult(
        file=os.fspath(out),
        rows=len(rows),
        new_rows=len(new.rows),
        dropped=new.dropped,
        models=tuple(sorted({row.model for row in rows})),
        classes={
            name: FittedClass(
                constants=item.closure.constants,
                groups=item.closure.groups,
                models=item.models,
                rows=item.rows,
            )
            for name, item in law.classes.items()
        },
        lora=None if law.lora_split is None else law.lora_split.verdict,
        # `make bench-law` compares with the simpler rules. Here a power law may have no data: where only one model has
        # some T, leaving it out leaves nothing to fit to.
        validation=tuple(validate(predictions, rules={})),
    )


def _fall_back_to_core(law: Law) -> tuple[Law, list[HeldOutPrediction]]:
    """Replace each closure that doesn't beat the unfitted core; also return the held-out predictions of all rows."""
    classes = dict(law.classes)
    predictions: list[HeldOutPrediction] = []
    # A class without a law has too few models to leave one out.
    for name, members in by_training_class(row for row in law.rows if row.training_class in classes).items():
        left_out = leave_one_out(members)
        if not beats_core(left_out):
            classes[name] = fit_training_class(members, Closure())
            left_out = leave_one_out(members, Closure())
        predictions += left_out
    return dataclasses.replace(law, classes=classes), predictions


def _provenance(
    rows: Sequence[CalibrationRow],
    before: Law | None,
    directories: Sequence[str | os.PathLike[str]],
    new: int,
    dropped: Mapping[str, int],
) -> dict[str, Any]:
    return {
        "calibration_sha256": calibration_digest(rows),
        "weights": {row.model: row.weights for row in rows},
        "prior": None
        if before is None
        else {
            key: before.provenance.get(key)
            for key in ("calibration_sha256", "runs", "new_rows", "dropped", "prior")
        },
        "runs": [os.path.basename(os.fspath(d).rstrip("/")) for d in directories],
        "new_rows": new,
        "dropped": dict(dropped),
        "versions": {
            name: metadata.version(name) for name in ("phantom_dist", "torch", "transformers", "peft")
        },
        "fitted_at": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
    }
