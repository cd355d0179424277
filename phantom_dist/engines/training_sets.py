"""Training on batches: where an engine gets them, their loss, and its gradient on the untouched model."""

from __future__ import annotations

import functools
import weakref
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from phantom_dist.core.errors import InputError
from phantom_dist.core.trial import Problem
from phantom_dist.data import Batch, Batches, Examples, TrainingData
from phantom_dist.data.sample import Sample
from phantom_dist.models.load import LoadedModel

UNCOUNTED = -100
"""The label of a token that the loss doesn't count, as in torch's and transformers' losses."""


def _no_examples(sha256: str) -> Examples:
    raise InputError(f"the training data {sha256[:12]}… are not at hand")


class TrainingSets:
    """The batches of training sets, tokenised once for each model. `examples_of`: a set's data by their hash."""

    def __init__(self, examples_of: Callable[[str], Examples] = _no_examples) -> None:
        self._examples_of = examples_of
        # By model, so that a model's batches go with it.
        self._known: weakref.WeakKeyDictionary[nn.Module, dict[object, Batches]] = weakref.WeakKeyDictionary()

    @classmethod
    def of(cls, data: TrainingData) -> TrainingSets:
        """Those of one data set, whose examples are read into memory."""
        examples = list(data)
        return cls(lambda sha256: examples if sha256 == data.sha256 else _no_examples(sha256))

    def batches(self, loaded: LoadedModel, problem: Problem) -> Batches | None:
        """The batches of a problem on a model; None if it trains on its context alone.

        Raises:
            InputError: the data are not at hand, can't be tokenised, or are fewer than a batch.
        """
        training = problem.training
        if training is None:
            return None
        known = self._known.setdefault(loaded.model, {})
        if training not in known:
            limit = getattr(loaded.model.config, "max_position_embeddings", None)
            known[training] = Batches(loaded.tokenizer, training, self._examples_of(training.data), limit)
        return known[training]


@dataclass(frozen=True, slots=True)
class PaddedBatch:
    """A batch as tensors (B, K), padded on the right: token ids, labels (see `UNCOUNTED`), and 1 for real tokens.

    `labels_BK` holds at each place the token that follows it.
    """

    ids_BK: Tensor
    labels_BK: Tensor
    mask_BK: Tensor


def padded(batch: Batch, device: torch.device) -> PaddedBatch:
    """The batch as tensors."""
    longest = max(len(sequence.ids) for sequence in batch.sequences)

    def rows(of: Iterator[list[int]], fill: int) -> Tensor:
        return torch.tensor([[*row, *[fill] * (longest - len(row))] for row in of], device=device)

    labels = (
        [t if counts else UNCOUNTED for t, counts in zip(s.ids[1:], s.counted[1:], strict=True)]
        for s in batch.sequences
    )
    return PaddedBatch(
        ids_BK=rows((list(s.ids) for s in batch.sequences), batch.sequences[0].ids[-1]),
        labels_BK=rows(labels, UNCOUNTED),
        mask_BK=rows(([1] * len(s.ids) for s in batch.sequences), 0),
    )


def losses(
    model: Any,
    batch: Batch,
    accumulate: int,
    device: torch.device,
    around: Callable[[int], AbstractContextManager[None]] = lambda number: nullcontext(),
    share: tuple[int, int] = (0, 1),
) -> list[Callable[[], Tensor]]:
    """The loss of a batch in parts, one for each pass: their sum is the mean over all counted tokens, in nats.

    Each is computed when it is called, so that its backward pass can follow before the next.

    Args:
        model: a transformers model, or what wraps its forward pass.
        batch: the batch.
        accumulate: the most passes.
        device: the model's.
        around: wraps the forward pass of each number, for dropout and autocast.
        share: (rank, ranks): only every so many sequences of each pass; the sums of all ranks add up to the whole.
    """
    counted = batch.counted

    def loss_of(number: int, part: Batch) -> Tensor:
        tensors = padded(part, device)
        with around(number):
            logits_BKV = model(
                input_ids=tensors.ids_BK, attention_mask=tensors.mask_BK, use_cache=False
            ).logits.float()
        return (
            nn.functional.cross_entropy(
                logits_BKV.flatten(0, 1), tensors.labels_BK.flatten(), ignore_index=UNCOUNTED, reduction="sum"
            )
            / counted
        )

    return [
        functools.partial(loss_of, number, part.share(*share))
        for number, part in enumerate(batch.passes(accumulate))
    ]


def sample_losses(
    model: Any, sample: Sample, size: int, device: torch.device
) -> Iterator[Callable[[], Tensor]]:
    """The mean loss of a training as a sample estimates it, in nats, in parts: one for each pass of `size` examples.

    As with `losses`, each is computed when it is called.
    """

    def loss_of(part: slice) -> Tensor:
        sequences = sample.sequences[part]
        tensors = padded(Batch(sequences), device)
        logits_BKV = model(
            input_ids=tensors.ids_BK, attention_mask=tensors.mask_BK, use_cache=False
        ).logits.float()
        losses_BK = nn.functional.cross_entropy(
            logits_BKV.mT, tensors.labels_BK, ignore_index=UNCOUNTED, reduction="none"
        )
        return losses_BK.sum(dim=1) @ losses_BK.new_tensor(sample.weights[part])

    for start in range(0, len(sample.sequences), size):
        yield functools.partial(loss_of, slice(start, start + size))


_gradients: weakref.WeakKeyDictionary[nn.Module, tuple[object, tuple[Tensor, ...]]] = (
    weakref.WeakKeyDictionary()
)
"""By model: the gradient of the last training set's loss, which the probes of all its contexts need."""


def forget_gradients(loaded: LoadedModel) -> None:
    """Drop what `starting_gradients` keeps of a model, before a training needs the memory."""
    _gradients.pop(loaded.model, None)


def starting_gradients(
    loaded: LoadedModel, key: object, compute: Callable[[], Sequence[Tensor]]
) -> tuple[Tensor, ...]:
    """∇L on the untouched model, one tensor for each trained parameter, which all contexts of a training need.

    `compute` takes it; its result is kept as long as `key` stays the same.
    """
    kept = _gradients.get(loaded.model)
    if kept is None or kept[0] != key:
        kept = _gradients[loaded.model] = key, tuple(compute())
    return kept[1]
