"""The fused model: replaces the leaves of the transformers model, and restores them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any
from warnings import catch_warnings, filterwarnings

import torch
from torch import Tensor, nn

from phantom_dist.data import Batch
from phantom_dist.engines.lanes.kind import Lanes
from phantom_dist.engines.training_sets import UNCOUNTED, PaddedBatch
from phantom_dist.models.forward_state import memoryless


class Positions(nn.Module):
    """Replaces the readout: applies it at chosen positions only.

    `places`: index (L, n) into the positions of all rows of the batch, one row after another.
    """

    def __init__(self, readout: nn.Module) -> None:
        super().__init__()
        self._readout = readout
        self.places: Tensor

    def forward(self, hidden_RKd: Tensor) -> Tensor:
        """(R, K, d) -> (L, n, V)."""
        logits_LnV: Tensor = self._readout(hidden_RKd.flatten(0, 1)[self.places])
        return logits_LnV


@contextmanager
def fused(model: Any, lanes: Lanes) -> Iterator[Positions]:
    """The model as the lanes' kind trains it; restores the untouched model on exit. Yields its readout.

    No state of earlier forward passes is left in the model on entry, and none of its own on exit.

    Raises:
        NotFusable: the model has a module with parameters that no leaf supports.
    """
    with memoryless(model), _replaced(model, lanes) as last:
        yield last


@contextmanager
def _replaced(model: Any, lanes: Lanes) -> Iterator[Positions]:
    readout = model.get_output_embeddings()
    replacements = lanes.replacements(model)
    lanes.allocate()
    last = Positions(replacements.get(readout, readout))
    replacements[readout] = last
    swapped: list[tuple[nn.Module, str, nn.Module]] = []
    model.requires_grad_(False)
    try:
        for parent in list(model.modules()):
            for name, child in parent._modules.items():
                if child in replacements:
                    swapped.append((parent, name, child))
        for parent, name, child in swapped:
            parent._modules[name] = replacements[child]
        with catch_warnings():
            # Gradients are views of one buffer's rows, so they aren't contiguous, of which torch warns.
            filterwarnings("ignore", message="grad and param do not obey the gradient layout contract")
            yield last
    finally:
        for parent, name, child in swapped:
            parent._modules[name] = child
        model.requires_grad_(True)
        lanes.close()


def lane_logits(model: Any, readout: Positions, ids_LK: Tensor, last_L: Tensor) -> Tensor:
    """Every lane's logits after its prompt, from prompts padded on the right; (L, V), differentiable.

    Attention is causal, so padding changes nothing before it, and the readout ignores everything after the last token.
    """
    starts_L = torch.arange(len(ids_LK), device=ids_LK.device) * ids_LK.shape[1]
    readout.places = (starts_L + last_L)[:, None]
    logits_L1V: Tensor = model(input_ids=ids_LK, use_cache=False).logits
    return logits_L1V[:, 0]


def batch_logits(model: Any, readout: Positions, batch: PaddedBatch, lanes: int) -> tuple[Tensor, Tensor]:
    """Every lane's logits (L, n, V) at the places of a batch that the loss counts, and the labels (n,) there."""
    labels = batch.labels_BK.flatten()
    (counted_n,) = (labels != UNCOUNTED).nonzero(as_tuple=True)
    starts_L = torch.arange(lanes, device=labels.device) * len(labels)
    readout.places = starts_L[:, None] + counted_n
    logits_LnV: Tensor = model(
        input_ids=batch.ids_BK.repeat(lanes, 1),
        attention_mask=batch.mask_BK.repeat(lanes, 1),
        use_cache=False,
    ).logits
    return logits_LnV, labels[counted_n]


def packed_logits(
    model: Any, readout: Positions, batch: Batch, lanes: int, device: torch.device
) -> tuple[Tensor, Tensor]:
    """As `batch_logits`, with a batch's sequences one after another in a row of their own, without padding.

    Positions begin anew with each sequence, by which transformers keeps their attention apart (`isolation.may_pack`).
    """
    ids = [token for sequence in batch.sequences for token in sequence.ids]
    positions = [place for sequence in batch.sequences for place in range(len(sequence.ids))]
    counted, labels, start = [], [], 0
    for sequence in batch.sequences:
        places = [place for place in range(1, len(sequence.ids)) if sequence.counted[place]]
        counted += [start + place - 1 for place in places]
        labels += [sequence.ids[place] for place in places]
        start += len(sequence.ids)
    starts_L = torch.arange(lanes, device=device) * len(ids)
    readout.places = starts_L[:, None] + torch.tensor(counted, device=device)
    logits_LnV: Tensor = model(
        input_ids=torch.tensor([ids], device=device).repeat(lanes, 1),
        position_ids=torch.tensor([positions], device=device).repeat(lanes, 1),
        use_cache=False,
    ).logits
    return logits_LnV, torch.tensor(labels, device=device)


def padded(prompts: Sequence[tuple[int, ...]], device: torch.device) -> tuple[Tensor, Tensor]:
    """The prompts as one tensor (L, K), each padded with its last token, and the last tokens' positions (L,)."""
    longest = max(map(len, prompts))
    ids_LK = torch.tensor([[*p, *[p[-1]] * (longest - len(p))] for p in prompts], device=device)
    return ids_LK, torch.tensor([len(p) - 1 for p in prompts], device=device)
