"""Finds candidates for the watch list in the training data itself.

A candidate is a place where the next word's strongest competitor is a near-synonym of it (their centred overlap reaches
the floor of `contexts.near_synonym`) and the model prefers the competitor. There a silent failure can happen.
"""

from __future__ import annotations

import hashlib
import re
import unicodedata
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain, count, islice
from typing import Any

import torch

from phantom_dist.contexts import competitor_filter, synonym_floor, token_text, tokenise
from phantom_dist.core.errors import InputError, Refusal
from phantom_dist.core.outcome import Thresholds
from phantom_dist.core.trial import Context
from phantom_dist.instruments.overlap import row_rms
from phantom_dist.monitor.peft_method import text_positions, virtual_tokens
from phantom_dist.monitor.undisturbed import undisturbed
from phantom_dist.monitor.watch import centred_overlap_rows
from phantom_dist.monitor.wrappers import unwrapped

LONGEST = 128
"""How many tokens of a text are searched at most."""

ROWS = 64
"""How many words' overlap rows are in memory at a time."""

Text = str | Mapping[str, Any]
"""A text, or a row of a data set with `input_ids` or `text`."""


@dataclass(frozen=True, kw_only=True, slots=True)
class _Place:
    prompt: tuple[int, ...]
    target: int
    competitor: int
    gap: float


def find_contexts(
    model: Any,
    tokenizer: Any,
    texts: Iterable[Text],
    *,
    limit: int = 10,
    sample: int = 64,
    thresholds: Thresholds = Thresholds(),  # noqa: B008 - frozen
) -> list[Context]:
    """Find contexts worth watching in the first `sample` texts: at most `limit`, one for each pair of words.

    The most frequent pairs come first, among equals those whose competitor is least ahead. The model stays unchanged.

    Raises:
        InputError: a row is neither a text nor has `input_ids` or `text`.
    """
    model = unwrapped(model)
    readable = text_positions(model)
    with undisturbed(model):
        places = [
            place
            for text in islice(texts, sample)
            for place in _competing_places(readable, _ids(tokenizer, text)[: _longest(model)])
        ]
        near = _near_synonyms(model, places, thresholds)
    pairs: dict[tuple[int, int], list[_Place]] = {}
    for place in near:
        pairs.setdefault((place.target, place.competitor), []).append(place)
    found: list[Context] = []
    for group in sorted(pairs.values(), key=lambda g: (-len(g), -max(p.gap for p in g))):
        context = next(filter(None, (_context(tokenizer, place) for place in group)), None)
        if context is not None:
            found.append(context.model_copy(update={"id": _unique(context.id, {c.id for c in found})}))
        if len(found) == limit:
            break
    return found


def _competing_places(model: Any, ids: list[int]) -> list[_Place]:
    """The places of one text where the model prefers another word to the one that follows."""
    if len(ids) < 2:
        return []
    device = next(model.parameters()).device
    logits_LV = model(input_ids=torch.tensor([ids], device=device), use_cache=False).logits[0, :-1].float()
    targets_L = torch.tensor(ids[1:], device=device)
    own_L = logits_LV.gather(1, targets_L[:, None])[:, 0]
    best_L, competitors_L = logits_LV.scatter(1, targets_L[:, None], -torch.inf).max(dim=1)
    return [
        _Place(prompt=tuple(ids[: i + 1]), target=ids[i + 1], competitor=competitor, gap=gap)
        for i, (competitor, gap) in enumerate(
            zip(competitors_L.tolist(), (own_L - best_L).tolist(), strict=True)
        )
        if gap < 0
    ]


def _near_synonyms(model: Any, places: list[_Place], thresholds: Thresholds) -> list[_Place]:
    words = sorted({place.target for place in places})
    kept: list[_Place] = []
    for start in range(0, len(words), ROWS):
        some = words[start : start + ROWS]
        rows_wV = dict(zip(some, centred_overlap_rows(model, some), strict=True))
        floors = {w: synonym_floor(row_rms(row_V, w), thresholds) for w, row_V in rows_wV.items()}
        kept += [
            p for p in places if p.target in rows_wV and rows_wV[p.target][p.competitor] >= floors[p.target]
        ]
    return kept


def _context(tokenizer: Any, place: _Place) -> Context | None:
    """The place as a context in words; None where the tokenizer doesn't turn the words into the same tokens again."""
    text = tokenizer.decode(list(place.prompt), skip_special_tokens=True)
    target, competitor = (
        token_text(tokenizer, place.prompt, token) for token in (place.target, place.competitor)
    )
    if not (text and target.strip() and competitor.strip()):
        return None
    context = Context(id=pair_id(target, competitor), text=text, target=target, competitor=competitor)
    try:
        pair = tokenise(tokenizer, context)
    except Refusal:
        return None
    admitted = pair.pair_kind == "single" and competitor_filter(tokenizer, context)(place.competitor)
    return (
        context if admitted and (pair.target, pair.competitor) == (place.target, place.competitor) else None
    )


def pair_id(target: str, competitor: str) -> str:
    """A pair's id in ASCII, since trackers turn other letters into `_`; a hash replaces what ASCII can't express.

    For example `He-She`. Accents are dropped (`fiance-epoux`); words of another script become `pair-` and eight hex
    digits.
    """
    words = f"{target.strip()}-{competitor.strip()}"
    bare = "".join(c for c in unicodedata.normalize("NFKD", words) if not unicodedata.combining(c))
    name = re.sub(r"[^A-Za-z0-9]+", "-", bare).strip("-")
    if bare.isascii() and name:
        return name
    return f"{name or 'pair'}-{hashlib.sha256(words.encode('utf-8', 'surrogatepass')).hexdigest()[:8]}"


def _unique(name: str, taken: set[str]) -> str:
    """`He-She` for the first of several pairs of that name, then `He-She-2`, `He-She-3`."""
    numbered = (f"{name}-{i}" for i in count(2))
    return next(n for n in chain([name], numbered) if n not in taken)


def first_rows(data: Any) -> Iterable[Text]:
    """The rows of a data set, where reading them doesn't change what the training reads afterwards.

    Raises:
        InputError: the data set is a stream, whose rows the training would then miss.
    """
    if isinstance(data, Sequence) or (hasattr(data, "__getitem__") and hasattr(data, "__len__")):
        return (data[i] for i in range(len(data)))
    if type(data).__module__.startswith(
        "datasets."
    ):  # each iterator over such a stream starts at its beginning
        stream: Iterable[Text] = data
        return stream
    raise InputError(
        f"watch: the training data is a {type(data).__name__}, a stream; the training would miss the rows that the "
        "monitor reads. Pass contexts as `watch`, or texts to `find_contexts`"
    )


def _longest(model: Any) -> int:
    """How many tokens of a text are searched: `LONGEST`, or fewer where the model has fewer positions."""
    limit = getattr(model.config.get_text_config(), "max_position_embeddings", None) or LONGEST
    return max(1, min(LONGEST, limit - virtual_tokens(model)))


def _ids(tokenizer: Any, text: Text) -> list[int]:
    if isinstance(text, str):
        return list(tokenizer.encode(text))
    if isinstance(text, Mapping) and "input_ids" in text:
        return [int(token) for token in text["input_ids"]]
    if isinstance(text, Mapping) and isinstance(text.get("text"), str):
        return list(tokenizer.encode(text["text"]))
    raise InputError(
        f"texts: a {type(text).__name__} is no text; allowed: strings, or rows with `input_ids` or `text`"
    )
