"""Save and restore the state that forward passes change in a model, so that no result depends on earlier passes.

transformers' rotary embeddings choose their frequencies by the length of the batch (`longrope`, `dynamic`) and keep
them for the next batch; sparse attention may switch itself off for good; recurrent layers may keep their last state.
All of this is stored in the modules, so a snapshot of every module (`module_state`) is enough.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from phantom_dist.models.module_state import ModuleState

_TORCH_ATTRIBUTES = frozenset(vars(nn.Module()))
"""Attributes that every module has; no forward pass changes them."""

_PLAIN = (Tensor, bool, int, float, str, type(None))

_ABSENT = object()


class ForwardState:
    """A snapshot of every module of a model, without the values of parameters."""

    def __init__(self, model: nn.Module) -> None:
        self._modules = [(name, ModuleState(module)) for name, module in model.named_modules()]

    def restore(self) -> None:
        """Restore everything that has changed, and delete attributes that are new."""
        for _, state in self._modules:
            state.restore()

    def changes(self) -> str:
        """A digest of the names and values of everything that has changed since; empty if nothing has.

        It covers buffers, plain attributes and children. It leaves out the rest of what `restore` restores, such as the
        dictionary object that holds a module's hooks, because no result depends on it.
        """
        digest = hashlib.sha256()
        untouched = digest.hexdigest()
        for name, state in self._modules:
            _add_changes(digest, name, state)
        return "" if digest.hexdigest() == untouched else digest.hexdigest()


def _add_changes(digest: Any, name: str, state: ModuleState) -> None:
    module = state.module
    before, now = _plain(state.attributes), _plain(vars(module))
    for key in sorted(_changed(before, now)):
        _add(digest, f"{name}.{key}", now.get(key, _ABSENT))
    for key, tensor in sorted(module._buffers.items()):
        if key not in state.buffers or state.buffers[key].differs(tensor):
            _add(digest, f"{name}.{key}", tensor)
    if module._modules != state.children:
        _add(digest, name, [type(child).__name__ for child in module._modules.values()])


def _plain(own: Mapping[str, Any]) -> dict[str, Any]:
    return {key: own[key] for key in own if key not in _TORCH_ATTRIBUTES and isinstance(own[key], _PLAIN)}


def _changed(before: dict[str, Any], now: dict[str, Any]) -> list[str]:
    return [
        key
        for key in before.keys() | now.keys()
        if not _same(before.get(key, _ABSENT), now.get(key, _ABSENT))
    ]


def _same(a: object, b: object) -> bool:
    """Whether an attribute is unchanged; tensors are compared by identity, because modules replace them as a whole."""
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
    """Reset rotary embeddings at the start, and restore the model's state at the end.

    Forward passes inside don't depend on earlier ones and don't affect later ones. Yields the state at the start.
    """
    before = ForwardState(model)
    try:
        # A snapshot costs 20 µs a module, so a second one is taken only where the reset may have changed something.
        yield ForwardState(model) if _reset_rotary(model) else before
    finally:
        before.restore()


def _reset_rotary(model: nn.Module) -> bool:
    """Reset the frequencies of `dynamic` rotary embeddings, which adapt to long prompts, to their initial values.

    Returns whether the model has such embeddings.
    """
    has_dynamic = False
    for module in model.modules():
        own = vars(module)
        if "dynamic" not in str(own.get("rope_type")):
            continue
        has_dynamic = True
        for key in [key for key in module._buffers if key.endswith("original_inv_freq")]:
            name = key.removesuffix("original_inv_freq") + "inv_freq"
            module._buffers[name] = getattr(module, key).detach().clone()
        for key in [key for key in own if key.endswith("max_seq_len_cached")]:
            own[key] = own["original_max_seq_len"]
    return has_dynamic
