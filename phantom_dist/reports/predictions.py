"""The law's predictions of a run's critical rates, beside the measured ones."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from phantom_dist.core.trial import Problem
from phantom_dist.law.file import read_law
from phantom_dist.law.groups import BY_NAME
from phantom_dist.law.law import Law
from phantom_dist.law.law_input import law_input
from phantom_dist.refinement.critical_rate import CriticalRate

Row = dict[str, Any]

GROUPS = ("gap", "bend", "last", "earlier", "length", "overlap", "odds")
"""The law's groups over which residuals are drawn; the others are squares and products of these."""

HELD_OUT, CALIBRATED, NEW = "architecture left out", "in the calibration", "not in the calibration"
OUTSIDE = "outside the law's domain"


def law_of(location: str | os.PathLike[str]) -> tuple[Law, str]:
    """The law for a run's predictions, and its name: `law.json` in the run's directory, else the shipped one."""
    own = Path(location) / "law.json"
    return (read_law(own), "law.json of the run") if own.is_file() else (read_law(), "the shipped law")


@dataclass(frozen=True, kw_only=True, slots=True)
class RatePrediction:
    """A measured critical rate beside the law's prediction of it.

    Attributes:
        rate: the measured critical rate.
        predicted: η_c by the law.
        interval: the law's interval of η_c; None where the law gives none.
        source: how the prediction was made: `HELD_OUT`, `CALIBRATED`, `NEW` or `OUTSIDE`.
        groups: the law's groups, by name, dimensionless.
    """

    rate: CriticalRate
    predicted: float
    interval: tuple[float, float] | None
    source: str
    groups: Mapping[str, float]

    def to_row(self) -> Row:
        """The row for figures: the rate's columns, `predicted`, `low`, `high`, `known` (the source) and the groups."""
        low, high = self.interval or (None, None)
        own = {"predicted": self.predicted, "low": low, "high": high, "known": self.source}
        return self.rate.to_json() | own | dict(self.groups)


def predictions(
    law: Law, rates: Iterable[CriticalRate], probes: Iterable[Row], problems: Mapping[str, Problem]
) -> list[RatePrediction]:
    """One prediction for each measured critical rate that the law can predict.

    For a problem of the law's calibration it is the stored prediction of the law fitted without that architecture. For
    any other problem it is computed from the probed path, where the run has one.

    Args:
        law: the law.
        rates: the run's critical rates.
        probes: rows of `probes/`.
        problems: the problems of the run's sweeps, by key.
    """
    calibrated = {(row.problem, row.weights): row for row in law.rows}
    by_problem = {row["problem"]: row for row in probes}
    models = {row.weights for row in law.rows}
    made = []
    for rate in rates:
        probe = by_problem[rate.problem]
        known = calibrated.get((rate.problem, probe["weights"]))
        if rate.crossing is None:
            continue
        if known is not None and known.held_out is not None:
            probed, source = known.law_input, HELD_OUT
            predicted, interval = known.held_out.eta_c, known.held_out.interval
        elif probe["path_rates"] is not None:
            probed = law_input(probe, problems.get(rate.problem))
            prediction = law.predict(probed)
            if prediction.eta_c is None:
                continue
            source = (
                OUTSIDE if not prediction.in_domain else CALIBRATED if probe["weights"] in models else NEW
            )
            predicted, interval = prediction.eta_c, prediction.interval
        else:
            continue
        made.append(
            RatePrediction(
                rate=rate,
                predicted=predicted,
                interval=interval,
                source=source,
                groups={name: BY_NAME[name].value(probed) for name in GROUPS},
            )
        )
    return made
