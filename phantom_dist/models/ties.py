"""Which matrices a model shares, as its file says.

A configuration may say that readout and embedding are one matrix while the file holds two. transformers then compares
their values: equal ones are tied, different ones are left apart, whatever the configuration says.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import torch
from safetensors import safe_open
from transformers import PreTrainedModel

from phantom_dist.models.identity import Tensor, tensors

ROWS = 4096
"""Rows that are compared at a time."""


def left_apart(model: PreTrainedModel, files: Iterable[Path]) -> set[str]:
    """The parameters that the configuration ties to another and the files hold with values of their own.

    `model` is what the configuration makes, its weights unread.
    """
    stored = {tensor.name: tensor for file in files for tensor in tensors(file)}
    apart = set()
    for name, source in model.all_tied_weights_keys.items():
        ours, theirs = (_find(stored, n, model.base_model_prefix) for n in (name, source))
        if ours and theirs and not _equal(ours, theirs):
            apart.add(name)
    return apart


def _find(stored: dict[str, Tensor], name: str, prefix: str) -> Tensor | None:
    """A parameter in the files; checkpoints of the model without its head lack the prefix, others have it twice."""
    for spelling in (name, name.removeprefix(f"{prefix}."), f"{prefix}.{name}"):
        if spelling in stored:
            return stored[spelling]
    return None


def _equal(ours: Tensor, theirs: Tensor) -> bool:
    """True if both hold the same numbers as float32."""
    if ours.shape != theirs.shape:
        return False
    with safe_open(ours.file, "pt") as one, safe_open(theirs.file, "pt") as other:
        a, b = one.get_slice(ours.name), other.get_slice(theirs.name)
        blocks = range(0, ours.shape[0], ROWS)
        return all(torch.equal(a[s : s + ROWS].float(), b[s : s + ROWS].float()) for s in blocks)
