"""Embeddings: rows of a matrix by index, of tokens or positions."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from transformers.models.opt.modeling_opt import OPTLearnedPositionalEmbedding

from phantom_dist.engines.lanes.kind import Weights
from phantom_dist.engines.lanes.leaves.leaf import Leaf


class Embedding(Leaf):
    """`nn.Embedding`."""

    def __init__(self, module: nn.Embedding, weights: Weights) -> None:
        super().__init__(module, weights)
        self._table = weights.table(module.weight)

    @staticmethod
    def stands_for(module: nn.Module) -> bool:
        """Exactly nn.Embedding, no subclass, without the options that change its output or gradient."""
        return type(module) is nn.Embedding and module.max_norm is None and not module.scale_grad_by_freq

    def forward(self, ids_LK: Tensor) -> Tensor:
        """(L, K), or (1, K) where all lanes share the indices, -> (L, K, d)."""
        return self._table.rows(ids_LK)


class ScaledEmbedding(Embedding):
    """Embeddings that are multiplied by a constant, as Gemma's are."""

    def __init__(self, module: Any, weights: Weights) -> None:
        super().__init__(module, weights)
        self._scale = module.embed_scale

    @staticmethod
    def stands_for(module: nn.Module) -> bool:
        """Classes of transformers named …ScaledWordEmbedding."""
        return type(module).__name__.endswith("ScaledWordEmbedding") and isinstance(module, nn.Embedding)

    def forward(self, ids_LK: Tensor) -> Tensor:
        """(L, K) -> (L, K, d)."""
        rows_LKd = super().forward(ids_LK)
        scale = self._scale
        return rows_LKd * (scale.to(rows_LKd.dtype) if isinstance(scale, Tensor) else scale)


class OffsetPositions(Embedding):
    """OPT's learned positions, whose first rows are for padding."""

    def __init__(self, module: OPTLearnedPositionalEmbedding, weights: Weights) -> None:
        super().__init__(module, weights)
        self._offset = module.offset

    @staticmethod
    def stands_for(module: nn.Module) -> bool:
        """Exactly OPTLearnedPositionalEmbedding."""
        return type(module) is OPTLearnedPositionalEmbedding

    def forward(
        self, attention_mask: Tensor, past_key_values_length: int = 0, position_ids: Tensor | None = None
    ) -> Tensor:
        """The rows of positions 0 … K-1, as lanes are padded on the right and there is no cache; (L, K, d)."""
        if position_ids is None:
            position_ids = torch.arange(attention_mask.shape[1], device=attention_mask.device)[None]
        return super().forward(position_ids + self._offset)
