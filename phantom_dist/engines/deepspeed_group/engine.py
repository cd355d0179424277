"""Trials and probes on a sharded model, with the training loop of `single` and the measurement of `probe`."""

from __future__ import annotations

import functools
import math
import time
from collections.abc import Callable, Iterator, Sequence
from weakref import WeakKeyDictionary

from torch import Tensor

from phantom_dist.core.measurement import Trial, TrialResult, by_training
from phantom_dist.core.probe_result import Measured, ProbeResult
from phantom_dist.core.tokens import Tokens
from phantom_dist.core.trial import Context, Problem
from phantom_dist.data import Batches
from phantom_dist.engines import DEEPSPEED
from phantom_dist.engines.deepspeed_group.readout import ShardedGeometry
from phantom_dist.engines.deepspeed_group.sharded import ShardedModel, load_config_of
from phantom_dist.engines.deepspeed_group.zero import Zero
from phantom_dist.engines.memory import out_of_memory_named
from phantom_dist.engines.objective import gap_of
from phantom_dist.engines.optimizers import clip_scale
from phantom_dist.engines.probe import ProbeRefused, in_its_direction, measure, read_context
from phantom_dist.engines.recorder import Recorder
from phantom_dist.engines.single import Parts, losses_of_tokens, train
from phantom_dist.engines.training_sets import TrainingSets
from phantom_dist.engines.watch import Watch
from phantom_dist.instruments import kernel_rate
from phantom_dist.instruments.plugin_instruments import Named


class DeepSpeedEngine:
    """The engine `deepspeed`, on one rank of a group; every rank gets the same results.

    The column `engine` holds the name and ZeRO's stage.
    """

    def __init__(
        self, plugin_instruments: Sequence[Named] = (), training_sets: TrainingSets | None = None
    ) -> None:
        self._plugin_instruments = plugin_instruments
        self._training_sets = training_sets or TrainingSets()
        self._set_directions: WeakKeyDictionary[Zero, tuple[object, list[Tensor]]] = WeakKeyDictionary()

    def run(self, model: ShardedModel, trials: Sequence[Trial]) -> Iterator[TrialResult]:
        """Train the trials in order, each training from the untouched weights; see `engine.Engine.run`.

        The ranks share the sequences of a training set's batches, and the prompts that are watched.
        """
        for watched in by_training(trials):
            start, problem = time.perf_counter(), watched[0].problem
            _check_load_config(model, problem)
            batches = self._training_sets.batches(model.whole, problem)
            self._set_directions.clear()  # a training needs the memory
            with out_of_memory_named():
                model.zero.reset(problem.optimizer)
                watch, device = Watch(watched), model.whole.model.device
                geometry = ShardedGeometry(model.readout, len(watched))
                recorder = Recorder(geometry, watch.tokens, device, self._plugin_instruments)
                losses_of = None if batches is None else functools.partial(_losses, model.zero, batches)
                train(model.zero, watch, recorder, losses_of)
            yield from watch.results(
                model.vocabulary_size, time.perf_counter() - start, f"{DEEPSPEED} {model.zero.stage}"
            )

    def probe(self, model: ShardedModel, problem: Problem) -> ProbeResult:
        """Measure κ and the quantities it follows from; as `probe.probe`."""
        _check_load_config(model, problem)
        try:
            with out_of_memory_named():
                return in_its_direction(problem, lambda words: self._probe(model, problem, words))
        except ProbeRefused as refused:
            return refused.result

    def _probe(self, model: ShardedModel, problem: Problem, words: Context) -> Measured:
        batches = self._training_sets.batches(model.whole, problem)
        context = read_context(model.whole, problem, words, model.readout, model.lora_targets, batches)
        model.zero.reset(problem.optimizer)
        start = ShardedFirstOrder(
            model.zero,
            problem,
            context.prompts,
            None if batches is None else self._set_direction(model, problem, batches),
        )
        measured, _ = measure(context, start, start.untouched_logits())
        return measured

    def _set_direction(self, model: ShardedModel, problem: Problem, batches: Batches) -> list[Tensor]:
        """This rank's shard of u along the sample's mean loss (`Batches.sample`), kept for the training's contexts."""
        key = (problem.without_context, batches)
        kept = self._set_directions.get(model.zero)
        if kept is None or kept[0] != key:
            sample, size = batches.sample, batches.training.batch_size
            passes = math.ceil(len(sample.sequences) / size * batches.training.accumulate)
            kept = key, _direction(model.zero, problem, model.zero.losses(sample, passes))
            self._set_directions[model.zero] = kept
        return kept[1]


def _losses(zero: Zero, batches: Batches, step: int) -> Parts:
    """The loss of a step's batch in parts, one for each pass."""
    return zero.losses(batches[step], batches.training.accumulate)


def _direction(zero: Zero, problem: Problem, losses: Parts) -> list[Tensor]:
    """This rank's shard of u, the optimizer's first direction along the gradient of a sum of losses."""
    zero.backward(losses)
    if problem.gradient_clipping is not None:
        zero.clip(clip_scale(zero.gradient_norm(), problem.gradient_clipping))
    direction = [
        kernel_rate.first_direction(gradient, parameter, problem.optimizer).clone()
        for gradient, parameter in zero.gradients()
    ]
    zero.step(0.0)
    return direction


def _negative(part: Callable[[], Tensor]) -> Tensor:
    return -part()


class ShardedFirstOrder:
    """A `coordinates.FirstOrder` over all ranks: each keeps its shard of u while ∇g is computed.

    Args:
        zero: the untouched model.
        problem: its optimizer and clipping determine u.
        prompts: those of the context (`WordPrompts`).
        direction: with a training set, this rank's shard of u; else u follows from the context's own loss.
    """

    def __init__(
        self,
        zero: Zero,
        problem: Problem,
        prompts: Sequence[tuple[int, ...]],
        direction: list[Tensor] | None,
    ) -> None:
        self._zero, self._problem, self._prompts, self._direction = zero, problem, prompts, direction

    def untouched_logits(self) -> Tensor:
        """See `FirstOrder`; not differentiable."""
        return self._zero.logits(self._prompts, gradient=False).float()

    def first_order(self, logits_PV: Tensor, pair: Tokens, *, keep: bool = False) -> tuple[float, None]:
        """See `FirstOrder`; no rank ever holds all of ∇L, so `keep` has no effect."""
        # DeepSpeed allows one backward pass for each forward pass, so every token's loss has its own.
        zero, direction = self._zero, self._direction
        if direction is None:
            direction = _direction(zero, self._problem, losses_of_tokens(zero, pair))
        if pair.pair_kind == "single":
            zero.backward([lambda: gap_of(zero.logits(self._prompts, gradient=True)[0].float(), pair)])
        else:  # g is the competitor's loss minus the target's
            own = [functools.partial(_negative, loss) for loss in losses_of_tokens(zero, pair)]
            zero.backward([*own, *losses_of_tokens(zero, pair.exchanged)])
        slopes = zip(zero.gradients(), direction, strict=True)
        slope = zero.sum(sum(kernel_rate.inner_product(gradient, u) for (gradient, _), u in slopes))
        zero.step(0.0)
        return -slope, None


def _check_load_config(model: ShardedModel, problem: Problem) -> None:
    if load_config_of(problem) != model.load_config:
        raise ValueError(
            f"this model was loaded to be trained as {model.load_config}, not as {load_config_of(problem)}"
        )
