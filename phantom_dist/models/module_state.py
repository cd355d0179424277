"""A snapshot of one module's state, taken before the model is used, and its restoration.

Forward passes change more state than one might expect: a rotary embedding that adapts to the longest prompt replaces
its frequencies, a mixture of experts keeps its last routing, a user's own module may count its calls, and peft's CPT
replaces a parameter by a projection.
"""

from __future__ import annotations

from collections import OrderedDict
from typing import Any

import torch
from torch import Tensor, nn

LARGEST = 1 << 20
"""Entries of the largest buffer that is copied; larger ones are masks or quantised weights, which no pass changes."""

_CONTAINERS = (dict, OrderedDict, list, set)
_NOTHING = object()


class ModuleState:
    """A snapshot of one module: its attributes (including `training`), the contents of its containers, its tensors.

    Attributes:
        attributes: everything in the module's `__dict__`, by name.
        buffers: its buffers by name, with their values.
        children: its modules by name.
    """

    __slots__ = ("_contents", "_places", "attributes", "buffers", "children", "module")

    def __init__(self, module: nn.Module) -> None:
        self.module = module
        self.attributes = dict(vars(module))
        self._contents = [
            (value, value.copy() if value else None)
            for value in self.attributes.values()
            if type(value) in _CONTAINERS
        ]
        self.buffers = {name: KeptBuffer(buffer) for name, buffer in module._buffers.items()}
        self.children = dict(module._modules)
        self._places = [
            (parameter, parameter.data, parameter.data_ptr())
            for parameter in module._parameters.values()
            if parameter is not None
        ]

    def restore(self) -> None:
        """Restore everything that has changed; leave the rest untouched."""
        now = vars(self.module)
        for name in [name for name in now if name not in self.attributes]:
            del now[name]
        for name, value in self.attributes.items():
            if now.get(name, _NOTHING) is not value:
                now[name] = value
        for container, before in self._contents:
            if not _same(container, before):
                _refill(container, before)
        for buffer in self.buffers.values():
            buffer.restore()
        for parameter, data, place in self._places:
            if parameter.data_ptr() != place:
                parameter.data = data


class KeptBuffer:
    """One buffer: the tensor and a copy of its values, because a pass may modify it in place."""

    __slots__ = ("_copy", "_tensor")

    def __init__(self, tensor: Tensor | None) -> None:
        self._tensor = tensor
        self._copy: Tensor | None = None
        if tensor is not None and tensor.numel() <= LARGEST and not tensor.is_inference():
            self._copy = tensor.detach().clone()

    def restore(self) -> None:
        """Copy the saved values back into the tensor if they have changed."""
        if self._tensor is not None and self._copy is not None and self.differs(self._tensor):
            with torch.no_grad():
                self._tensor.copy_(self._copy)

    def differs(self, tensor: Tensor | None) -> bool:
        """Whether a tensor differs from the snapshot: by value, or by identity where values were not copied."""
        if self._copy is None or tensor is None:
            return tensor is not self._tensor
        # NaN never compares equal, so a buffer with NaN always counts as changed and is restored.
        return tensor.device != self._copy.device or not torch.equal(tensor, self._copy)


def _same(container: Any, before: Any) -> bool:
    """Whether a container holds the identical objects in the same order."""
    if before is None:
        return not container
    if len(container) != len(before):
        return False
    if isinstance(container, set):
        return bool(container == before)
    if isinstance(container, list):
        return all(a is b for a, b in zip(container, before, strict=True))
    pairs = zip(container.items(), before.items(), strict=True)
    return all(key is other and value is kept for (key, value), (other, kept) in pairs)


def _refill(container: Any, before: Any) -> None:
    container.clear()
    if before is not None:
        container.extend(before) if isinstance(container, list) else container.update(before)
