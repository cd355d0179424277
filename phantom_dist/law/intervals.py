"""Prediction intervals by conformal prediction, grouped by architecture.

A score is |ln (measured / predicted)| divided by the error expected from the row's difficulty, on architectures that
the law was not fitted to. The interval of a new context of a new architecture takes the 1 − α quantile of these scores,
each of the K architectures with a weight of 1 / K, within the problem's cell.

Hierarchical conformal prediction (Lee, Barber and Willett 2023, arXiv 2306.06342) gives each architecture 1 / (K + 1)
and infinity the rest; if architectures are exchangeable and so are the contexts within each, then the intervals cover
at least 1 − α. With fourteen architectures they cover 96 % on average, so 90 % intervals would be wider than they say.
Without that share the guarantee is (1 − α) K / (K + 1), and the coverage near 1 − α. Both hold for scores from a single
split; here scores come from leaving out one architecture at a time. Therefore coverage is measured (`validation`).
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from phantom_dist.law.calibration_row import CalibrationRow
from phantom_dist.law.domain import is_open
from phantom_dist.law.groups import difficulty
from phantom_dist.law.law_input import LawInput

Array = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Interval:
    """ln-half-width = quantile of the problem's cell x exp(weights · difficulty(probed)) [x large].

    `quantile` is that of all rows, for cells with too few architectures. `large` applies to models of more than `LARGE`
    parameters.
    """

    weights: tuple[float, ...]
    quantile: float
    by_cell: Mapping[str, float] = field(default_factory=dict)
    large: float = 1.0

    def half_width(self, probed: LawInput) -> float:
        """Half-width of the interval, in ln η_c."""
        expected = sum(w * x for w, x in zip(self.weights, difficulty(probed), strict=False))
        known = self.by_cell.get(cell(probed), self.quantile) * math.exp(expected)
        return known * (self.large if probed.parameters > LARGE else 1.0)


LARGE = 10_000_000
"""Models of more parameters are no tiny ones. Fourteen of the calibrated architectures are tiny, so quantiles over
architectures are theirs; for larger models they are multiplied by what covers 1 − α of the larger models' contexts."""

FEWEST_LARGE = 20
"""Contexts of larger models that this factor needs."""


SIZE = -1
"""The place of the model's size among the difficulty features."""

LENGTHS = (4, 8, 16, 32, 64, 128)
"""The most steps T of each cell: errors of longer trainings have heavier tails."""

FEWEST = 9
"""Architectures that a quantile needs."""


def cell(probed: LawInput) -> str:
    """The group of problems within which intervals are calibrated: by length of training, and by precision."""
    length = next((f"T <= {most}" for most in LENGTHS if probed.steps <= most), f"T > {LENGTHS[-1]}")
    return f"{length}, {probed.settings.precision}"


def conformal(rows: Sequence[CalibrationRow], errors: Array, level: float) -> Interval | None:
    """The interval rule from held-out errors; None where there are too few architectures.

    Args:
        rows: rows of one training class.
        errors: ln (measured / predicted) for each row, by a law fitted without the row's architecture.
        level: 1 − α.
    """
    design = np.array([difficulty(row.law_input) for row in rows])
    size = np.abs(errors) + 5e-4  # offset: errors below the width of the brackets are chance
    # ln |error| over the difficulty features.
    weights = _weights(design, np.log(size))
    if weights[SIZE] < 0:
        # The calibrated models are small but for one or two. That errors shrink with size isn't extrapolated; that they
        # grow is: under AdamW and LoRA those of models 250 times as large are three to five times the zoo's.
        design[:, SIZE] = 0.0
        weights = _weights(design, np.log(size))
    scores = size / np.exp(design @ weights)
    models = np.array([row.model for row in rows])
    whole = _quantile(scores, models, level)
    if whole is None:
        return None
    cells = np.array([cell(row.law_input) for row in rows])
    by_cell = {
        name: quantile
        for name in sorted(set(cells.tolist()))
        if (quantile := _quantile(scores[cells == name], models[cells == name], level)) is not None
    }
    interval = Interval(tuple(weights.tolist()), whole, by_cell)
    ratios = [
        size / interval.half_width(row.law_input)
        for row, size in zip(rows, np.abs(errors).tolist(), strict=True)
        if row.law_input.parameters > LARGE and not is_open(row.law_input)
    ]
    if len(ratios) < FEWEST_LARGE:
        return interval
    return replace(interval, large=max(1.0, float(np.quantile(ratios, level, method="higher"))))


def _weights(design: Array, log_size: Array) -> Array:
    """Ridge regression on the standardised features."""
    scale = np.sqrt((design**2).mean(0)) + 1e-12
    x = design / scale
    ridge = 1e-2 * len(x) * np.eye(x.shape[1]) * 0.1
    return np.asarray(np.linalg.solve(x.T @ x + ridge, x.T @ log_size) / scale)


def _quantile(scores: Array, models: NDArray[Any], level: float) -> float | None:
    """The quantile of the scores, each architecture with the same weight; None with too few architectures."""
    counts = Counter(models.tolist())
    if len(counts) < FEWEST:
        return None
    mass = np.array([1 / (len(counts) * counts[model]) for model in models.tolist()])
    order = np.argsort(scores)
    enough = np.flatnonzero(np.cumsum(mass[order]) >= level - 1e-12)
    return float(scores[order][enough[0]])
