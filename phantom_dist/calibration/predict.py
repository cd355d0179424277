"""`predict`: critical learning rates from a law instead of a sweep, of a model's contexts or of a whole sweep file."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from phantom_dist.calibration.kept_predictions import KeptPredictions
from phantom_dist.calibration.lora_sufficiency import bulk_of
from phantom_dist.calibration.predicted_rate import (
    PredictedRate,
    predicted_rate,
    predictions_text,
    unpredicted,
)
from phantom_dist.calibration.predicted_training import (
    NOTHING_PROBED,
    PredictedTraining,
    predict_on_set,
    trainings_text,
)
from phantom_dist.contexts import contexts_or_shipped
from phantom_dist.core.errors import InputError, Interrupted, OutOfMemory
from phantom_dist.core.result import Result
from phantom_dist.core.trial import (
    OPTIMIZER_NAMES,
    Context,
    Lora,
    Optimizer,
    Problem,
    problems_by_training,
)
from phantom_dist.data.of_sweep import with_data
from phantom_dist.engines import kept_memory
from phantom_dist.engines.path.cost import unwalked
from phantom_dist.engines.path.probe import WALKS, probe_path
from phantom_dist.engines.training_sets import TrainingSets
from phantom_dist.law.file import read_law
from phantom_dist.law.law import Law
from phantom_dist.law.sufficiency_split import SufficiencyPrediction, predict_sufficiency
from phantom_dist.models.adapter import Permissions
from phantom_dist.models.device import device_of
from phantom_dist.models.load import LoadedModel, load
from phantom_dist.records import problem_row
from phantom_dist.spec import expand
from phantom_dist.spec import load as load_sweep

if TYPE_CHECKING:
    from rich.table import Table

METHODS = ("full", "lora")


@dataclass(frozen=True, kw_only=True, slots=True)
class LoraSufficiency:
    """LoRA sufficiency of a model; `prediction` is None where no calibration run searched under LoRA."""

    prediction: SufficiencyPrediction | None
    reason: str | None

    def to_json(self) -> dict[str, Any]:
        """The model's object under `lora` in the JSON of `predict`."""
        made = self.prediction
        return {
            "class": None if made is None else made.architecture_class,
            "sufficient": None if made is None else made.sufficient,
            "evidence": None if made is None else made.evidence.to_json(),
            "reason": self.reason,
        }

    def lines(self, model: str) -> Iterable[str]:
        """The result as text."""
        if self.prediction is None:
            yield f"LoRA sufficiency of {model}: unknown ({self.reason})"
            return
        evidence = self.prediction.evidence
        share = f"{evidence.sufficient_contexts} of {evidence.contexts} calibrated contexts"
        word = "is" if self.prediction.sufficient else "is not"
        yield (
            f"LoRA {word} sufficient for {model}; it was in {share} of {evidence.architectures} architectures. "
            f"{evidence.classes}"
        )
        for reason in evidence.outside_calibration:
            yield f"  outside the calibration: {reason}"


@dataclass(frozen=True, kw_only=True, slots=True)
class PredictResult(Result):
    """The predicted critical rates, in the order of the contexts or the sweep; `lora` by the model's reference.

    `trainings`: on training sets, what follows for all words of each.
    """

    predictions: tuple[PredictedRate, ...]
    trainings: tuple[PredictedTraining, ...] = ()
    lora: Mapping[str, LoraSufficiency]

    def to_json(self) -> dict[str, Any]:
        """The JSON object of `predict`."""
        return {
            "predictions": [prediction.to_json() for prediction in self.predictions],
            "trainings": [training.to_json() for training in self.trainings],
            "lora": {model: sufficiency.to_json() for model, sufficiency in self.lora.items()},
        }

    def parts(self) -> Iterable[str | Table]:
        """Critical learning rates with their intervals, or the reason where there is none."""
        yield from predictions_text(self.predictions)
        if self.trainings:
            yield from trainings_text(self.trainings)
        for model, sufficiency in self.lora.items():
            yield from sufficiency.lines(model)


def predict(
    model: str,
    contexts: str | os.PathLike[str] | Sequence[Context] | None = None,
    *,
    law: str | os.PathLike[str] | Law | None = None,
    method: str = "full",
    optimizer: str = "sgd",
    steps: int = 8,
    lora: Lora | None = None,
    out: str | os.PathLike[str] | None = None,
    observer: Callable[[int, int], None] | None = None,
) -> PredictResult:
    """Predict the critical learning rate of every context on a model.

    Args:
        model: a model reference, as in a sweep.
        contexts: contexts or a contexts file; None for the contexts that ship with the package (for models of the zoo,
            those in its language).
        law: a law or a law file; None for the shipped one.
        method: `full` or `lora`.
        optimizer: `sgd` or `adamw`.
        steps: T.
        lora: LoRA's settings; None for the defaults.
        out: a file (local path or object-store URI) that stores predictions; those already in it are not made again.
        observer: called with (done, total) after each context.

    Raises:
        InputError: an unknown method or optimizer, an optimizer whose path can't be probed, T < 1, a model, law or
            contexts file that can't be read, or a file `out` that contains something else.
        StoreError: `out` can't be written.
        Interrupted: on KeyboardInterrupt; the message says what is stored.
    """
    _check(method, METHODS, "method")
    if optimizer in OPTIMIZER_NAMES and optimizer not in WALKS:
        raise InputError(unwalked(optimizer))
    _check(optimizer, tuple(WALKS), "optimizer")
    if steps < 1:
        raise InputError(f"steps: {steps}. Allowed: 1 and more.")
    known = law if isinstance(law, Law) else read_law(law)
    problems = [
        Problem(
            model=model,
            context=context,
            method="lora" if method == "lora" else "full",
            lora=(lora or Lora()) if method == "lora" else None,
            optimizer=Optimizer.model_validate({"name": optimizer}),
            steps=steps,
        )
        for context in contexts_or_shipped(contexts, model)
    ]
    return _predict_all(problems, Permissions(), known, out, observer)


def predict_sweep(
    sweep: str | os.PathLike[str] | Mapping[str, Any],
    *,
    law: str | os.PathLike[str] | Law | None = None,
    out: str | os.PathLike[str] | None = None,
    observer: Callable[[int, int], None] | None = None,
) -> PredictResult:
    """Predict the critical learning rate of every model, training and context of a sweep.

    On a training set it also says from which rate on most words are learnt, and where the tools' defaults lie.

    Args:
        sweep: a sweep file, or a mapping of the same form. Its learning rates are not used.
        law, out, observer: as for `predict`.

    Raises:
        InputError: as for `predict`, and for a sweep or training data that can't be read.
        StoreError, Interrupted: as for `predict`.
    """
    spec = load_sweep(sweep if isinstance(sweep, Mapping) else os.fspath(sweep))
    read = with_data(spec)
    problems = expand(read.spec)
    sets = TrainingSets() if read.data is None else TrainingSets.of(read.data)
    for name in sorted({problem.optimizer.name for problem in problems} - WALKS.keys()):
        raise InputError(unwalked(name))
    known = law if isinstance(law, Law) else read_law(law)
    allowed = spec.execution
    permissions = Permissions(pickle=allowed.allow_pickle, remote_code=allowed.trust_remote_code)
    return _predict_all(problems, permissions, known, out, observer, sets)


def _predict_all(
    problems: Sequence[Problem],
    permissions: Permissions,
    law: Law,
    out: str | os.PathLike[str] | None,
    observer: Callable[[int, int], None] | None,
    sets: TrainingSets | None = None,
) -> PredictResult:
    kept = None if out is None else KeptPredictions(out, law)
    found: dict[Problem, PredictedRate] = {}
    trainings: list[PredictedTraining] = []
    sufficiency: dict[str, LoraSufficiency] = {}
    loads = dict.fromkeys((problem.model, problem.weights_precision) for problem in problems)
    try:
        for model, precision in loads:
            loaded = load(
                model,
                precision=precision,
                device=device_of("auto"),
                allow_pickle=permissions.pickle,
                trust_remote_code=permissions.remote_code,
            )
            if kept is not None:
                kept.require(model, loaded.identity.weights)
            own = [p for p in problems if (p.model, p.weights_precision) == (model, precision)]
            with kept_memory.kept():
                for words in problems_by_training(own).values():
                    if words[0].training is None:
                        found[words[0]] = _kept_or_new(kept, loaded, words[0], law)
                    else:
                        assert sets is not None
                        training = _kept_or_new_on_set(kept, loaded, words, sets, law)
                        found |= zip(words, training.words, strict=True)
                        trainings.append(training)
                    if observer is not None:
                        observer(len(found), len(problems))
            sufficiency[model] = _sufficiency(loaded, law, min(problem.steps for problem in own))
        if kept is not None:
            kept.complete({name: item.to_json() for name, item in sufficiency.items()})
    except KeyboardInterrupt:
        raise Interrupted(_interrupted(kept)) from None
    finally:
        if kept is not None:
            kept.close()
    return PredictResult(
        predictions=tuple(found[problem] for problem in problems),
        trainings=tuple(trainings),
        lora=sufficiency,
    )


def _interrupted(kept: KeptPredictions | None) -> str:
    if kept is None:
        return "interrupted; no prediction was stored: with `--out FILE` each is, and the same command continues there"
    return f"interrupted; {len(kept)} predictions are stored in {kept.file}: the same command continues there"


def _kept_or_new(
    kept: KeptPredictions | None, loaded: LoadedModel, problem: Problem, law: Law
) -> PredictedRate:
    stored = None if kept is None else kept.of(problem)
    if stored is not None:
        return stored
    prediction = _predict(loaded, problem, law)
    if kept is not None:
        kept.add(problem, prediction)
    return prediction


def _kept_or_new_on_set(
    kept: KeptPredictions | None,
    loaded: LoadedModel,
    problems: Sequence[Problem],
    sets: TrainingSets,
    law: Law,
) -> PredictedTraining:
    stored = None if kept is None else kept.of_training(problems)
    if stored is not None:
        return stored
    try:
        training = predict_on_set(loaded, problems, sets, law)
    except (OutOfMemory, ArithmeticError) as error:
        words = tuple(unpredicted(problem_row(problem), str(error)) for problem in problems)
        training = PredictedTraining(words=words, probed=NOTHING_PROBED)
    if kept is not None:
        kept.add_training(problems, training)
    return training


def _sufficiency(loaded: LoadedModel, law: Law, steps: int) -> LoraSufficiency:
    split = law.lora_split
    if split is None:
        return LoraSufficiency(prediction=None, reason="no calibration run searched under LoRA")
    prediction = predict_sufficiency(split, law.lora, bulk_of(loaded), steps)
    reasons = [] if prediction.architecture_class is not None else [split.verdict]
    reasons += [f"Outside the calibration: {where}." for where in prediction.evidence.outside_calibration]
    return LoraSufficiency(prediction=prediction, reason=" ".join(reasons) or None)


def _predict(loaded: LoadedModel, problem: Problem, law: Law) -> PredictedRate:
    try:
        probed = probe_path(loaded, problem)
    except (OutOfMemory, ArithmeticError) as error:
        return unpredicted(problem_row(problem), str(error))
    return predicted_rate(probed, law)


def _check(value: str, allowed: Sequence[str], key: str) -> None:
    if value not in allowed:
        raise InputError(f"{key}: {value!r}. Allowed: {', '.join(allowed)}.")
