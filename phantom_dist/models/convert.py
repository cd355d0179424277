"""Weights in another form than safetensors become a plain float32 model folder in the cache."""

from __future__ import annotations

from pathlib import Path

import torch
from transformers import AutoModelForCausalLM, PreTrainedModel, PreTrainedTokenizerBase

MARKS_OF_QUANTISATION = ("quantization_config", "_pre_quantization_dtype")


def save_plain(model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, folder: Path) -> None:
    """Save as float32 safetensors with the tokenizer.

    transformers refuses to save what it has marked as quantised, even after it was dequantised; so the state goes
    into a fresh model of the same configuration. Tied matrices stay tied, as the configuration says.
    """
    config = type(model.config).from_dict(model.config.to_dict())
    for mark in MARKS_OF_QUANTISATION:
        if hasattr(config, mark):
            delattr(config, mark)
    fresh = AutoModelForCausalLM.from_config(config, dtype=torch.float32)
    fresh.load_state_dict(model.state_dict())
    fresh.save_pretrained(folder, safe_serialization=True)
    tokenizer.save_pretrained(folder)
