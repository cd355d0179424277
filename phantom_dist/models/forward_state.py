"""What a forward pass leaves in a model besides its output, and the way back: no result depends on what ran before.

transformers' rotary embeddings choose their frequencies by the length of the batch (`longrope`, `dynamic`) and keep
them for the next one; sparse attention may switch itself off for good; recurrent layers may keep their last state. All
of it lies in buffers, plain attributes and children of modules, which are written down here and put back.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

_OF_TORCH = frozenset(vars(nn.Module()))
"""What every module has; none of it is changed by a forward pass."""

_PLAIN = (Tensor, bool, int, float, str, type(None))

_ABSENT = object()

LARGEST = 1 << 20
"""Entries of a buffer that is copied; larger ones are masks or quantised weights, which no pass writes to."""


class ForwardState:
    """Buffers, plain attributes and children of every module as they are now; parameters are not among them."""

    def __init__(self, model: nn.Module) -> None:
        self._modules = [_ModuleState(name, module) for name, module in model.named_modules()]

    def restore(self) -> None:
        """Put back what has changed; attributes and buffers that are new are taken away."""
        for module in self._modules:
            module.restore()

    def changes(self) -> str:
        """What has changed since, as a digest over names and values; empty if nothing has."""
        digest = hashlib.sha256()
        untouched = digest.hexdigest()
        for module in self._modules:
            module.add_changes(digest)
        return "" if digest.hexdigest() == untouched else digest.hexdigest()


class _ModuleState:
    """One module's own part."""

    def __init__(self, name: str, module: nn.Module) -> None:
        self._name, self._module = name, module
        self._attributes = _attributes(module)
        self._buffers = {key: _Kept(tensor) for key, tensor in module._buffers.items()}
        self._children = dict(module._modules)

    def restore(self) -> None:
        """See `ForwardState`."""
        module = self._module
        for key in _changed(self._attributes, _attributes(module)):
            if key in self._attributes:
                vars(module)[key] = self._attributes[key]
            else:
                del vars(module)[key]
        for key in [key for key in module._buffers if key not in self._buffers]:
            del module._buffers[key]
        for key, kept in self._buffers.items():
            module._buffers[key] = kept.restored()
        if module._modules != self._children:
            module._modules = dict(self._children)

    def add_changes(self, digest: Any) -> None:
        """Feed a hash with what has changed."""
        module = self._module
        now = _attributes(module)
        for key in sorted(_changed(self._attributes, now)):
            _add(digest, f"{self._name}.{key}", now.get(key, _ABSENT))
        for key, tensor in sorted(module._buffers.items()):
            if key not in self._buffers or self._buffers[key].differs(tensor):
                _add(digest, f"{self._name}.{key}", tensor)
        if module._modules != self._children:
            _add(digest, f"{self._name}", [type(child).__name__ for child in module._modules.values()])


class _Kept:
    """One buffer: the tensor itself, and its numbers, for it may be written to in place."""

    def __init__(self, tensor: Tensor | None) -> None:
        self._tensor = tensor
        known = tensor is not None and tensor.dtype is not torch.bool and tensor.numel() <= LARGEST
        self._copy = tensor.detach().clone() if known and tensor is not None else None

    def restored(self) -> Tensor | None:
        if self._tensor is not None and self.differs(self._tensor):
            assert self._copy is not None
            with torch.no_grad():
                self._tensor.copy_(self._copy)
        return self._tensor

    def differs(self, tensor: Tensor | None) -> bool:
        if self._copy is None or tensor is None:
            return tensor is not self._tensor
        # NaN equals nothing, itself included: what can't be compared is put back.
        return tensor.device != self._copy.device or not torch.equal(tensor, self._copy)


def _attributes(module: nn.Module) -> dict[str, Any]:
    own = vars(module)
    return {key: own[key] for key in own if key not in _OF_TORCH and isinstance(own[key], _PLAIN)}


def _changed(before: dict[str, Any], now: dict[str, Any]) -> list[str]:
    return [
        key
        for key in before.keys() | now.keys()
        if not _same(before.get(key, _ABSENT), now.get(key, _ABSENT))
    ]


def _same(a: object, b: object) -> bool:
    """Whether nothing was set: tensors are compared by identity, for they are replaced as a whole."""
    if a is b:
        return True
    return not isinstance(a, Tensor) and not isinstance(b, Tensor) and type(a) is type(b) and a == b


def _add(digest: Any, name: str, value: object) -> None:
    digest.update(name.encode())
    if isinstance(value, Tensor):
        digest.update(f"{tuple(value.shape)}".encode())
        digest.update(value.detach().to("cpu", torch.float64).numpy().tobytes())
    else:
        digest.update(repr(value).encode())


@contextmanager
def memoryless(model: nn.Module) -> Iterator[ForwardState]:
    """Forward passes within begin without what earlier ones left in rotary embeddings, and leave nothing themselves.

    Yields the state that they begin with.
    """
    before = ForwardState(model)
    try:
        _reset_rotary(model)
        yield ForwardState(model)
    finally:
        before.restore()


def _reset_rotary(model: nn.Module) -> None:
    """Frequencies that `dynamic` rotary embeddings keep for longer prompts become what they were made with."""
    for module in model.modules():
        own = vars(module)
        if "dynamic" not in str(own.get("rope_type")):
            continue
        for key in [key for key in module._buffers if key.endswith("original_inv_freq")]:
            name = key.removesuffix("original_inv_freq") + "inv_freq"
            module._buffers[name] = getattr(module, key).detach().clone()
        for key in [key for key in own if key.endswith("max_seq_len_cached")]:
            own[key] = own["original_max_seq_len"]
