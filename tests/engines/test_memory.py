"""Real allocations that can't succeed, in torch and in Python."""

from __future__ import annotations

import pytest
import torch

from phantom_dist.core.errors import OutOfMemory
from phantom_dist.engines.memory import out_of_memory_named

from .problems import DEVICE


@pytest.mark.parametrize(
    "allocate",
    [lambda: torch.empty(10**14, device=DEVICE), lambda: bytearray(10**17)],
    ids=["torch", "python"],
)
def test_a_failed_allocation_has_one_name(allocate):
    with pytest.raises(OutOfMemory), out_of_memory_named():
        allocate()


def test_other_errors_pass():
    with pytest.raises(RuntimeError, match="size of tensor"), out_of_memory_named():
        torch.ones(2) + torch.ones(3)
