"""The zoo's architectures: small configurations of many families that transformers implements.

They differ where real models differ: tied and untied readouts, LayerNorm and RMSNorm (before or after a
block), learned, rotary and linear-bias (ALiBi) positions, serial and parallel blocks, shared key heads, width, depth.
All share one vocabulary.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, Literal

from transformers import AutoConfig, PretrainedConfig

POSITIONS = 64
"""Longest text in tokens."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Architecture:
    """One zoo model: its family, sizes and pretraining.

    `settings` are passed to the family's configuration unchanged; `steps` is the number of pretraining steps. The
    smallest model, which the tests retrain, is pretrained in float64 (see `pretrain` for the reason).
    """

    family: str
    width: int
    layers: int
    tied: bool
    norm: Literal["LayerNorm", "RMSNorm"]
    positions: Literal["learned", "rotary", "alibi", "rotary and none"]
    settings: dict[str, Any]
    steps: int = 1000
    pretrained_in: Literal["float32", "float64"] = "float32"

    @property
    def learning_rate(self) -> float:
        """Peak learning rate of pretraining; smaller for wider models."""
        return 8e-3 * math.sqrt(80 / self.width)

    def config(self, vocabulary_size: int, boundary: int) -> PretrainedConfig:
        """The transformers configuration; `boundary` is the id of the token that begins and ends a text."""
        return AutoConfig.for_model(
            self.family,
            vocab_size=vocabulary_size,
            hidden_size=self.width,
            num_hidden_layers=self.layers,
            tie_word_embeddings=self.tied,
            max_position_embeddings=POSITIONS,
            bos_token_id=boundary,
            eos_token_id=boundary,
            pad_token_id=None,
            use_cache=False,
            **self.settings,
        )


def _gated(heads: int, inner: int, **more: Any) -> dict[str, Any]:
    """Settings of the families that are built like llama."""
    return {"num_attention_heads": heads, "num_key_value_heads": heads, "intermediate_size": inner, **more}


ZOO: dict[str, Architecture] = {
    "gpt2-a": Architecture(
        family="gpt2",
        width=40,
        layers=2,
        tied=True,
        norm="LayerNorm",
        positions="learned",
        settings={"n_head": 4},
        steps=1500,
        pretrained_in="float64",
    ),
    "gpt2-b": Architecture(
        family="gpt2",
        width=80,
        layers=4,
        tied=True,
        norm="LayerNorm",
        positions="learned",
        settings={"n_head": 4},
    ),
    "gpt-neox-a": Architecture(
        family="gpt_neox",
        width=64,
        layers=3,
        tied=False,
        norm="LayerNorm",
        positions="rotary",
        settings={"num_attention_heads": 4, "intermediate_size": 256},
    ),
    "opt-a": Architecture(
        family="opt",
        width=56,
        layers=3,
        tied=True,
        norm="LayerNorm",
        positions="learned",
        settings={"num_attention_heads": 4, "ffn_dim": 224, "word_embed_proj_dim": 56},
    ),
    "llama-a": Architecture(
        family="llama",
        width=48,
        layers=3,
        tied=True,
        norm="RMSNorm",
        positions="rotary",
        settings=_gated(4, 128),
    ),
    "llama-b": Architecture(
        family="llama",
        width=96,
        layers=4,
        tied=False,
        norm="RMSNorm",
        positions="rotary",
        settings=_gated(6, 256),
    ),
    "gemma3-a": Architecture(
        family="gemma3_text",
        width=64,
        layers=3,
        tied=True,
        norm="RMSNorm",
        positions="rotary",
        settings=_gated(
            4, 192, num_key_value_heads=1, head_dim=16, sliding_window=32, query_pre_attn_scalar=16
        ),
    ),
    "qwen3-a": Architecture(
        family="qwen3",
        width=64,
        layers=4,
        tied=True,
        norm="RMSNorm",
        positions="rotary",
        settings=_gated(4, 160, num_key_value_heads=2, head_dim=16),
    ),
    "bloom-a": Architecture(
        family="bloom",
        width=64,
        layers=3,
        tied=True,
        norm="LayerNorm",
        positions="alibi",
        settings={"n_head": 4},
    ),
    "phi-a": Architecture(
        family="phi",
        width=80,
        layers=3,
        tied=False,
        norm="LayerNorm",
        positions="rotary",
        settings=_gated(5, 288),
    ),
    "olmo2-a": Architecture(
        family="olmo2",
        width=64,
        layers=3,
        tied=False,
        norm="RMSNorm",
        positions="rotary",
        settings=_gated(4, 176),
    ),
    "stablelm-a": Architecture(
        family="stablelm",
        width=64,
        layers=4,
        tied=False,
        norm="LayerNorm",
        positions="rotary",
        settings=_gated(4, 152, partial_rotary_factor=0.5),
    ),
    "cohere-a": Architecture(
        family="cohere",
        width=64,
        layers=3,
        tied=True,
        norm="LayerNorm",
        positions="rotary",
        settings=_gated(4, 176, logit_scale=0.5),
    ),
    "smollm3-a": Architecture(
        family="smollm3",
        width=48,
        layers=6,
        tied=True,
        norm="RMSNorm",
        positions="rotary and none",
        settings=_gated(4, 128, num_key_value_heads=2),
    ),
}
