"""The reference engine: one training after another, in plain torch. Every other engine is tested against it.

A training of T steps: measure the untouched model, then T times: gradient of the loss, clipped where the sweep says so,
optimizer step, measure. The loss is that of one context's target; with a training set that of the step's batch, and any
number of contexts are watched. The model stays in evaluation mode, so only the adapters'
initialisation is random.
"""

from __future__ import annotations

import functools
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from typing import Protocol

import torch
from torch import Tensor

from phantom_dist.core.measurement import Trial, TrialResult, by_training
from phantom_dist.core.tokens import Tokens
from phantom_dist.core.trial import Problem
from phantom_dist.data import Batches
from phantom_dist.engines import kept_memory
from phantom_dist.engines.memory import out_of_memory_named
from phantom_dist.engines.objective import loss_of, token_loss
from phantom_dist.engines.optimizers import clip_scale, torch_optimizer, undecayed_parameters
from phantom_dist.engines.precision import autocast
from phantom_dist.engines.recorder import Recorder, SoloGeometry
from phantom_dist.engines.trainable import Trainable, readout_matrix, trainable
from phantom_dist.engines.training_sets import TrainingSets, losses
from phantom_dist.engines.watch import Watch
from phantom_dist.instruments import kernel_rate
from phantom_dist.instruments.plugin_instruments import Named
from phantom_dist.instruments.word_prompts import WordPrompts
from phantom_dist.models.last_logits import last_logits
from phantom_dist.models.load import LoadedModel


class SingleEngine:
    """The engine `single`."""

    name = "single"

    def __init__(
        self, plugin_instruments: Sequence[Named] = (), training_sets: TrainingSets | None = None
    ) -> None:
        self._plugin_instruments = plugin_instruments
        self._training_sets = training_sets or TrainingSets()

    def run(self, loaded: LoadedModel, trials: Sequence[Trial]) -> Iterator[TrialResult]:
        """Train the trials in order, each training from the untouched model; see `engine.Engine.run`."""
        kept_memory.drop()
        for watched in by_training(trials):
            problem, start = watched[0].problem, time.perf_counter()
            with out_of_memory_named(), trainable(loaded, problem) as ready:
                batches = self._training_sets.batches(loaded, problem)
                recorder = Recorder(
                    SoloGeometry(ready, len(watched)),
                    [trial.measured.tokens for trial in watched],
                    loaded.model.device,
                    self._plugin_instruments,
                )
                model = InProcess(ready, problem)
                losses_of = None if batches is None else functools.partial(model.losses, batches)
                watch = train(model, Watch(watched), recorder, losses_of)
            yield from watch.results(
                readout_matrix(loaded.model).shape[0], time.perf_counter() - start, self.name
            )


Parts = Sequence[Callable[[], Tensor]]
"""A sum of numbers, each computed when it is called."""


class ModelInTraining(Protocol):
    """What the loop needs of a model, whether this process holds its weights or the ranks of a group a share each."""

    def logits(self, prompts: Sequence[tuple[int, ...]], *, gradient: bool) -> Tensor:
        """Logits after each prompt (P, V), in the model's precision; differentiable if a `gradient` follows."""
        ...

    def backward(self, parts: Parts) -> float:
        """Take the gradient of a sum of numbers, each of them before the next is computed; returns the sum."""
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


def train(
    model: ModelInTraining,
    watch: Watch,
    recorder: Recorder,
    losses_of: Callable[[int], Parts] | None = None,
) -> Watch:
    """Train once; it ends early where nothing can change any more.

    Args:
        model: the model, untouched.
        watch: the training and its contexts.
        recorder: measures them.
        losses_of: the loss of a step's batch in parts, one for each pass; None for the loss of the one context.
    """
    problem, tokens = watch.problem, watch.tokens
    words = WordPrompts(tokens)
    if losses_of is None and tokens[0].pair_kind == "several":
        parts = losses_of_tokens(model, tokens[0])
        losses_of = lambda step: parts  # noqa: E731
    factors = problem.schedule.factors(problem.steps)
    for step in range(problem.steps + 1):
        is_last = step == problem.steps
        if watch.is_due(step):
            gradient = losses_of is None and not is_last
            logits_PV = model.logits(words.prompts, gradient=gradient)
            watch.add(recorder.measure(step, *words.split(logits_PV)))
            if watch.ended:
                break
        if losses_of is None:
            loss = model.backward([functools.partial(loss_of, logits_PV[0].float(), tokens[0])])
        else:
            loss = model.backward(losses_of(step))
        norm = model.gradient_norm()
        watch.stepped(step, norm, loss)
        if (scale := clip_scale(norm, problem.gradient_clipping)) != 1.0:
            model.clip(scale)
        model.step(watch.learning_rate * factors[step])
    return watch


def losses_of_tokens(model: ModelInTraining, word: Tokens) -> Parts:
    """The loss of a target, one token after another."""

    def loss(prompt: tuple[int, ...], token: int) -> Tensor:
        return token_loss(model.logits([prompt], gradient=True)[0].float(), token)

    return [functools.partial(loss, prompt, token) for prompt, token in word.target_places]


class InProcess:
    """A `ModelInTraining` whose weights this process holds."""

    def __init__(self, ready: Trainable, problem: Problem) -> None:
        self._ready, self._is_mixed = ready, problem.is_mixed
        undecayed = undecayed_parameters(ready.model) if problem.decays_apart else ()
        self._optimizer = torch_optimizer(ready.parameters, problem.optimizer, undecayed)

    def logits(self, prompts: Sequence[tuple[int, ...]], *, gradient: bool) -> Tensor:
        """See `ModelInTraining`."""
        with torch.set_grad_enabled(gradient), autocast(self._ready.readout_Vd.device, self._is_mixed):
            return torch.stack([last_logits(self._ready.model, prompt) for prompt in prompts])

    def losses(self, batches: Batches, step: int) -> Parts:
        """The loss of a step's batch in parts, one for each pass."""
        device, dropout = self._ready.readout_Vd.device, self._ready.dropout

        @contextmanager
        def around(number: int) -> Iterator[None]:
            with (
                autocast(device, self._is_mixed),
                nullcontext() if dropout is None else dropout.drawn(step, number),
            ):
                yield

        return losses(self._ready.model, batches[step], batches.training.accumulate, device, around)

    def backward(self, parts: Parts) -> float:
        """See `ModelInTraining`."""
        self._optimizer.zero_grad()
        total = 0.0
        for part in parts:
            value = part()
            value.backward()
            total += float(value.detach())
        return total

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
