"""GPT-2 with a trained gain behind its embeddings, made known to transformers."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from transformers import AutoConfig, AutoModelForCausalLM, GPT2Config, GPT2LMHeadModel


class Gain(nn.Module):
    """Multiplies what passes, entry by entry."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.gain = nn.Parameter(torch.ones(width))

    def forward(self, x: Tensor) -> Tensor:
        return x * self.gain


class GainedConfig(GPT2Config):
    model_type = "mylab_gained"


class GainedLMHeadModel(GPT2LMHeadModel):
    config_class = GainedConfig

    def __init__(self, config: GainedConfig) -> None:
        super().__init__(config)
        self.transformer.drop = Gain(config.n_embd)


AutoConfig.register(GainedConfig.model_type, GainedConfig, exist_ok=True)
AutoModelForCausalLM.register(GainedConfig, GainedLMHeadModel, exist_ok=True)
