"""How peft's fine-tuning methods affect a look: the positions of the text's logits, and the refused methods.

| peft's method | virtual tokens | what happens here |
|---|---|---|
| prompt tuning, p-tuning, CPT | precede the text, which shifts its logits | their logits are dropped |
| prefix tuning, cartridge | are in the key-value cache | nothing |
| multitask prompt tuning, Poly | depend on a row's `task_ids`, which a watched context doesn't have | refused by name |
| Lily | none, but it weights its experts by a mean over all tokens of a batch | refused by name |
"""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import torch

from phantom_dist.core.errors import InputError

IN_THE_CACHE = ("PREFIX_TUNING", "CARTRIDGE")
REFUSED = {
    "MULTITASK_PROMPT_TUNING": "depends on the `task_ids` of each row, which a watched context doesn't have",
    "POLY": "depends on the `task_ids` of each row, which a watched context doesn't have",
    "LILY": "weights its experts by a mean over all tokens of a batch, so a prompt's logits depend on the others",
}


def text_positions(model: Any) -> Any:
    """The model; where virtual tokens precede the text, a stand-in that returns the logits of the text only.

    Raises:
        InputError: under this method a prompt's logits depend on more than the prompt.
    """
    count = _preceding_tokens(model)
    return _TextOnly(model, count) if count else model


def virtual_tokens(model: Any) -> int:
    """How many of the model's positions peft's method uses for virtual tokens."""
    config = _active(model)
    return int(config.num_virtual_tokens or 0) if config is not None and config.is_prompt_learning else 0


def method_of(model: Any) -> str:
    """The name of peft's method; without peft, that of the model's class."""
    config = _active(model)
    return type(model).__name__ if config is None else f"peft's {config.peft_type.value}"


def _active(model: Any) -> Any:
    return getattr(model, "active_peft_config", None) if hasattr(model, "peft_config") else None


def _preceding_tokens(model: Any) -> int:
    config = _active(model)
    if config is None:
        return 0
    name = config.peft_type.value
    if name in REFUSED:
        raise InputError(f"monitor: peft's {name} {REFUSED[name]}, so this model is not watched")
    return 0 if name in IN_THE_CACHE else virtual_tokens(model)


class _TextOnly:
    """A model whose forward pass returns the logits of the text only; every other attribute is the model's own."""

    def __init__(self, model: Any, preceding: int) -> None:
        self._model, self._preceding = model, preceding

    def __getattr__(self, name: str) -> Any:
        return getattr(self._model, name)

    def __call__(self, **inputs: Any) -> Any:
        """Logits (B, L, V) of the text's positions, or of those in `logits_to_keep`, counted within the text."""
        keep = inputs.get("logits_to_keep")
        if isinstance(keep, torch.Tensor):
            return self._model(**inputs | {"logits_to_keep": keep + self._preceding})
        logits = self._model(**inputs).logits
        return SimpleNamespace(logits=logits if keep else logits[:, self._preceding :])
