"""Dropout before adapters, drawn so that it depends on a trial's seed, the step and the module, and on nothing else.

A lane of a batch draws the same as a trial that trains alone. Contexts are measured without dropout.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn


class AdapterDropout:
    """The dropout of all adapters of a model; off outside `drawn`."""

    def __init__(self) -> None:
        self._pass: tuple[int, int] | None = None

    def insert(self, adapted: Any, share: float, seed: int) -> None:
        """Put it in the place of peft's own dropout, which draws from torch's global generator.

        Args:
            adapted: the model with its adapters.
            share: of the inputs that are left out.
            seed: of the trial.
        """
        for name, module in adapted.named_modules():
            if hasattr(module, "lora_dropout"):
                module.lora_dropout["default"] = _Dropout(self, share, seed, name)

    @contextmanager
    def drawn(self, step: int, number: int) -> Iterator[None]:
        """On for one forward pass: the pass of this number of an optimizer step."""
        self._pass = step, number
        try:
            yield
        finally:
            self._pass = None

    @property
    def is_on(self) -> bool:
        """Whether a pass is drawn."""
        return self._pass is not None

    def mask(self, share: float, seed: int, name: str, like: Tensor) -> Tensor:
        """What the inputs of a module's adapters are multiplied by while it is on: 0 or 1 / (1 - share)."""
        assert self._pass is not None
        text = f"{seed} {name} {self._pass[0]} {self._pass[1]}"
        generator = torch.Generator().manual_seed(int(hashlib.sha256(text.encode()).hexdigest()[:15], 16))
        kept = torch.rand(like.numel(), generator=generator) >= share
        return (kept.view(like.shape).to(like.device, like.dtype)) / (1 - share)


class _Dropout(nn.Module):
    """The dropout of one module's adapters."""

    def __init__(self, dropout: AdapterDropout, share: float, seed: int, name: str) -> None:
        super().__init__()
        self._dropout, self._share, self._seed, self._name = dropout, share, seed, name

    def forward(self, x: Tensor) -> Tensor:
        """(B, K, i) -> the same."""
        dropout = self._dropout
        return x * dropout.mask(self._share, self._seed, self._name, x) if dropout.is_on else x
