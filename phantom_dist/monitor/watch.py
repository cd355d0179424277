"""The watch list: contexts from a file, a list or the package, turned into tokens and checked against the model.

The checks are those of a sweep (`contexts`): words that extend the prompt, near-synonyms for this model, and a
competitor that it prefers. A pair that fails a check is refused with the reason; the others are watched.
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from pydantic import ValidationError
from torch import Tensor

from phantom_dist.contexts import (
    SHIPPED,
    check_pair,
    check_tokenizer,
    choose_pair,
    load_contexts,
    prompts_and_target,
    synonym_floor,
)
from phantom_dist.core.errors import InputError, Refusal
from phantom_dist.core.outcome import Outcome, Thresholds
from phantom_dist.core.tokens import Tokens
from phantom_dist.core.trial import Context
from phantom_dist.instruments import readout
from phantom_dist.instruments.overlap import overlap_rows, row_rms
from phantom_dist.instruments.word_prompts import read_word, word_gap
from phantom_dist.monitor.look import logits_of
from phantom_dist.monitor.peft_method import text_positions, virtual_tokens
from phantom_dist.monitor.readout_geometry import effective_matrix, readout_module

Watch = str | os.PathLike[str] | Sequence[Context | Mapping[str, str]] | None
"""A contexts file, contexts (or mappings with a file's keys), or None: the near-synonyms that ship with the package."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Watched:
    """One watched context with its tokens under the model's tokenizer."""

    context: Context
    tokens: Tokens


def contexts_of(watch: Watch) -> tuple[Context, ...]:
    """The contexts of a watch list.

    Raises:
        InputError: the file can't be read, an entry is no context, or two entries have the same id.
    """
    if watch is None or isinstance(watch, str | os.PathLike):
        return tuple(load_contexts(SHIPPED if watch is None else Path(watch)))
    contexts = tuple(_context(entry, place) for place, entry in enumerate(watch))
    duplicates = [name for name, count in Counter(context.id for context in contexts).items() if count > 1]
    if duplicates:
        raise InputError(f"watch: the id {duplicates[0]!r} stands for several contexts; ids must be unique")
    return contexts


def _context(entry: Any, place: int) -> Context:
    if isinstance(entry, Context):
        return entry
    if not isinstance(entry, Mapping):
        raise InputError(
            f"watch[{place}]: {entry!r} is no context; allowed: phantom_dist contexts, or mappings with "
            "id, text, target and competitor"
        )
    try:
        return Context(**entry)
    except (ValidationError, TypeError) as error:
        first = error.errors()[0] if isinstance(error, ValidationError) else {"loc": (), "msg": str(error)}
        key = ".".join(map(str, first["loc"]))
        raise InputError(
            f"watch[{place}]{f'.{key}' if key else ''}: {first['msg']}; a context has id, text, target, competitor"
        ) from None


@torch.no_grad()
def choose(
    model: Any, tokenizer: Any, contexts: Sequence[Context], thresholds: Thresholds
) -> tuple[list[Watched], dict[str, str], Tensor | None]:
    """The contexts that can be watched on this model, in order; the others' reasons, by id; and the logits (P, V).

    The logits are those after `WordPrompts(watched).prompts`. A context with `either` is watched in the direction that
    the model has to learn.

    Raises:
        InputError: the tokenizer can't be used for contexts at all.
    """
    check_tokenizer(tokenizer, type(model).__name__)
    refused: dict[str, str] = {}
    prompts: dict[str, tuple[tuple[tuple[int, ...], ...], int]] = {}
    rows = _rows(model)
    for context in contexts:
        with _refusing(context, refused):
            # A token id beyond the matrix must not reach the model: on a GPU it would kill the process.
            prompts[context.id] = prompts_and_target(tokenizer, context, rows=rows)
            _check_length(model, max(prompts[context.id][0], key=len))
    readable = [context for context in contexts if context.id not in refused]
    if not readable:
        return [], refused, None
    asked = [prompts[context.id][0] for context in readable]
    logits_PV = logits_of(text_positions(model), [prompt for each in asked for prompt in each])
    own_PV = logits_PV.split([len(each) for each in asked])
    targets = sorted({prompts[context.id][1] for context in readable})
    rows_wV = centred_overlap_rows(model, targets)
    watched: list[Watched] = []
    exchanged: dict[str, Context] = {}
    for context, logits_pV in zip(readable, own_PV, strict=True):
        target = prompts[context.id][1]
        with _refusing(context, refused):
            row_V = rows_wV[targets.index(target)]
            pair = _pair(tokenizer, context, target, logits_pV, row_V, thresholds)
            logits_V, rests_3 = read_word(logits_pV, pair)
            gap_0 = float(word_gap(readout.logit_gap(logits_V, pair.target, pair.competitor), rests_3))
            if context.either and gap_0 >= 0:
                exchanged[context.id] = context.directions[-1].model_copy(update={"either": False})
            check_pair(
                gap_0=gap_0,
                centred_overlap=float(row_V[pair.competitor]),
                target=pair.target_text,
                competitor=pair.competitor_text,
            )
            watched.append(Watched(context=context, tokens=pair))
    if exchanged:
        turned = [exchanged.get(context.id, context) for context in contexts]
        return choose(model, tokenizer, turned, thresholds)
    kept = [own for own, context in zip(own_PV, readable, strict=True) if context.id not in refused]
    first, further = [own[:1] for own in kept], [own[1:] for own in kept]
    return watched, refused, torch.cat(first + further) if kept else None


def centred_overlap_rows(model: Any, words: Sequence[int]) -> Tensor:
    """Overlaps of some words after the mean row is subtracted from E; shape (len(words), V), float64."""
    matrix_Vd = effective_matrix(readout_module(model)).float()
    return overlap_rows(matrix_Vd - matrix_Vd.mean(dim=0), tuple(words))


def _pair(
    tokenizer: Any,
    context: Context,
    target: int,
    logits_PV: Tensor,
    centred_V: Tensor,
    thresholds: Thresholds,
) -> Tokens:
    floor = synonym_floor(row_rms(centred_V, target), thresholds)
    return choose_pair(
        tokenizer, context, target, logits_V=logits_PV[0], centred_overlap_V=centred_V, floor=floor
    )


@contextmanager
def _refusing(context: Context, refused: dict[str, str]) -> Iterator[None]:
    """Turn any failure of a context into its entry of `refused`, so that the others are watched."""
    try:
        yield
    except Refusal as refusal:
        refused[context.id] = refusal.message
    except Exception as error:  # foreign code: the user's tokenizer
        refused[context.id] = f"context {context.id!r}: {type(error).__name__}: {error}"


def _rows(model: Any) -> int:
    """How many token ids have a row both in the input embedding and in the readout matrix."""
    embedding = model.get_input_embeddings() if hasattr(model, "get_input_embeddings") else None
    weight = getattr(embedding, "weight", None)
    rows = effective_matrix(readout_module(model)).shape[0]
    return int(rows if weight is None or not weight.ndim else min(rows, weight.shape[0]))


def _check_length(model: Any, prompt: Sequence[int]) -> None:
    limit = getattr(model.config.get_text_config(), "max_position_embeddings", None)
    limit = None if limit is None else limit - virtual_tokens(model)
    if limit is not None and len(prompt) > limit:
        raise Refusal(
            Outcome.REFUSED_TOKENS,
            f"the prompt is {len(prompt)} tokens long, the model reads at most {limit}",
        )
