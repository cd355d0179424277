"""Looking at a model in the middle of its training without leaving a trace in it.

Restored or kept from changing: what every module holds (`models.module_state`), the random generators of Python, NumPy
and torch (processor and the model's GPUs), gradients, autocast's cache of cast weights, and what `torch.compile`
compiled.
Autocast's cache matters: inside a user's autocast region a pass without gradients would leave casts there that carry
none, and the next training step would use them. Compiled code does too: a look has other shapes and no gradients, so it
would be compiled anew, and after a few shapes torch gives up compiling the training as well.
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
    """The model in evaluation mode (no dropout), without gradients unless asked for; after it everything is as before.

    The flags are set one by one: `model.eval()` may be overridden to do more, and a user may keep some modules frozen
    in evaluation mode while the rest trains.
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
        with torch.random.fork_rng(devices=gpus), torch.set_grad_enabled(gradients), cast, _as_written():
            yield
    finally:
        for state in kept:
            state.restore()
        random.setstate(python)
        np.random.set_state(numpy)


def _evaluate(module: nn.Module) -> None:
    """Past `Module.__setattr__`, which looks for parameters and modules first: there may be thousands of modules."""
    object.__setattr__(module, "training", False)


def _as_written() -> AbstractContextManager[object]:
    """Nothing is compiled, nor taken from what is; where nobody compiles there is nothing to prevent (or to import)."""
    if "torch._dynamo" not in sys.modules:
        return nullcontext()
    stance: AbstractContextManager[object] = torch.compiler.set_stance("force_eager")
    return stance
