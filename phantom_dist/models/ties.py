"""Which matrices of a model are really tied, according to its weight files.

A configuration may tie readout and embedding while the files hold both. transformers then compares their values: it
ties equal ones and leaves different ones untied, whatever the configuration says.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import torch
from safetensors import safe_open
from transformers import PreTrainedModel

from phantom_dist.models.identity import Tensor, tensors

ROWS = 4096
"""Rows per comparison."""


def untied_parameters(model: PreTrainedModel, files: Iterable[Path]) -> set[str]:
    """Names of parameters that the configuration ties to another one, but the files store with different values.

    `model` is built from the configuration; its weights need not be loaded.
    """
    stored = {tensor.name: tensor for file in files for tensor in tensors(file)}
    untied = set()
    for name, source in model.all_tied_weights_keys.items():
        ours, theirs = (_find(stored, n, model.base_model_prefix) for n in (name, source))
        if ours and theirs and not _equal(ours, theirs):
            untied.add(name)
    return untied


def _find(stored: dict[str, Tensor], name: str, prefix: str) -> Tensor | None:
    """A parameter in the files. Checkpoints of a model without its head lack the prefix; others repeat it."""
    for spelling in (name, name.removeprefix(f"{prefix}."), f"{prefix}.{name}"):
        if spelling in stored:
            return stored[spelling]
    return None


def _equal(ours: Tensor, theirs: Tensor) -> bool:
    """Whether both hold the same values as float32."""
    if ours.shape != theirs.shape:
        return False
    with safe_open(ours.file, "pt") as one, safe_open(theirs.file, "pt") as other:
        a, b = one.get_slice(ours.name), other.get_slice(theirs.name)
        blocks = range(0, ours.shape[0], ROWS)
        return all(torch.equal(a[s : s + ROWS].float(), b[s : s + ROWS].float()) for s in blocks)
