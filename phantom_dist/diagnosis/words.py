"""The watched words before and after a training, and the verdict on each."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

import torch
from torch import Tensor

from phantom_dist.contexts import tokens
from phantom_dist.core.errors import InputError, Refusal
from phantom_dist.core.measurement import Measurement
from phantom_dist.core.outcome import Thresholds
from phantom_dist.core.tokens import Tokens
from phantom_dist.core.trial import Context, Optimizer, Problem
from phantom_dist.engines.probe import (
    ProbeRefused,
    WholeReadout,
    in_its_direction,
    read_context,
    read_pair,
)
from phantom_dist.engines.recorder import Recorder
from phantom_dist.engines.trainable import readout_matrix, vocabulary_rows
from phantom_dist.instruments import drift, overlap
from phantom_dist.instruments.word_prompts import WordPrompts
from phantom_dist.models.last_logits import last_logits
from phantom_dist.models.load import LoadedModel


class Verdict(StrEnum):
    """What became of a word."""

    LEARNT = "learnt"
    KINEMATIC = "kinematic"
    STRUCTURAL = "structural"
    UNCHANGED = "unchanged"
    REFUSED = "refused"


@dataclass(frozen=True, kw_only=True, slots=True)
class DiagnosedWord:
    """One word before and after the training.

    Attributes:
        context: the context's id; `target`, `competitor` as the tokenizer decodes them, None where they can't be
            read.
        verdict: what became of it; `reason`: why it was refused, else None.
        gap, signal, drag, order_parameter: (before, after); gap in logits, the others dimensionless. None where
            refused.
        readout_share: the readout's share of the order parameter's change (`instruments.shares`); None without a
            change.
    """

    context: str
    target: str | None
    competitor: str | None
    verdict: Verdict
    reason: str | None = None
    gap: tuple[float, float] | None = None
    signal: tuple[float, float] | None = None
    drag: tuple[float, float] | None = None
    order_parameter: tuple[float, float] | None = None
    readout_share: float | None = None

    @property
    def factor_needed(self) -> float | None:
        """By how much larger rates would have closed the gap if it moves in proportion to them; None where it didn't
        rise, and for words that are learnt.

        First order from what this training reached, not a prediction of the law.
        """
        if self.gap is None or self.verdict in (Verdict.LEARNT, Verdict.UNCHANGED):
            return None
        before, after = self.gap
        return before / (before - after) if after > before else None

    def to_json(self) -> dict[str, Any]:
        """An entry of `words` in the JSON of `diagnose`."""
        pairs: Mapping[str, tuple[float, float] | None] = {
            name: getattr(self, name) for name in ("gap", "signal", "drag", "order_parameter")
        }
        return {
            "context": self.context,
            "target": self.target,
            "competitor": self.competitor,
            "verdict": self.verdict.value,
            "reason": self.reason,
            **{name: None if pair is None else list(pair) for name, pair in pairs.items()},
            "readout_share": self.readout_share,
            "learning_rate_factor_needed": self.factor_needed,
        }


class TwoModels:
    """The readout matrix of the model before, then of the model after: a `recorder.Geometry`."""

    frozen = False

    def __init__(self, before_Vd: Tensor, watched: int) -> None:
        self._first_Vd, self._watched = before_Vd, watched
        self._use(before_Vd)

    def _use(self, readout_Vd: Tensor) -> None:
        self._now_Vd, self._norms_V = readout_Vd, overlap.row_norms(readout_Vd)

    def trained(self, after_Vd: Tensor) -> None:
        """From now on the model after the training."""
        self._use(after_Vd)

    def watch(self, pairs_L2: Tensor) -> None:
        """A no-op, see `Geometry`."""

    def overlap_rows(self, pairs_L2: Tensor, lanes: slice) -> Tensor:
        """See `Geometry`."""
        return overlap.pair_rows(self._now_Vd, pairs_L2, self._norms_V)

    def drift(self) -> Sequence[float]:
        """See `Geometry`."""
        return [drift.embedding_drift(self._now_Vd, self._first_Vd)] * self._watched

    def hash(self) -> str:
        """Not needed: see `frozen`."""
        raise NotImplementedError


class Before:
    """The untouched model on all contexts: what of it a comparison needs, so that the model itself can go."""

    def __init__(self, loaded: LoadedModel, contexts: Iterable[Context], thresholds: Thresholds) -> None:
        self._thresholds = thresholds
        self.refused: list[DiagnosedWord] = []
        self._contexts: list[Context] = []
        self._tokens: list[Tokens] = []
        for context in contexts:
            try:
                words, read = _read(loaded, context, thresholds)
            except ProbeRefused as refused:
                self.refused.append(_refused(context, refused))
            else:
                self._contexts.append(words)
                self._tokens.append(read)
        self._rows = vocabulary_rows(loaded.model)
        self._prompts = WordPrompts(self._tokens)
        if self._tokens:
            self._logits_PV = _logits(loaded, self._prompts)
            self._readout_Vd = readout_matrix(loaded.model).detach().clone()
            self._geometry = TwoModels(self._readout_Vd, len(self._tokens))
            self._recorder = Recorder(self._geometry, self._tokens, self._readout_Vd.device)
            self._first = self._recorder.measure(0, *self._prompts.split(self._logits_PV))

    def compared(self, after: LoadedModel) -> Iterator[DiagnosedWord]:
        """The verdict on each word that was not refused.

        Raises:
            InputError: the models have different vocabularies, or one gives NaN or Inf.
        """
        if not self._tokens:
            return
        shapes = [tuple(readout.shape) for readout in (readout_matrix(after.model), self._readout_Vd)]
        if shapes[0] != shapes[1]:
            raise InputError(
                f"the models can't be compared: their readout matrices have the shapes {shapes[1]} before the training "
                f"and {shapes[0]} after it"
            )
        for context, read in zip(self._contexts, self._tokens, strict=True):
            chosen = read.competitor if context.competitor == tokens.AUTO else None
            try:
                again = tokens.tokenise(after.tokenizer, context, chosen, rows=self._rows)
            except Refusal as refusal:
                raise InputError(f"the tokenizer after the training: {refusal.message}") from None
            if again != read:
                raise InputError(
                    f"context {context.id!r}: the tokenizer after the training reads it otherwise than the one before"
                )
        logits_PV = _logits(after, self._prompts)
        self._geometry.trained(readout_matrix(after.model).detach())
        last = self._recorder.measure(1, *self._prompts.split(logits_PV))
        for place, (context, read) in enumerate(zip(self._contexts, self._tokens, strict=True)):
            before, now = self._first[place], last[place]
            if not (before.finite and now.finite):
                when = "after" if before.finite else "before"
                raise InputError(f"context {context.id!r}: the logits {when} the training are NaN or Inf")
            same = torch.equal(self._logits_PV[place], logits_PV[place]) and before.logit_gap == now.logit_gap
            yield _word(context, read, before, now, self._verdict(before, now, same=same))

    def _verdict(self, before: Measurement, after: Measurement, *, same: bool) -> Verdict:
        if same:
            return Verdict.UNCHANGED
        if after.logit_gap > 0:
            return Verdict.LEARNT
        if after.drag < before.drag - self._thresholds.structural_drag:
            return Verdict.STRUCTURAL
        return Verdict.KINEMATIC


def _read(loaded: LoadedModel, context: Context, thresholds: Thresholds) -> tuple[Context, Tokens]:
    """The context in the direction that the model had to learn, and its tokens."""
    problem = Problem(
        model=loaded.folder.reference,
        context=context,
        method="full",
        optimizer=Optimizer(name="sgd"),
        steps=1,
        thresholds=thresholds,
    )
    matrix = WholeReadout(readout_matrix(loaded.model))

    def read(words: Context) -> tuple[Context, Tokens]:
        known = read_context(loaded, problem, words, matrix, None)
        with torch.no_grad():
            logits_PV = torch.stack([last_logits(loaded.model, prompt) for prompt in known.prompts]).float()
        return words, read_pair(known, logits_PV).tokens

    return in_its_direction(problem, read)


@torch.no_grad()
def _logits(loaded: LoadedModel, prompts: WordPrompts) -> Tensor:
    return torch.stack([last_logits(loaded.model, prompt) for prompt in prompts.prompts]).float()


def _refused(context: Context, refused: ProbeRefused) -> DiagnosedWord:
    pair = refused.result.pair
    return DiagnosedWord(
        context=context.id,
        target=None if pair is None else pair.tokens.target_text,
        competitor=None if pair is None else pair.tokens.competitor_text,
        verdict=Verdict.REFUSED,
        reason=f"{refused.result.outcome.value}: {refused.result.message}",
    )


def _word(
    context: Context, read: Tokens, before: Measurement, after: Measurement, verdict: Verdict
) -> DiagnosedWord:
    change = (after.readout_change or 0.0) + (after.geometry_change or 0.0)
    return DiagnosedWord(
        context=context.id,
        target=read.target_text,
        competitor=read.competitor_text,
        verdict=verdict,
        gap=(before.logit_gap, after.logit_gap),
        signal=(before.signal, after.signal),
        drag=(before.drag, after.drag),
        order_parameter=(before.order_parameter, after.order_parameter),
        readout_share=(after.readout_change or 0.0) / change if change else None,
    )
