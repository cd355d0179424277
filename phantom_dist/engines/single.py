"""The reference engine: one trial after another, in plain torch. Every faster engine is measured against it.

A trial of T steps: measure the untouched model, then T times: gradient of the last position's loss, optimizer step,
measure. The model stays in evaluation mode, so nothing is random but the adapters' initialisation.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence

import torch
from torch import nn

from phantom_dist.core.measurement import Measurement, Trial, TrialResult
from phantom_dist.engines.forward import last_logits
from phantom_dist.engines.memory import out_of_memory_named
from phantom_dist.engines.optimizers import torch_optimizer
from phantom_dist.engines.recorder import Recorder, SoloGeometry, with_gradient_norm
from phantom_dist.engines.trainable import readout_matrix, trainable
from phantom_dist.instruments.kernel_rate import gradient_norm
from phantom_dist.instruments.outside import Named
from phantom_dist.models import LoadedModel


class SingleEngine:
    """The engine `single`."""

    name = "single"

    def __init__(self, outside: Sequence[Named] = ()) -> None:
        self._outside = outside

    def run(self, loaded: LoadedModel, trials: Sequence[Trial]) -> Iterator[TrialResult]:
        """Train the trials in order, each from the untouched model; see `engine.Engine.run`."""
        for trial in trials:
            start = time.perf_counter()
            with out_of_memory_named():
                trace, stopped_early = train(loaded, trial, self._outside)
            yield TrialResult(
                trial=trial,
                trace=trace,
                vocabulary_size=readout_matrix(loaded.model).shape[0],
                wall_time=time.perf_counter() - start,
                engine=self.name,
                stopped_early=stopped_early,
            )


def train(
    loaded: LoadedModel, trial: Trial, outside: Sequence[Named] = ()
) -> tuple[tuple[Measurement, ...], str | None]:
    """Train one trial; its trace s = 0..T and, if it is shorter, why: `non_finite` (nothing can change after that).

    `outside`: other packages' instruments, which measure beside the own ones.
    """
    problem, tokens = trial.problem, trial.measured.tokens
    target = torch.tensor(tokens.target, device=loaded.model.device)
    factors = problem.schedule.factors(problem.steps)
    trace: list[Measurement] = []
    with trainable(loaded, problem) as ready:
        recorder = Recorder(SoloGeometry(ready), [tokens], loaded.model.device, outside)
        optimizer = torch_optimizer(ready.parameters, problem.optimizer)
        for step in range(problem.steps + 1):
            with torch.set_grad_enabled(step < problem.steps):
                logits_V = last_logits(ready.model, tokens.prompt)
            (measurement,) = recorder.measure(step, logits_V[None])
            if step == problem.steps or not measurement.finite:
                trace.append(measurement)
                break
            optimizer.zero_grad()
            nn.functional.cross_entropy(logits_V.float(), target).backward()
            norm = gradient_norm(parameter.grad for parameter in ready.parameters)
            trace.append(with_gradient_norm(measurement, norm))
            for group in optimizer.param_groups:
                group["lr"] = trial.learning_rate * factors[step]
            optimizer.step()
    return tuple(trace), None if len(trace) == problem.steps + 1 else "non_finite"
