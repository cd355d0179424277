"""Whether a merged adapter explains the change of all weights.

The adapter on its own base changes the weights by ΔW. Between the model before the training and the merged one they
changed by D. On the base that it was trained on D = ΔW; on one that it had been merged into before, D = 2 ΔW; on
another base there is a rest that no multiple of ΔW explains. The multiple is the least-squares one,
⟨D, ΔW⟩ / ⟨ΔW, ΔW⟩.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

import torch
from torch import Tensor, nn

from phantom_dist.instruments.kernel_rate import inner_product

REST = 2.0**-8
"""Largest length of the rest as a share of the weights'. Rounding the weights to bfloat16 changes them by at most 2^-9;
a merged checkpoint has been rounded, and so has its base."""

MULTIPLE = 0.25
"""Largest distance of the multiple from 1 or 2."""


class Finding(StrEnum):
    """What is wrong with the model as a whole."""

    UNCHANGED = "unchanged"
    MERGED_TWICE = "merged_twice"
    WRONG_BASE = "wrong_base"


@dataclass(frozen=True, kw_only=True, slots=True)
class WholeChange:
    """How an adapter explains the change of all weights.

    Attributes:
        multiple: how often it is in the change.
        rest: length of what it doesn't explain, as a share of the length of all weights.
    """

    multiple: float
    rest: float

    @property
    def finding(self) -> Finding | None:
        """What is wrong; None where the adapter was merged once, into its base."""
        if self.rest > REST or not 1 - MULTIPLE <= self.multiple <= 2 + MULTIPLE:
            return Finding.WRONG_BASE
        if self.multiple >= 2 - MULTIPLE:
            return Finding.MERGED_TWICE
        return None if self.multiple <= 1 + MULTIPLE else Finding.WRONG_BASE

    def to_json(self) -> dict[str, Any]:
        """The object `adapter` in the JSON of `diagnose`."""
        return {"multiple": self.multiple, "rest": self.rest}


@torch.no_grad()
def equal_weights(one: nn.Module, other: nn.Module) -> bool:
    """Whether all parameters of two models are equal, bit for bit."""
    first, second = dict(one.named_parameters()), dict(other.named_parameters())
    return first.keys() == second.keys() and all(torch.equal(first[name], second[name]) for name in first)


@torch.no_grad()
def whole_change(before: nn.Module, base: nn.Module, after: nn.Module) -> WholeChange | None:
    """Compare D = after − before with ΔW = after − base; None where the adapter changes no weight.

    Args:
        before: the model that the training is said to have begun with.
        base: the adapter's own base.
        after: that base with the adapter merged.

    Raises:
        ValueError: the models' parameters have different names or shapes.
    """
    products = length = changed = weights = 0.0
    for first, own, merged in _parameters(before, base, after):
        change, adapted = merged - first, merged - own
        products += inner_product(change.flatten(), adapted.flatten())
        length += inner_product(adapted.flatten(), adapted.flatten())
        changed += inner_product(change.flatten(), change.flatten())
        weights += inner_product(first.flatten(), first.flatten())
    if not length:
        return None
    multiple = products / length
    rest = max(0.0, changed - multiple * products)
    return WholeChange(multiple=multiple, rest=math.sqrt(rest / weights))


def _parameters(*models: nn.Module) -> Iterator[tuple[Tensor, ...]]:
    named: list[Mapping[str, Tensor]] = [dict(model.named_parameters()) for model in models]
    for name, value in named[0].items():
        same = [other.get(name) for other in named[1:]]
        if any(each is None or each.shape != value.shape for each in same):
            raise ValueError(name)
        yield (value.float(), *(each.float() for each in same if each is not None))
