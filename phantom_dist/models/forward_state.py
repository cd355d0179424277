"""What a forward pass leaves in a model besides its output, and the way back: no result depends on what ran before.

transformers' rotary embeddings choose their frequencies by the length of the batch (`longrope`, `dynamic`) and keep
them for the next one; sparse attention may switch itself off for good; recurrent layers may keep their last state. All
of it lies in what modules hold, which is written down (`module_state`) and put back.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from phantom_dist.models.module_state import ModuleState

_OF_TORCH = frozenset(vars(nn.Module()))
"""What every module has; none of it is changed by a forward pass."""

_PLAIN = (Tensor, bool, int, float, str, type(None))

_ABSENT = object()


class ForwardState:
    """Every module of a model as it is now; what it trains is not written down."""

    def __init__(self, model: nn.Module) -> None:
        self._modules = [(name, ModuleState(module)) for name, module in model.named_modules()]

    def restore(self) -> None:
        """Put back what has changed; what is new is taken away."""
        for _, state in self._modules:
            state.restore()

    def changes(self) -> str:
        """What has changed since, as a digest over names and values; empty if nothing has.

        Buffers, plain attributes and children count. The rest that `restore` puts back doesn't: no result depends on
        which dictionary a module keeps its hooks in.
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
        # A snapshot costs 20 µs a module, so a second one is taken only where there is something new to see.
        yield ForwardState(model) if _reset_rotary(model) else before
    finally:
        before.restore()


def _reset_rotary(model: nn.Module) -> bool:
    """Frequencies that `dynamic` rotary embeddings keep for longer prompts become what they were made with.

    Returns whether the model has such embeddings.
    """
    found = False
    for module in model.modules():
        own = vars(module)
        if "dynamic" not in str(own.get("rope_type")):
            continue
        found = True
        for key in [key for key in module._buffers if key.endswith("original_inv_freq")]:
            name = key.removesuffix("original_inv_freq") + "inv_freq"
            module._buffers[name] = getattr(module, key).detach().clone()
        for key in [key for key in own if key.endswith("max_seq_len_cached")]:
            own[key] = own["original_max_seq_len"]
    return found
