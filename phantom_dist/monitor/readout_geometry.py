"""Overlaps and levers of the readout matrix E (V x d) of a model that is being trained, for the instruments."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from phantom_dist.core.errors import InputError
from phantom_dist.core.tokens import Tokens
from phantom_dist.instruments import order_parameter, overlap


class ReadoutGeometry:
    """Overlaps S_tc (k,) and levers M (k, V), float64, of the watched pairs; computed only once where E is frozen.

    Raises:
        InputError: the model has no readout matrix that can be read here.
    """

    def __init__(self, model: Any, pairs: Sequence[Tokens]) -> None:
        self._readout = readout_module(model)
        self._pairs = pairs
        self._kept: tuple[Tensor, Tensor] | None = None

    @property
    def frozen(self) -> bool:
        """True where no parameter of E is trained."""
        return not any(parameter.requires_grad for parameter in self._readout.parameters())

    @torch.no_grad()
    def now(self) -> tuple[Tensor, Tensor]:
        """S_tc (k,) and M (k, V) of the current matrix."""
        if self._kept is not None and self.frozen:
            return self._kept
        words = sorted({token for pair in self._pairs for token in (pair.target, pair.competitor)})
        place = {token: i for i, token in enumerate(words)}
        rows_wV = overlap.overlap_rows(effective_matrix(self._readout), tuple(words))
        targets = [place[pair.target] for pair in self._pairs]
        competitors = [place[pair.competitor] for pair in self._pairs]
        overlap_k = rows_wV[targets, [pair.competitor for pair in self._pairs]]
        lever_kV = order_parameter.lever(torch.stack([rows_wV[targets], rows_wV[competitors]], dim=1))
        self._kept = (overlap_k, lever_kV) if self.frozen else None
        return overlap_k, lever_kV


def readout_module(model: Any) -> Any:
    """The module that turns hidden states into logits.

    Raises:
        InputError: there is none, or its weights are sharded, quantised, offloaded, or have an unknown kind of adapter.
    """
    module = model.get_output_embeddings() if hasattr(model, "get_output_embeddings") else None
    if module is None:
        raise InputError(
            f"monitor: {type(model).__name__} has no output embedding (`get_output_embeddings`); "
            "allowed: causal language models of transformers, with or without peft"
        )
    weight = effective_matrix(module)
    if weight.is_meta:
        raise InputError(
            "monitor: the readout matrix has no values in this process (device `meta`: its weights are offloaded); "
            "allowed: weights in memory"
        )
    if weight.ndim != 2 or not weight.numel() or type(weight).__name__ == "DTensor":
        raise InputError(
            "monitor: the readout matrix is sharded over processes (FSDP or ZeRO-3), so one of them can't look alone; "
            "allowed: whole copies, as with DDP or ZeRO-1 and 2"
        )
    if not weight.is_floating_point():
        raise InputError(
            f"monitor: the readout matrix is quantised ({weight.dtype}); allowed: floating point"
        )
    return module


@torch.no_grad()
def effective_matrix(module: Any) -> Tensor:
    """E (V x d) as the forward pass uses it: the copy that peft trains, or the base matrix plus its adapters' update.

    Raises:
        InputError: an adapter that is neither plain LoRA nor trainable tokens.
    """
    copies = getattr(module, "modules_to_save", None)
    if copies is not None:
        return effective_matrix(copies[module.active_adapters[0]])
    if not hasattr(module, "base_layer") and not hasattr(module, "token_adapter"):
        plain: Tensor = module.weight
        return plain
    adapted = getattr(module, "token_adapter", module)
    if adapted.disable_adapters or adapted.merged:
        weight: Tensor = adapted.base_layer.weight
        return weight
    if hasattr(adapted, "get_merged_weights"):
        rows: Tensor = adapted.get_merged_weights(adapted.active_adapters)
        return rows
    return _with_lora(adapted)


def _with_lora(module: Any) -> Tensor:
    total: Tensor = module.base_layer.weight
    if not hasattr(module, "lora_A") or not hasattr(module, "get_delta_weight"):
        raise _other_adapter(type(module).__module__.removeprefix("peft.tuners.").split(".")[0])
    for adapter in module.active_adapters:
        if adapter in getattr(module, "lora_variant", {}):
            raise _other_adapter(type(module.lora_variant[adapter]).__name__)
        if adapter in module.lora_A:
            total = total + module.get_delta_weight(adapter)
    return total


def _other_adapter(kind: str) -> InputError:
    return InputError(
        f"monitor: the readout carries an adapter (peft's {kind}) whose matrix can't be read here; allowed there: "
        "LoRA, trainable tokens, `modules_to_save`"
    )
