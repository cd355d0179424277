"""Looking at a model in the middle of its training without leaving a trace in it.

Restored or kept from changing: each module's own training flag, the random generators of Python, NumPy and torch
(processor and the model's GPU), gradients, and autocast's cache of cast weights. The cache matters: inside a user's
autocast region a pass without gradients would leave casts there that carry none, and the next training step would use
them.
"""

from __future__ import annotations

import random
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import torch
from torch import nn


@contextmanager
def undisturbed(model: nn.Module, *, gradients: bool = False) -> Iterator[None]:
    """The model in evaluation mode (no dropout), without gradients unless asked for; after it everything is as before.

    The flags are set one by one: `model.eval()` may be overridden to do more, and a user may keep some modules frozen
    in evaluation mode while the rest trains.
    """
    flags = [(module, module.training) for module in model.modules()]
    device = next(model.parameters()).device
    python, numpy = random.getstate(), np.random.get_state()
    cast = torch.autocast(
        device.type,
        dtype=torch.get_autocast_dtype(device.type),
        enabled=torch.is_autocast_enabled(device.type),
        cache_enabled=False,
    )
    gpus = [device] if device.type == "cuda" else []
    try:
        for module, _ in flags:
            _set(module, False)
        with torch.random.fork_rng(devices=gpus), torch.set_grad_enabled(gradients), cast:
            yield
    finally:
        for module, flag in flags:
            _set(module, flag)
        random.setstate(python)
        np.random.set_state(numpy)


def _set(module: nn.Module, training: bool) -> None:
    """Past `Module.__setattr__`, which looks for parameters and modules first: there may be thousands of modules."""
    object.__setattr__(module, "training", training)
