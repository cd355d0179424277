"""The fitted correction: ln η_c = ln η_path + w_0 + Σ w_j (group j), with few, robust and regularised constants.

The weights minimise the Huber loss plus a ridge penalty on the standardised groups. Optuna's TPE sampler searches for
the groups and the strength of the ridge; every candidate is evaluated on architectures that it was not fitted to.

Beyond the values that the weights were fitted to, the correction stays at its value there: a linear extrapolation has
no support, and on training sets it was worse (full AdamW on SmolLM2, fitted to small models: 80 instead of 55 %).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import optuna
from numpy.typing import NDArray

from phantom_dist.law.calibration_row import CalibrationRow
from phantom_dist.law.groups import BY_NAME, GROUPS, path_rate
from phantom_dist.law.law_input import LawInput

Array = NDArray[np.float64]

SEARCH_TRIALS = 60
MOST_GROUPS = 4
"""Largest number of groups; with w_0 there is one more fitted constant."""

GAIN = 0.05
"""Share of the core's held-out loss by which a closure must be better; otherwise the unfitted core is used."""

PRICE = 0.02
"""Penalty on the loss for each group, as a share, because the best of many candidates is partly chosen by chance."""


@dataclass(frozen=True, slots=True)
class Closure:
    """w_0, and the groups with their weights; by default there are none, which is the unfitted core.

    `ranges` are the lowest and highest value of each group in the fit; empty in files from before they were kept.
    """

    constant: float = 0.0
    groups: tuple[str, ...] = ()
    weights: tuple[float, ...] = ()
    ridge: float = 0.0
    ranges: tuple[tuple[float, float], ...] = ()

    @property
    def constants(self) -> int:
        """Number of fitted constants."""
        return len(self.groups) + 1 if self != Closure() else 0

    def correction(self, probed: LawInput) -> float:
        """ln η_c / η_path."""
        ranges = self.ranges or ((-math.inf, math.inf),) * len(self.groups)
        return self.constant + sum(
            weight * min(max(BY_NAME[name].value(probed), low), high)
            for name, weight, (low, high) in zip(self.groups, self.weights, ranges, strict=True)
        )


def residuals(rows: Sequence[CalibrationRow], closure: Closure) -> Array:
    """ln (measured / predicted) for each row."""
    return np.array(
        [np.log(row.eta_c / path_rate(row.law_input)) - closure.correction(row.law_input) for row in rows]
    )


def fit(rows: Sequence[CalibrationRow], groups: Sequence[str], ridge: float) -> Closure:
    """Fit the weights of the given groups."""
    target = residuals(rows, Closure())
    return _fit(target, _design(rows, groups), tuple(groups), ridge)


def search(rows: Sequence[CalibrationRow], seed: int = 0) -> Closure:
    """The closure with the lowest loss on architectures left out, refitted to all rows.

    Args:
        rows: rows of one training class, from at least three models.
        seed: seed of the search.
    """
    target, full = residuals(rows, Closure()), _design(rows, [g.name for g in GROUPS])
    models = np.array([row.model for row in rows])
    # A group without two values here says nothing, as LoRA's rank under full fine-tuning.
    varying = [True, *(np.ptp(full[:, 1:], axis=0) > 1e-9)]
    full, names = full[:, varying], [g.name for g, varies in zip(GROUPS, varying[1:], strict=True) if varies]

    left_out = [models == model for model in np.unique(models)]

    def held_out_loss(groups: Sequence[str], ridge: float) -> float:
        design = full[:, [0, *(1 + names.index(name) for name in groups)]]
        held_out = np.empty_like(target)
        for out in left_out:
            fitted = _fit(target[~out], design[~out], tuple(groups), ridge)
            weights = np.array([fitted.constant, *fitted.weights])
            held_out[out] = target[out] - _held_within(design[out], design[~out]) @ weights
        return loss(held_out, models)

    def objective(trial: optuna.Trial) -> float:
        chosen = [name for name in names if trial.suggest_categorical(name, [False, True])]
        ridge = trial.suggest_float("ridge", 1e-4, 1.0, log=True)
        if len(chosen) > MOST_GROUPS:
            # Worse than any real loss, and the worse the more groups, so that TPE learns to choose fewer.
            return 10.0 + len(chosen)
        return held_out_loss(chosen, ridge) * (1 + PRICE * len(chosen))

    optuna.logging.set_verbosity(optuna.logging.WARNING)
    study = optuna.create_study(sampler=optuna.samplers.TPESampler(seed=seed))
    none = dict.fromkeys(names, False)
    study.enqueue_trial(none | {"ridge": 1e-2})
    study.enqueue_trial(none | {name: True for name in ("last", "gap") if name in names} | {"ridge": 1e-2})
    # What regressions on training sets chose one after another.
    on_sets = {name: True for name in ("length", "odds", "share", "reach") if name in names}
    if "reach" in names:
        study.enqueue_trial(none | on_sets | {"ridge": 1e-2})
    study.optimize(objective, n_trials=SEARCH_TRIALS)
    if study.best_value > (1 - GAIN) * loss(target, models):
        return Closure()
    best = study.best_params
    return fit(rows, [name for name in names if best[name]], best["ridge"])


def loss(errors: Array, models: NDArray[Any]) -> float:
    """Median and half the 90th percentile of |error|, plus median and half the maximum of the models' |mean error|."""
    by_model = [abs(errors[models == model].mean()) for model in np.unique(models)]
    size = np.abs(errors)
    return float(np.median(size) + np.quantile(size, 0.9) / 2 + np.median(by_model) + max(by_model) / 2)


def _design(rows: Sequence[CalibrationRow], groups: Sequence[str]) -> Array:
    return np.array([[1.0, *(BY_NAME[name].value(row.law_input) for name in groups)] for row in rows])


def _held_within(design: Array, fitted: Array) -> Array:
    """As `Closure.correction` does."""
    return np.clip(design, fitted.min(0), fitted.max(0))


def _fit(target: Array, design: Array, groups: tuple[str, ...], ridge: float) -> Closure:
    scale = np.sqrt((design**2).mean(0)) + 1e-12
    x = design / scale
    weights = np.zeros(x.shape[1])
    importance = np.ones(len(target))
    penalty = ridge * len(target) * np.eye(x.shape[1]) * 0.01
    # Huber loss by iteratively reweighted least squares, with its corner at 1.5 times the median |error|.
    for _ in range(20):
        weighted = x * importance[:, None]
        weights = np.linalg.solve(weighted.T @ x + penalty, weighted.T @ target)
        size = np.abs(target - x @ weights)
        corner = 1.5 * _median(size) + 1e-9
        importance = np.minimum(1.0, corner / np.maximum(size, 1e-12))
    constant, *rest = (weights / scale).tolist()
    ranges = tuple(zip(design[:, 1:].min(0).tolist(), design[:, 1:].max(0).tolist(), strict=True))
    return Closure(constant, groups, tuple(rest), ridge, ranges)


def _median(values: Array) -> float:
    """Equal to `np.median`, whose checks take longer than the sorting; a search computes 180,000 medians."""
    middle = len(values) // 2
    if len(values) % 2:
        return float(np.partition(values, middle)[middle])
    parted = np.partition(values, [middle - 1, middle])
    return float((parted[middle - 1] + parted[middle]) / 2)
