"""Trials and probes on a sharded model, with the training loop of `single` and the measurement of `probe`."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence

from torch import Tensor

from phantom_dist.core.measurement import Trial, TrialResult
from phantom_dist.core.probe_result import Measured, ProbeResult
from phantom_dist.core.trial import Problem, Tokens
from phantom_dist.engines import DEEPSPEED
from phantom_dist.engines.deepspeed_group.sharded import ShardedModel, load_config_of
from phantom_dist.engines.deepspeed_group.zero import Zero
from phantom_dist.engines.memory import out_of_memory_named
from phantom_dist.engines.objective import gap_of, loss_of
from phantom_dist.engines.optimizers import clip_scale
from phantom_dist.engines.probe import ProbeRefused, measure, read_context
from phantom_dist.engines.recorder import Recorder
from phantom_dist.engines.single import train
from phantom_dist.engines.watch import Watch
from phantom_dist.instruments import kernel_rate
from phantom_dist.instruments.plugin_instruments import Named


class DeepSpeedEngine:
    """The engine `deepspeed`, on one rank of a group; every rank gets the same results.

    The column `engine` holds the name and ZeRO's stage.
    """

    def __init__(self, plugin_instruments: Sequence[Named] = ()) -> None:
        self._plugin_instruments = plugin_instruments

    def run(self, model: ShardedModel, trials: Sequence[Trial]) -> Iterator[TrialResult]:
        """Train the trials in order, each from the untouched weights; see `engine.Engine.run`."""
        for trial in trials:
            start = time.perf_counter()
            _check_load_config(model, trial.problem)
            with out_of_memory_named():
                model.zero.reset(trial.problem.optimizer)
                tokens, device = trial.measured.tokens, model.whole.model.device
                recorder = Recorder(model.readout, [tokens], device, self._plugin_instruments)
                watch = train(model.zero, Watch([trial]), recorder)
            yield from watch.results(
                model.vocabulary_size, time.perf_counter() - start, f"{DEEPSPEED} {model.zero.stage}"
            )

    def probe(self, model: ShardedModel, problem: Problem) -> ProbeResult:
        """Measure κ and the quantities it follows from; as `probe.probe`."""
        _check_load_config(model, problem)
        try:
            with out_of_memory_named():
                return _probe(model, problem)
        except ProbeRefused as refused:
            return refused.result


def _probe(model: ShardedModel, problem: Problem) -> Measured:
    context = read_context(model.whole, problem, model.readout, model.lora_targets)
    model.zero.reset(problem.optimizer)
    start = ShardedFirstOrder(model.zero, context.prompt, problem)
    measured, _ = measure(context, start, start.untouched_logits())
    return measured


class ShardedFirstOrder:
    """A `coordinates.FirstOrder` over all ranks: each keeps its shard of u while ∇g is computed."""

    def __init__(self, zero: Zero, prompt: tuple[int, ...], problem: Problem) -> None:
        self._zero, self._prompt, self._problem = zero, prompt, problem

    def untouched_logits(self) -> Tensor:
        """See `FirstOrder`."""
        return self._zero.logits(self._prompt, gradient=True).float()

    def first_order(self, logits_V: Tensor, pair: Tokens, *, keep: bool = False) -> tuple[float, None]:
        """See `FirstOrder`; no rank ever holds all of ∇L, so `keep` has no effect."""
        zero = self._zero
        zero.backward([loss_of(logits_V, pair)])
        if self._problem.gradient_clipping is not None:
            zero.clip(clip_scale(zero.gradient_norm(), self._problem.gradient_clipping))
        directions = [
            kernel_rate.first_direction(gradient, parameter, self._problem.optimizer).clone()
            for gradient, parameter in zero.gradients()
        ]
        zero.step(0.0)
        # DeepSpeed allows one backward pass for each forward pass, so ∇g needs a second forward pass.
        zero.backward([gap_of(self.untouched_logits(), pair)])
        slopes = zip(zero.gradients(), directions, strict=True)
        slope = zero.sum(sum(kernel_rate.inner_product(gradient, u) for (gradient, _), u in slopes))
        zero.step(0.0)
        return -slope, None


def _check_load_config(model: ShardedModel, problem: Problem) -> None:
    if load_config_of(problem) != model.load_config:
        raise ValueError(
            f"this model was loaded to be trained as {model.load_config}, not as {load_config_of(problem)}"
        )
