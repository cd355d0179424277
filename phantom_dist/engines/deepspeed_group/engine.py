"""Trials and probes on a sharded model: the reference engine's loop and its probe, with sums over ranks in them."""

from __future__ import annotations

import math
import time
from collections.abc import Iterator, Sequence

import torch
from torch import nn

from phantom_dist.core.measurement import Measurement, Trial, TrialResult
from phantom_dist.core.probe_result import Measured, ModelReading, ProbeResult
from phantom_dist.core.trial import Problem
from phantom_dist.engines import DEEPSPEED
from phantom_dist.engines.coordinates import gap_of, loss_of
from phantom_dist.engines.deepspeed_group.sharded import ShardedModel, way_of
from phantom_dist.engines.memory import out_of_memory_named
from phantom_dist.engines.probe import ProbeRefused, check_kappa, read_context, read_pair
from phantom_dist.engines.recorder import Recorder, with_gradient_norm
from phantom_dist.instruments import kernel_rate
from phantom_dist.instruments.outside import Named


class DeepSpeedEngine:
    """The engine `deepspeed`, on one rank of a group; every rank gets the same results.

    The column `engine` has ZeRO's stage beside the name.
    """

    def __init__(self, outside: Sequence[Named] = ()) -> None:
        self._outside = outside

    def run(self, model: ShardedModel, trials: Sequence[Trial]) -> Iterator[TrialResult]:
        """Train the trials in order, each from the untouched weights; see `engine.Engine.run`."""
        for trial in trials:
            start = time.perf_counter()
            with out_of_memory_named():
                trace, stopped_early = _train(model, trial, self._outside)
            yield TrialResult(
                trial=trial,
                trace=trace,
                vocabulary_size=model.vocabulary_size,
                wall_time=time.perf_counter() - start,
                engine=f"{DEEPSPEED} {model.zero.stage}",
                stopped_early=stopped_early,
            )

    def probe(self, model: ShardedModel, problem: Problem) -> ProbeResult:
        """Measure κ and what it rests on; as `probe.probe`."""
        _check_way(model, problem)
        try:
            with out_of_memory_named():
                return _probe(model, problem)
        except ProbeRefused as refused:
            return refused.result


def _train(
    model: ShardedModel, trial: Trial, outside: Sequence[Named]
) -> tuple[tuple[Measurement, ...], str | None]:
    problem, tokens, zero = trial.problem, trial.measured.tokens, model.zero
    _check_way(model, problem)
    zero.reset(problem.optimizer)
    recorder = Recorder(model.readout, [tokens], model.whole.model.device, outside)
    target = torch.tensor(tokens.target, device=model.whole.model.device)
    factors = problem.schedule.factors(problem.steps)
    trace: list[Measurement] = []
    for step in range(problem.steps + 1):
        logits_V = zero.logits(tokens.prompt, gradient=step < problem.steps)
        (measurement,) = recorder.measure(step, logits_V[None])
        if step == problem.steps or not measurement.finite:
            trace.append(measurement)
            break
        zero.backward(nn.functional.cross_entropy(logits_V.float(), target))
        squares = sum(kernel_rate.inner_product(gradient, gradient) for gradient, _ in zero.gradients())
        trace.append(with_gradient_norm(measurement, math.sqrt(zero.sum(squares))))
        zero.step(trial.learning_rate * factors[step])
    return tuple(trace), None if len(trace) == problem.steps + 1 else "non_finite"


def _probe(model: ShardedModel, problem: Problem) -> Measured:
    """κ from two passes: ∇L is kept as shards while ∇g is taken."""
    zero = model.zero
    known = ModelReading(
        identity=model.whole.identity, width=model.readout.width, lora_targets=model.lora_targets
    )
    prompt, target = read_context(model.whole, problem, known)
    zero.reset(problem.optimizer)
    logits_V = zero.logits(prompt, gradient=True).float()
    pair = read_pair(model.whole, problem, known, target, logits_V.detach(), model.readout)
    zero.backward(loss_of(logits_V, pair.tokens))
    directions = [
        kernel_rate.first_direction(gradient, parameter, problem.optimizer).clone()
        for gradient, parameter in zero.gradients()
    ]
    zero.step(0.0)
    logits_V = zero.logits(prompt, gradient=True).float()
    zero.backward(gap_of(logits_V, pair.tokens))
    slopes = zip(zero.gradients(), directions, strict=True)
    slope = zero.sum(sum(kernel_rate.inner_product(gradient, u) for (gradient, _), u in slopes))
    zero.step(0.0)
    check_kappa(-slope, problem)
    return Measured(problem=problem, model=known, pair=pair, kappa=-slope)


def _check_way(model: ShardedModel, problem: Problem) -> None:
    if way_of(problem) != model.way:
        raise ValueError(f"this model was loaded to be trained as {model.way}, not as {way_of(problem)}")
