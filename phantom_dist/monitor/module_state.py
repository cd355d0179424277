"""What a module holds, kept over a look and put back.

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
"""Entries of a buffer whose values are kept; larger ones are quantised weights, which no pass changes."""

_CONTAINERS = (dict, OrderedDict, list, set)
_NOTHING = object()


class ModuleState:
    """The attributes of one module (its own `training` among them), the entries of its containers, its tensors."""

    __slots__ = ("_attributes", "_buffers", "_contents", "_module", "_places")

    def __init__(self, module: nn.Module) -> None:
        self._module = module
        self._attributes = dict(module.__dict__)
        self._contents = [
            (value, value.copy() if value else None)
            for value in self._attributes.values()
            if type(value) in _CONTAINERS
        ]
        self._buffers = [
            (buffer, buffer._version, buffer.detach().clone())
            for buffer in module.__dict__.get("_buffers", {}).values()
            if buffer is not None and buffer.numel() <= LARGEST and not buffer.is_inference()
        ]

        self._places = [
            (parameter, parameter.data, parameter.data_ptr())
            for parameter in module.__dict__.get("_parameters", {}).values()
            if parameter is not None
        ]

    def restore(self) -> None:
        """Put back what is no longer as it was; what is stays untouched."""
        now = self._module.__dict__
        for name in [name for name in now if name not in self._attributes]:
            del now[name]
        for name, value in self._attributes.items():
            if now.get(name, _NOTHING) is not value:
                now[name] = value
        for container, before in self._contents:
            if not _same(container, before):
                _refill(container, before)
        for buffer, version, values in self._buffers:
            if buffer._version != version:
                _put_back(buffer, values)
        for parameter, data, place in self._places:
            if parameter.data_ptr() != place:
                parameter.data = data


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


@torch.no_grad()
def _put_back(buffer: Tensor, values: Tensor) -> None:
    buffer.copy_(values)
