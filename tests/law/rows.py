"""Synthetic calibration rows from a known rule, which a fit should recover."""

from __future__ import annotations

import math
import random
from typing import Any

from phantom_dist.law.calibration_row import CalibrationRow
from phantom_dist.law.file_format import row_from_json, row_to_json


def rows(
    *,
    models: int = 8,
    contexts: int = 12,
    seed: int = 0,
    noise: float = 0.01,
    constant: float = 0.0,
    last: float = 0.0,
    model_noise: float = 0.0,
    method: str = "full",
    optimizer: str = "sgd",
) -> list[CalibrationRow]:
    """ln (η_c / η_path) = constant + last · (the path's last correction) + noise of models and of contexts."""
    random_ = random.Random(seed)
    made = []
    for m in range(models):
        shift = random_.gauss(0, model_noise)
        for c in range(contexts):
            gap, kappa = -random_.uniform(0.5, 6.0), 10 ** random_.uniform(1, 4)
            steps = (8, 32)[c % 2]
            first = abs(gap) / (steps * kappa)
            corrections = [random_.gauss(0, 0.1), random_.gauss(0, 0.05), random_.gauss(0, 0.02)]
            rates = [first]
            for correction in corrections:
                rates.append(rates[-1] * math.exp(correction))
            error = constant + last * corrections[-1] + shift + random_.gauss(0, noise)
            eta_c = rates[-1] * math.exp(error)
            made.append(
                row_from_json(
                    {
                        "problem": f"{method}-{optimizer}-{m}-{c}",
                        "model": f"m{m}",
                        "architecture": "A",
                        "context": f"c{c}",
                        "target": " a",
                        "competitor": " b",
                        "method": method,
                        "optimizer": optimizer,
                        "momentum": 0.0,
                        "weight_decay": 0.0,
                        "schedule": "constant",
                        "precision": "float32",
                        "steps": steps,
                        "eta_c": eta_c,
                        "bracket": [eta_c * 0.999, eta_c * 1.001],
                        "weights": f"w{m}",
                        "parameters": 1000 * (m + 1),
                        "width": 8 * (m + 1),
                        "effective_steps": float(steps),
                        "gap_0": gap,
                        "kappa": kappa,
                        "overlap_0": random_.uniform(0.4, 0.8),
                        "log_odds_0": -random_.uniform(1, 10),
                        "path_rates": rates,
                        "probe_trial_steps": 4.0,
                    }
                )
            )
    return made


def changed(row: CalibrationRow, **columns: Any) -> CalibrationRow:
    """The row with changed values in some columns of its law file."""
    return row_from_json(row_to_json(row) | columns)
