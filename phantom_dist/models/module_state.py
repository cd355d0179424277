"""What one module holds, written down before somebody uses the model, and the way back.

A forward pass may change more than one thinks: a rotary embedding that follows the longest prompt so far replaces its
frequencies, a mixture keeps its last routing, a module of the user's own counts its calls, peft's CPT puts a projection
in its parameter's place.
"""

from __future__ import annotations

from collections import OrderedDict
from typing import Any

import torch
from torch import Tensor, nn

LARGEST = 1 << 20
"""Entries of a buffer whose values are kept; larger ones are masks or quantised weights, which no pass changes."""

_CONTAINERS = (dict, OrderedDict, list, set)
_NOTHING = object()


class ModuleState:
    """The attributes of one module (its own `training` among them), the entries of its containers, its tensors.

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
        """Put back what is no longer as it was; what is stays untouched."""
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
    """One buffer: the tensor itself, and its numbers, for a pass may write to it in place."""

    __slots__ = ("_copy", "_tensor")

    def __init__(self, tensor: Tensor | None) -> None:
        self._tensor = tensor
        self._copy: Tensor | None = None
        if tensor is not None and tensor.numel() <= LARGEST and not tensor.is_inference():
            self._copy = tensor.detach().clone()

    def restore(self) -> None:
        """Write the numbers back into the tensor, if they have changed."""
        if self._tensor is not None and self._copy is not None and self.differs(self._tensor):
            with torch.no_grad():
                self._tensor.copy_(self._copy)

    def differs(self, tensor: Tensor | None) -> bool:
        """Whether a tensor is not what was kept: by its numbers, or by identity where these were not kept."""
        if self._copy is None or tensor is None:
            return tensor is not self._tensor
        # NaN equals nothing, itself included: what can't be compared is put back.
        return tensor.device != self._copy.device or not torch.equal(tensor, self._copy)


def _same(container: Any, before: Any) -> bool:
    """Whether a container holds the very same objects, in their order."""
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
