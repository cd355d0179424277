"""The learning-rate range test, pair by pair (`python -m tests.benchmarks.range_test`; a quarter of an hour).

One training whose rate grows by a constant factor from step to step; the rate at which its loss fell most steeply is
the test's answer (Smith, "Cyclical learning rates for training neural networks", 2017; the steepest point is fastai's
rule). It knows nothing of T or of the competitor, so `phantom_dist.law.validation` gives it a factor and an exponent,
fitted for each class and T. Writes `range_test.json` beside this file: problem -> rate.
"""

from __future__ import annotations

import json
import math
from pathlib import Path

import torch
from rich.progress import track
from torch import nn

from phantom_dist.core.probe_result import Measured
from phantom_dist.core.trial import Problem
from phantom_dist.engines.probe import probe
from phantom_dist.engines.trainable import trainable
from phantom_dist.law.file import read_law
from phantom_dist.models.last_logits import last_logits
from phantom_dist.models.load import LoadedModel, load
from phantom_dist.spec import expand
from phantom_dist.spec import load as load_sweep

STORED = Path(__file__).with_name("range_test.json")
SWEEPS = Path(__file__).parents[2] / "sweeps"
LOW, HIGH = 1e-7, 10.0
STEPS = 60


def steepest(losses: list[float], rates: list[float]) -> float:
    """The rate at which the smoothed loss falls most steeply in ln η; before it has risen to four times its least."""
    smoothed: list[float] = []
    for loss in losses:
        if not math.isfinite(loss) or (smoothed and loss > 4 * min(smoothed) + 1):
            break
        smoothed.append(loss if not smoothed else 0.5 * smoothed[-1] + 0.5 * loss)
    falls = [smoothed[i - 1] - smoothed[i + 1] for i in range(1, len(smoothed) - 1)]
    return rates[1 + falls.index(max(falls))] if falls else rates[0]


def range_test(loaded: LoadedModel, problem: Problem) -> float:
    """The rate that the range test of one pair answers with."""
    rates = [LOW * (HIGH / LOW) ** (step / (STEPS - 1)) for step in range(STEPS)]
    measured = probe(loaded, problem)
    assert isinstance(measured, Measured), measured
    with trainable(loaded, problem) as ready:
        parameters, model = ready.parameters, ready.model
        target = torch.tensor(measured.tokens.target)
        make = torch.optim.SGD if problem.optimizer.name == "sgd" else torch.optim.AdamW
        optimizer = make(parameters, lr=LOW, weight_decay=0.0)
        losses: list[float] = []
        for rate in rates:
            for group in optimizer.param_groups:
                group["lr"] = rate
            loss = nn.functional.cross_entropy(last_logits(model, measured.tokens.prompt), target)
            losses.append(float(loss.detach()))
            if not math.isfinite(losses[-1]) or losses[-1] > 4 * min(losses) + 1:
                break
            for parameter, gradient in zip(parameters, torch.autograd.grad(loss, parameters), strict=True):
                parameter.grad = gradient
            optimizer.step()
    return steepest(losses, rates)


def main() -> None:
    """Measure every pair of the shipped calibration once for each class, and store its rate for each T."""
    torch.set_num_threads(1)
    calibrated = {row.problem for row in read_law().rows}
    problems = [
        p
        for sweep in ("calibration-zoo", "calibration-smollm2")
        for p in expand(load_sweep(SWEEPS / f"{sweep}.yaml"))
        if p.key in calibrated
    ]
    by_pair: dict[tuple[str, str, str, str], list[Problem]] = {}
    for p in problems:
        by_pair.setdefault((p.model, p.method, p.optimizer.name, p.context.id), []).append(p)
    found: dict[str, float] = {}
    name, loaded = "", None
    for (model, *_), same in track(by_pair.items(), description="range tests"):
        if model != name:
            name, loaded = model, load(model)
        assert loaded is not None
        rate = range_test(loaded, same[0])
        found |= {p.key: rate for p in same}
    STORED.write_text(json.dumps(dict(sorted(found.items())), indent=0) + "\n")


if __name__ == "__main__":
    main()
