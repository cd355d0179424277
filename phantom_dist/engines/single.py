"""The reference engine: one trial after another, in plain torch. Every other engine is tested against it.

A trial of T steps: measure the untouched model, then T times: gradient of the last position's loss, clipped where the
sweep says so, optimizer step, measure. The model stays in evaluation mode, so only the adapters' initialisation is
random.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from typing import Protocol

import torch
from torch import Tensor

from phantom_dist.core.measurement import Measurement, Trial, TrialResult
from phantom_dist.core.trial import Problem
from phantom_dist.engines.memory import out_of_memory_named
from phantom_dist.engines.objective import loss_of
from phantom_dist.engines.optimizers import clip_scale, torch_optimizer, undecayed_parameters
from phantom_dist.engines.precision import autocast
from phantom_dist.engines.recorder import Recorder, SoloGeometry, with_gradient_norm
from phantom_dist.engines.trainable import Trainable, readout_matrix, trainable
from phantom_dist.instruments import kernel_rate
from phantom_dist.instruments.plugin_instruments import Named
from phantom_dist.models import LoadedModel
from phantom_dist.models.last_logits import last_logits


class SingleEngine:
    """The engine `single`."""

    name = "single"

    def __init__(self, plugin_instruments: Sequence[Named] = ()) -> None:
        self._plugin_instruments = plugin_instruments

    def run(self, loaded: LoadedModel, trials: Sequence[Trial]) -> Iterator[TrialResult]:
        """Train the trials in order, each from the untouched model; see `engine.Engine.run`."""
        for trial in trials:
            start = time.perf_counter()
            with out_of_memory_named(), trainable(loaded, trial.problem) as ready:
                tokens, device = trial.measured.tokens, loaded.model.device
                recorder = Recorder(SoloGeometry(ready), [tokens], device, self._plugin_instruments)
                trace = train(InProcess(ready, trial.problem), trial, recorder)
            yield TrialResult(
                trial=trial,
                trace=trace,
                vocabulary_size=readout_matrix(loaded.model).shape[0],
                wall_time=time.perf_counter() - start,
                engine=self.name,
                stopped_early=stopped_early(trial, trace),
            )


class ModelInTraining(Protocol):
    """What the loop needs of a model, whether this process holds its weights or the ranks of a group a share each."""

    def logits(self, prompt: tuple[int, ...], *, gradient: bool) -> Tensor:
        """Logits after the prompt (V,), in the model's precision; differentiable if a `gradient` follows."""
        ...

    def backward(self, value: Tensor) -> None:
        """Take the gradient of a number that was computed from the last logits."""
        ...

    def gradient_norm(self) -> float:
        """‖∇L‖₂ of that gradient."""
        ...

    def clip(self, scale: float) -> None:
        """Multiply that gradient by a number below 1."""
        ...

    def step(self, learning_rate: float) -> None:
        """One optimizer step along that gradient."""
        ...


def train(model: ModelInTraining, trial: Trial, recorder: Recorder) -> tuple[Measurement, ...]:
    """Train one trial. Returns its trace s = 0..T; it ends earlier at NaN or Inf, after which nothing can change."""
    problem, tokens = trial.problem, trial.measured.tokens
    factors = problem.schedule.factors(problem.steps)
    trace: list[Measurement] = []
    for step in range(problem.steps + 1):
        logits_V = model.logits(tokens.prompt, gradient=step < problem.steps)
        (measurement,) = recorder.measure(step, logits_V[None])
        if step == problem.steps or not measurement.finite:
            trace.append(measurement)
            break
        model.backward(loss_of(logits_V.float(), tokens))
        norm = model.gradient_norm()
        trace.append(with_gradient_norm(measurement, norm))
        if (scale := clip_scale(norm, problem.gradient_clipping)) != 1.0:
            model.clip(scale)
        model.step(trial.learning_rate * factors[step])
    return tuple(trace)


def stopped_early(trial: Trial, trace: Sequence[Measurement]) -> str | None:
    """Why a trace is shorter than T + 1 rows; None where it isn't."""
    return None if len(trace) > trial.problem.steps else "non_finite"


class InProcess:
    """A `ModelInTraining` whose weights this process holds."""

    def __init__(self, ready: Trainable, problem: Problem) -> None:
        self._ready, self._is_mixed = ready, problem.is_mixed
        undecayed = undecayed_parameters(ready.model) if problem.decays_apart else ()
        self._optimizer = torch_optimizer(ready.parameters, problem.optimizer, undecayed)

    def logits(self, prompt: tuple[int, ...], *, gradient: bool) -> Tensor:
        """See `ModelInTraining`."""
        with torch.set_grad_enabled(gradient), autocast(self._ready.readout_Vd.device, self._is_mixed):
            return last_logits(self._ready.model, prompt)

    def backward(self, value: Tensor) -> None:
        """See `ModelInTraining`."""
        self._optimizer.zero_grad()
        value.backward()

    def gradient_norm(self) -> float:
        """See `ModelInTraining`."""
        return kernel_rate.gradient_norm(parameter.grad for parameter in self._ready.parameters)

    def clip(self, scale: float) -> None:
        """See `ModelInTraining`."""
        for parameter in self._ready.parameters:
            if parameter.grad is not None:
                parameter.grad.mul_(scale)

    def step(self, learning_rate: float) -> None:
        """See `ModelInTraining`."""
        for group in self._optimizer.param_groups:
            group["lr"] = learning_rate
        self._optimizer.step()
