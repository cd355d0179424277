"""What peft's method of fine-tuning does to a look: where the text's logits stand, and whether they are its alone.

| peft's method | virtual tokens stand | here |
|---|---|---|
| prompt tuning, p-tuning, CPT | before the text, so logits come that much later | taken out |
| prefix tuning, cartridge | in the cache | nothing to do |
| multitask prompt tuning, Poly | depend on a row's `task_ids`, and a watched context has none | refused by name |
| Lily | none, but its experts are weighed by a mean over all tokens of a batch | refused by name |
"""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import torch

from phantom_dist.core.errors import InputError

IN_THE_CACHE = ("PREFIX_TUNING", "CARTRIDGE")
REFUSED = {
    "MULTITASK_PROMPT_TUNING": "answers by the `task_ids` of each row, and a watched context has none",
    "POLY": "answers by the `task_ids` of each row, and a watched context has none",
    "LILY": "weighs its experts by a mean over all tokens of a batch, so no prompt has a value of its own",
}


def text_positions(model: Any) -> Any:
    """The model, or where virtual tokens stand before the text a stand-in whose logits are the text's alone.

    Raises:
        InputError: the method gives a prompt no value of its own.
    """
    before = _before_the_text(model)
    return _WithoutThem(model, before) if before else model


def virtual_tokens(model: Any) -> int:
    """Positions that peft's method takes away from the prompt's room."""
    config = _active(model)
    return int(config.num_virtual_tokens or 0) if config is not None and config.is_prompt_learning else 0


def method_of(model: Any) -> str:
    """The name of peft's method, or the model's class where there is none."""
    config = _active(model)
    return type(model).__name__ if config is None else f"peft's {config.peft_type.value}"


def _active(model: Any) -> Any:
    return getattr(model, "active_peft_config", None) if hasattr(model, "peft_config") else None


def _before_the_text(model: Any) -> int:
    config = _active(model)
    if config is None:
        return 0
    name = config.peft_type.value
    if name in REFUSED:
        raise InputError(f"monitor: peft's {name} {REFUSED[name]}, so this model is not watched")
    return 0 if name in IN_THE_CACHE else virtual_tokens(model)


class _WithoutThem:
    """Stands in for a model in a forward pass; everything else is the model's own."""

    def __init__(self, model: Any, before: int) -> None:
        self._model, self._before = model, before

    def __getattr__(self, name: str) -> Any:
        return getattr(self._model, name)

    def __call__(self, **inputs: Any) -> Any:
        """Positions to keep are the text's: logits (B, L, V), or of the kept ones alone."""
        keep = inputs.get("logits_to_keep")
        if isinstance(keep, torch.Tensor):
            return self._model(**inputs | {"logits_to_keep": keep + self._before})
        logits = self._model(**inputs).logits
        return SimpleNamespace(logits=logits if keep else logits[:, self._before :])
