"""`diagnose`: what a finished training did to each word, from the checkpoint or the adapter alone.

Nothing is trained. Both models read every context once; what a word's gap, signal and drag were before and after tells
the failure modes apart as in a sweep (`instruments.outcome`). The formulas are this project's reconstruction.
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from phantom_dist.contexts import contexts_or_shipped
from phantom_dist.core.errors import InputError
from phantom_dist.core.outcome import Thresholds
from phantom_dist.core.result import Result, table
from phantom_dist.core.trial import Context
from phantom_dist.diagnosis.trainer_state import Recorded, last_checkpoint, recorded_in
from phantom_dist.diagnosis.whole_change import Finding, WholeChange, equal_weights, whole_change
from phantom_dist.diagnosis.words import Before, DiagnosedWord, Verdict
from phantom_dist.models.adapter import Permissions
from phantom_dist.models.adapter_folder import PREFIX, open_adapter
from phantom_dist.models.folder import ADAPTER_CONFIG
from phantom_dist.models.load import LoadedModel, load

if TYPE_CHECKING:
    from rich.table import Table

MEANING: Mapping[Finding, str] = {
    Finding.UNCHANGED: "all weights equal the base's: the training changed nothing, or its adapter isn't in this model",
    Finding.MERGED_TWICE: "the adapter is in these weights twice: its base holds it already",
    Finding.WRONG_BASE: "the adapter doesn't explain how the weights changed: its base is another model than this one",
}


@dataclass(frozen=True, kw_only=True, slots=True)
class DiagnoseResult(Result):
    """What became of each word.

    Attributes:
        model, before: references of both models.
        words: in the order of the contexts.
        finding: what is wrong with the model as a whole; None where nothing is.
        adapter: how the adapter explains the change of all weights; None where its own base is the model before.
        training: what a trainer recorded beside the model; None where it recorded nothing.
    """

    model: str
    before: str
    words: tuple[DiagnosedWord, ...]
    finding: Finding | None
    adapter: WholeChange | None
    training: Recorded | None

    @property
    def counts(self) -> dict[str, int]:
        """Number of words by verdict."""
        counted = Counter(word.verdict.value for word in self.words)
        return {verdict.value: counted[verdict.value] for verdict in Verdict}

    def rate_needed(self, word: DiagnosedWord) -> float | None:
        """The peak rate that `DiagnosedWord.factor_needed` stands for; None where the rate in use isn't known."""
        used = None if self.training is None else self.training.learning_rate
        return None if used is None or word.factor_needed is None else used * word.factor_needed

    def to_json(self) -> dict[str, Any]:
        """The JSON object of `diagnose`."""
        return {
            "model": self.model,
            "before": self.before,
            "counts": self.counts,
            "finding": None if self.finding is None else self.finding.value,
            "adapter": None if self.adapter is None else self.adapter.to_json(),
            "training": None if self.training is None else self.training.to_json(),
            "words": [
                word.to_json() | {"learning_rate_needed": self.rate_needed(word)} for word in self.words
            ],
        }

    def parts(self) -> Iterable[str | Table]:
        """One line for each word, and what is wrong with the whole."""
        yield f"{self.model} beside {self.before}"
        if self.finding is not None:
            yield f"{self.finding.value}: {MEANING[self.finding]}"
        if self.training is not None:
            yield f"trained for {self.training.steps} steps{_at(self.training)}"
        shown = table(
            "what the training did to each word",
            ("context", "target / competitor", "verdict"),
            ("gap", "signal", "drag", "readout's share", "times the rate", "rate needed"),
            ("note",),
        )
        for word in self.words:
            needed, factor = self.rate_needed(word), word.factor_needed
            shown.add_row(
                word.context,
                "" if word.target is None else f"{word.target} /{word.competitor}",
                word.verdict.value,
                *(_arrow(pair) for pair in (word.gap, word.signal, word.drag)),
                "" if word.readout_share is None else f"{word.readout_share:.2f}",
                *("" if value is None else f"{value:.2g}" for value in (factor, needed)),
                word.reason or "",
            )
        yield shown
        yield ", ".join(f"{count} {name}" for name, count in self.counts.items() if count)


def _at(training: Recorded) -> str:
    if training.learning_rate is not None:
        return f", learning rate up to {training.learning_rate:.3g}"
    if training.logged is None:
        return ""
    return f", learning rate unknown: {training.logged:.3g} is the largest of those that were logged, not at every step"


def _arrow(pair: tuple[float, float] | None) -> str:
    return "" if pair is None else f"{pair[0]:+.3f} → {pair[1]:+.3f}"


def diagnose(
    model: str,
    before: str | None = None,
    contexts: str | os.PathLike[str] | Sequence[Context] | None = None,
    *,
    allow_pickle: bool = False,
    trust_remote_code: bool = False,
) -> DiagnoseResult:
    """Say what a finished training did to each word.

    Args:
        model: the trained model as in a sweep, or the folder of a trainer's output: a checkpoint, or an adapter.
        before: the model that the training began with; by default an adapter's base.
        contexts: contexts or a contexts file; None for those that ship with the package.
        allow_pickle, trust_remote_code: as in a sweep's `execution`.

    Raises:
        InputError: a model that can't be loaded, two that can't be compared, or contexts that can't be read.
    """
    permissions = Permissions(pickle=allow_pickle, remote_code=trust_remote_code)
    model, folder = _reference(model)
    own_base = open_adapter(model, permissions).base if model.startswith(PREFIX) else None
    before = before or own_base
    if before is None:
        raise InputError(f"diagnose {model}: only an adapter says what it began with; name it with --before")
    asked = contexts_or_shipped(contexts, before)

    def loaded(reference: str) -> LoadedModel:
        return load(reference, allow_pickle=allow_pickle, trust_remote_code=trust_remote_code)

    first = loaded(before)
    untouched = Before(first, asked, Thresholds())
    last = loaded(model)
    words = {word.context: word for word in (*untouched.refused, *untouched.compared(last))}
    finding, change = _whole(first, last, None if own_base in (None, before) else loaded(str(own_base)))
    return DiagnoseResult(
        model=model,
        before=before,
        words=tuple(words[context.id] for context in asked),
        finding=finding,
        adapter=change,
        training=None if folder is None else recorded_in(folder),
    )


def _whole(
    before: LoadedModel, after: LoadedModel, base: LoadedModel | None
) -> tuple[Finding | None, WholeChange | None]:
    if base is not None:
        try:
            change = whole_change(before.model, base.model, after.model)
        except ValueError as error:
            raise InputError(
                f"the models can't be compared: their parameter {error} differs in shape"
            ) from None
        if change is not None:
            return change.finding, change
    return (Finding.UNCHANGED if equal_weights(before.model, after.model) else None), None


def _reference(model: str) -> tuple[str, Path | None]:
    """The model's reference and its folder: of a trainer's output folder without a model, its last checkpoint."""
    path = Path(model.removeprefix(PREFIX)).expanduser()
    if not path.is_dir():
        return model, None
    if not (path / "config.json").is_file() and not (path / ADAPTER_CONFIG).is_file():
        path = last_checkpoint(path) or path
    is_adapter = (path / ADAPTER_CONFIG).is_file()
    return (f"{PREFIX}{path}" if is_adapter else str(path)), path
