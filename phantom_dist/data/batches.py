"""The batches of a training set for one tokenizer, as TRL's `SFTTrainer` and transformers' `Trainer` make them.

Texts get the tokenizer's special tokens, and its end-of-sequence token at the end. Messages become texts by the
tokenizer's chat template. An example longer than `max_length` is cut at its end; one in which no token is left that the
loss counts is left out. Each epoch has ceil(n / batch_size) steps, the last one with the rest of the examples.
"""

from __future__ import annotations

import functools
import hashlib
import json
from array import array
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np

from phantom_dist.core.errors import InputError
from phantom_dist.core.training_set import TrainingSet
from phantom_dist.data.examples import form_of

SAMPLE = 32
"""Examples whose mean loss stands for that of the whole set, where the first step's direction is needed."""

_KEPT = 1 << 16
"""Most tokenised examples that are kept in memory."""


class Examples(Protocol):
    """Canonical texts by index (see `examples`)."""

    def __len__(self) -> int: ...

    def __getitem__(self, index: int) -> str: ...


@dataclass(frozen=True, slots=True)
class Tokenised:
    """Token ids of one example, and for each whether the loss counts it; the first never counts."""

    ids: tuple[int, ...]
    counted: tuple[bool, ...]


@dataclass(frozen=True, slots=True)
class Batch:
    """The examples of one optimizer step. The loss is the mean over all its counted tokens."""

    sequences: tuple[Tokenised, ...]

    @property
    def counted(self) -> int:
        """Number of tokens that the loss counts."""
        return sum(sum(sequence.counted) for sequence in self.sequences)

    def share(self, rank: int, ranks: int) -> Batch:
        """The sequences of one of several ranks; where there are fewer, one without counted tokens."""
        own = self.sequences[rank::ranks]
        if own:
            return Batch(own)
        first = self.sequences[0]
        return Batch((Tokenised(first.ids, (False,) * len(first.ids)),))

    def passes(self, accumulate: int) -> Iterator[Batch]:
        """The batch in at most so many parts of nearly equal size, in order."""
        size = -(-len(self.sequences) // accumulate)
        for start in range(0, len(self.sequences), size):
            yield Batch(self.sequences[start : start + size])


@dataclass(frozen=True, kw_only=True, slots=True)
class Counts:
    """What became of a set's examples: used, cut at `max_length`, left out because no counted token was left."""

    used: int
    cut: int
    left_out: int


class Batches:
    """All batches of a training set.

    Args:
        tokenizer: the model's tokenizer.
        training: how examples become batches.
        examples: the data.
        limit: most tokens that the model reads, where longer examples are cut; None for any number.

    Raises:
        InputError: an example can't be tokenised, or none is left.
    """

    def __init__(
        self, tokenizer: Any, training: TrainingSet, examples: Examples, limit: int | None = None
    ) -> None:
        self.training = training
        self._longest = min(training.max_length, limit or training.max_length)
        self._tokenizer, self._examples = tokenizer, examples
        self._tokenised = functools.lru_cache(maxsize=_KEPT)(self._tokenise)
        used, cut = array("q"), 0
        for index in range(len(examples)):
            sequence, was_cut = self._tokenised(index)
            cut += was_cut
            if any(sequence.counted):
                used.append(index)
        self._used = used
        self.counts = Counts(used=len(used), cut=cut, left_out=len(examples) - len(used))
        if not used:
            raise InputError(
                f"training: none of {len(examples)} examples has a token that the loss counts within "
                f"{self._longest} tokens"
            )
        if training.batch_size > len(used):
            raise InputError(
                f"training: batch_size is {training.batch_size}, and there are only {len(used)} usable examples"
            )
        self.per_epoch = -(-len(used) // training.batch_size)

    def __getitem__(self, step: int) -> Batch:
        """The batch of the step that follows `step` steps."""
        epoch, place = divmod(step, self.per_epoch)
        order, size = self._order(epoch), self.training.batch_size
        return self._batch(order[place * size : (place + 1) * size])

    @property
    def sample(self) -> Batch:
        """The first examples of the first epoch, up to `SAMPLE`."""
        return self._batch(self._order(0)[:SAMPLE])

    @functools.lru_cache(maxsize=8)  # noqa: B019
    def digest(self, steps: int) -> str:
        """sha256 over the tokens of the first `steps` batches in order, and over which of them count."""
        digest = hashlib.sha256()
        for step in range(steps):
            for sequence in self[step].sequences:
                digest.update(len(sequence.ids).to_bytes(8, "little"))
                digest.update(np.array(sequence.ids, dtype="<i8").tobytes())
                digest.update(bytes(sequence.counted))
            digest.update(b"\n")
        return digest.hexdigest()

    def _batch(self, places: Sequence[int]) -> Batch:
        return Batch(tuple(self._tokenised(self._used[place])[0] for place in places))

    @functools.lru_cache(maxsize=2)  # noqa: B019  (lives as long as the process needs it)
    def _order(self, epoch: int) -> Sequence[int]:
        if not self.training.shuffle:
            return range(len(self._used))
        generator = np.random.Generator(np.random.PCG64([self.training.order_seed, epoch]))
        order: Sequence[int] = generator.permutation(len(self._used)).tolist()
        return order

    def _tokenise(self, index: int) -> tuple[Tokenised, bool]:
        """The tokens of an example, and whether it was cut."""
        example = json.loads(self._examples[index])
        ids, start = self._ids(example)
        most = self._longest
        counted = [place >= max(1, start) for place in range(len(ids))]
        return Tokenised(tuple(ids[:most]), tuple(counted[:most])), len(ids) > most

    def _ids(self, example: dict[str, Any]) -> tuple[list[int], int]:
        """Token ids, and the first place that the loss counts."""
        form, tokenizer = form_of(example), self._tokenizer
        completion_only = self.training.loss == "completion"
        if form == "messages":
            return self._chat_ids(example["messages"], completion_only)
        end = getattr(tokenizer, "eos_token", None) or ""
        text = example["text"] if form == "text" else example["prompt"] + example["completion"]
        ids = self._encoded(text if text.endswith(end) else text + end)
        if form == "text" or not completion_only:
            return ids, 0
        return ids, _common(self._encoded(example["prompt"]), ids)

    def _encoded(self, text: str) -> list[int]:
        return list(self._tokenizer.encode(text))

    def _chat_ids(self, messages: list[dict[str, str]], completion_only: bool) -> tuple[list[int], int]:
        tokenizer = self._tokenizer
        if getattr(tokenizer, "chat_template", None) is None:
            raise InputError(
                "training: the data holds messages, and the model's tokenizer has no chat template. Use data with "
                "`prompt` and `completion`, or with `text`, or a model whose tokenizer has a template."
            )
        try:
            ids = _template_ids(tokenizer, messages, generation=False)
            if not completion_only:
                return ids, 0
            return ids, _common(_template_ids(tokenizer, messages[:-1], generation=True), ids)
        except Exception as error:  # a template refuses what it doesn't know, in its own words
            line = (str(error).strip() or type(error).__name__).splitlines()[0]
            raise InputError(f"training: the chat template can't read an example ({line})") from None


def _template_ids(tokenizer: Any, messages: list[dict[str, str]], *, generation: bool) -> list[int]:
    if not messages:
        return []
    text = tokenizer.apply_chat_template(messages, tokenize=False, add_generation_prompt=generation)
    return list(tokenizer.encode(text, add_special_tokens=False))


def _common(prompt: Sequence[int], whole: Sequence[int]) -> int:
    """Number of tokens with which both begin."""
    pairs = zip(prompt, whole, strict=False)
    return next((place for place, (a, b) in enumerate(pairs) if a != b), min(len(prompt), len(whole)))
