"""`predict`: the critical learning rate of each context on a model, without a sweep."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from phantom_dist.campaign.kept import KeptPredictions, asked_of
from phantom_dist.campaign.suffices import bulk_of
from phantom_dist.contexts import SHIPPED, SHIPPED_FOR_ZOO
from phantom_dist.core.errors import InputError, Interrupted, OutOfMemory
from phantom_dist.core.probe_result import Refused
from phantom_dist.core.problem_columns import PROBLEM_COLUMNS
from phantom_dist.core.trial import Context, Lora, Optimizer, Problem
from phantom_dist.engines.path import probe_path
from phantom_dist.engines.rows import probe_row, problem_row
from phantom_dist.law.classes import says
from phantom_dist.law.domain import as_asked
from phantom_dist.law.file import read_law
from phantom_dist.law.law import LEVEL, Law
from phantom_dist.models import LoadedModel, load
from phantom_dist.scheduling.worker import device_of
from phantom_dist.spec import load_contexts

Row = dict[str, Any]

METHODS = ("full", "lora")
OPTIMIZERS = ("sgd", "adamw")


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
    observer: Any = None,
) -> Row:
    """Predict the critical learning rate of every context on a model.

    Args:
        model: as in a sweep.
        contexts: a contexts file or contexts; None for the near-synonyms that ship with the package (for models of
            the zoo, those of its language).
        law: a law or its file; None for the shipped one.
        method: `full` or `lora`.
        optimizer: `sgd` or `adamw`.
        steps: T.
        lora: the adapters; None for the defaults.
        out: a file (local path or object-store URI) that keeps what is predicted; what it holds already is not
            predicted again.
        observer: told (done, total) after each context.

    Raises:
        InputError: an unknown method or optimizer, T < 1, a model, law or contexts file that can't be read, or a file
            `out` that holds something else.
        StoreError: `out` can't be written.
        Interrupted: as it came; says what was kept.
    """
    _check(method, METHODS, "method")
    _check(optimizer, OPTIMIZERS, "optimizer")
    if steps < 1:
        raise InputError(f"steps: {steps}. Allowed: 1 and more.")
    known = law if isinstance(law, Law) else read_law(law)
    chosen = _contexts(model, contexts)
    problems = [
        Problem(
            model=model,
            context=context,
            method="lora" if method == "lora" else "full",
            lora=(lora or Lora()) if method == "lora" else None,
            optimizer=Optimizer(name="adamw" if optimizer == "adamw" else "sgd"),
            steps=steps,
        )
        for context in chosen
    ]
    kept = None if out is None else KeptPredictions(out)
    try:
        loaded = load(model, device=device_of("auto"))
        if kept is not None and problems:
            kept.belongs_to(asked_of(loaded, problems[0], known))
        predictions = []
        for problem in problems:
            predictions.append(_kept_or_new(kept, loaded, problem, known))
            if observer is not None:
                observer(len(predictions), len(problems))
        said = {model: _lora(loaded, known, steps)}
        if kept is not None:
            kept.complete(said)
    except KeyboardInterrupt:
        raise Interrupted(_interrupted(kept)) from None
    finally:
        if kept is not None:
            kept.close()
    return {"predictions": predictions, "lora": said}


def _interrupted(kept: KeptPredictions | None) -> str:
    if kept is None:
        return "interrupted; no prediction was kept: with `--out FILE` each is, and the same command goes on from there"
    return (
        f"interrupted; {len(kept)} predictions are kept in {kept.file}: the same command goes on from there"
    )


def _kept_or_new(kept: KeptPredictions | None, loaded: LoadedModel, problem: Problem, law: Law) -> Row:
    prediction = None if kept is None else kept.of(problem.context)
    if prediction is None:
        prediction = _predict(loaded, problem, law)
        if kept is not None:
            kept.add(problem.context, prediction)
    return prediction


def _lora(loaded: LoadedModel, law: Law, steps: int) -> Row:
    if law.lora_classes is None:
        nothing = dict.fromkeys(("class", "sufficient", "evidence"))
        return nothing | {"reason": "no calibration run searched under LoRA"}
    said = says(law.lora_classes, law.lora, bulk_of(loaded), steps)
    reasons = [] if said["class"] is not None else [law.lora_classes.verdict]
    reasons += [f"Outside the calibration: {where}." for where in said["evidence"]["outside_calibration"]]
    return said | {"reason": " ".join(reasons) or None}


def _predict(loaded: LoadedModel, problem: Problem, law: Law) -> Row:
    try:
        probed = probe_path(loaded, problem)
    except (OutOfMemory, ArithmeticError) as error:
        return _answer(problem_row(problem)) | {"reason": str(error)}
    row = problem_row(problem) | {k: v for k, v in probe_row(probed).items() if v is not None}
    answer = _answer(row)
    if isinstance(probed, Refused):
        return answer | {"reason": f"{probed.outcome.value}: {probed.message}"}
    if probed.path is None:
        return answer | {"reason": f"the first steps widen the gap (kappa = {probed.kappa:.3g})"}
    predicted = law.predict(as_asked(row, problem))
    return answer | {
        "eta_c": predicted.eta_c,
        "interval": None if predicted.interval is None else list(predicted.interval),
        "in_domain": predicted.in_domain,
        "reason": predicted.reason,
        "trial_steps_used": probed.trial_steps,
    }


def _answer(row: Row) -> Row:
    """The entry of a problem before anything is predicted."""
    return {key: row.get(key) for key in PROBLEM_COLUMNS} | {
        "eta_c": None,
        "interval": None,
        "level": LEVEL,
        "in_domain": False,
        "reason": None,
        "kappa": row.get("kappa"),
        "gap_0": row.get("gap_0"),
        "trial_steps_used": row.get("probe_trial_steps", 0.0),
    }


def _contexts(model: str, contexts: str | os.PathLike[str] | Sequence[Context] | None) -> Sequence[Context]:
    if contexts is None:
        return load_contexts(SHIPPED_FOR_ZOO if model.startswith("zoo:") else SHIPPED)
    if isinstance(contexts, str | os.PathLike):
        return load_contexts(Path(contexts))
    return contexts


def _check(value: str, allowed: Sequence[str], key: str) -> None:
    if value not in allowed:
        raise InputError(f"{key}: {value!r}. Allowed: {', '.join(allowed)}.")
