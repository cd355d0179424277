"""Runs a model in the middle of its training and leaves it, and the process, exactly as before.

It restores or protects: the attributes of every module (`models.module_state`), the random generators of Python, NumPy
and torch (CPU and the model's GPUs), gradients, autocast's cache of cast weights, and code compiled by `torch.compile`.

Autocast's cache matters because inside a user's autocast region a pass without gradients would leave casts in it that
carry none, and the next training step would use them. Compiled code matters because a look has other shapes and no
gradients: torch would recompile for it, and after a few shapes stop compiling the training as well.
"""

from __future__ import annotations

import random
import sys
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext

import numpy as np
import torch
from torch import nn

from phantom_dist.models.module_state import ModuleState


@contextmanager
def undisturbed(model: nn.Module, *, gradients: bool = False) -> Iterator[None]:
    """Put the model into evaluation mode (no dropout), with gradients only on request; restore everything on exit.

    The `training` flags are set module by module: `model.eval()` may be overridden to do more, and a user may keep some
    modules in evaluation mode while the rest trains.
    """
    modules = list(model.modules())
    device = next(model.parameters()).device
    gpus = sorted({p.device.index for p in model.parameters() if p.device.type == "cuda"})
    kept = [ModuleState(module) for module in modules]
    python, numpy = random.getstate(), np.random.get_state()
    cast = torch.autocast(
        device.type,
        dtype=torch.get_autocast_dtype(device.type),
        enabled=torch.is_autocast_enabled(device.type),
        cache_enabled=False,
    )
    try:
        for module in modules:
            _evaluate(module)
        with torch.random.fork_rng(devices=gpus), torch.set_grad_enabled(gradients), cast, _uncompiled():
            yield
    finally:
        for state in kept:
            state.restore()
        random.setstate(python)
        np.random.set_state(numpy)


def _evaluate(module: nn.Module) -> None:
    """Bypass `Module.__setattr__`, which is slow on thousands of modules: it first searches parameters and modules."""
    object.__setattr__(module, "training", False)


def _uncompiled() -> AbstractContextManager[object]:
    """Neither compile nor use compiled code. Where `torch.compile` isn't imported, do nothing and import nothing."""
    if "torch._dynamo" not in sys.modules:
        return nullcontext()
    stance: AbstractContextManager[object] = torch.compiler.set_stance("force_eager")
    return stance
