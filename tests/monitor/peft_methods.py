"""A tiny model under every method of fine-tuning that peft has; each with adapters that already do something."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

import peft
import torch
from peft.mapping import PEFT_TYPE_TO_CONFIG_MAPPING
from peft.utils.peft_types import PeftType

from . import loop

ATTENTION = {"target_modules": ["q_proj", "v_proj"]}
MLP = {"target_modules": ["down_proj"], "feedforward_modules": ["down_proj"]}
VIRTUAL = {"num_virtual_tokens": 8}

SETTINGS: dict[str, dict[str, Any]] = {
    "ADALORA": ATTENTION | {"total_step": 100},
    "ADAPTION_PROMPT": {"adapter_len": 4, "adapter_layers": 1},
    "C3A": ATTENTION | {"block_size": 16},
    "ROAD": ATTENTION | {"group_size": 16},
    "VBLORA": ATTENTION | {"vector_length": 16, "num_vectors": 32},
    "BEFT": {"target_modules": ["v_proj"]},
    "CARTRIDGE": VIRTUAL,
    "CPT": {"cpt_token_ids": [3, 4, 5, 6], "cpt_mask": [1] * 4, "cpt_tokens_type_mask": [1, 2, 3, 4]},
    "IA3": MLP,
    "LN_TUNING": {},
    "MISS": ATTENTION | {"r": 8},
    "MULTITASK_PROMPT_TUNING": VIRTUAL | {"num_tasks": 2},
    "POLY": ATTENTION | {"n_tasks": 2, "n_skills": 2, "r": 4},
    "PREFIX_TUNING": VIRTUAL,
    "PROMPT_TUNING": VIRTUAL,
    "P_TUNING": VIRTUAL | {"encoder_hidden_size": 16},
    "SHIRA": ATTENTION | {"r": 4},
    "WAVEFT": ATTENTION | {"n_frequency": 64},
    "SHADOW": {"shadow_num_hidden_layers": 1},
    "TRAINABLE_TOKENS": {"token_indices": [3, 4, 5]},
    "XLORA": {},
}
"""Beside `ATTENTION`, which the rest have."""

VARIANTS: dict[str, dict[str, Any]] = {
    "LORA dora": ATTENTION | {"use_dora": True},
    "LORA rslora": ATTENTION | {"use_rslora": True},
    "LORA lm_head": {"target_modules": ["q_proj", "lm_head"]},
    "LORA dora lm_head": {"target_modules": ["q_proj", "lm_head"], "use_dora": True},
    "LORA activated": ATTENTION | {"alora_invocation_tokens": [5]},
    "LORA trainable tokens": ATTENTION | {"trainable_token_indices": [3, 4, 5]},
    "LORA modules_to_save": ATTENTION | {"modules_to_save": ["lm_head"]},
    "IA3 lm_head": {"target_modules": ["lm_head"], "feedforward_modules": []},
    "LOHA lm_head": {"target_modules": ["lm_head"]},
}


NEEDS = {"ADAMSS": "sklearn"}
"""Packages that a method needs beside peft."""

TASKS = ("MULTITASK_PROMPT_TUNING", "POLY")
"""Methods whose batches carry `task_ids`."""


def names() -> list[str]:
    return [kind.value for kind in PeftType] + list(VARIANTS)


def adapted(name: str, folder: Path, model: str = "llama-a") -> tuple[Any, Any]:
    """A model under one method, and its tokenizer; every trained tensor is moved a little, so that it counts."""
    base, tokenizer = loop.fresh(model)
    kind = name.split()[0]
    settings = VARIANTS[name] if name in VARIANTS else SETTINGS.get(name, ATTENTION)
    if kind == "XLORA":
        settings = _two_adapters(base, folder)
    config = PEFT_TYPE_TO_CONFIG_MAPPING[PeftType(kind)](task_type="CAUSAL_LM", **settings)
    torch.manual_seed(0)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        made = peft.get_peft_model(base, config)
    torch.manual_seed(1)
    with torch.no_grad():
        for parameter in made.parameters():
            if parameter.requires_grad:
                parameter.add_(torch.randn_like(parameter), alpha=0.05)
    return made.train(), tokenizer


def _two_adapters(base: Any, folder: Path) -> dict[str, Any]:
    kept: dict[str, str] = {}
    for seed in range(2):
        torch.manual_seed(seed)
        other, _ = loop.fresh("llama-a")
        one = peft.get_peft_model(
            other, peft.LoraConfig(r=2, init_lora_weights=False, task_type="CAUSAL_LM", **ATTENTION)
        )
        one.save_pretrained(folder / str(seed))
        kept[str(seed)] = str(folder / str(seed))
    return {"hidden_size": base.config.hidden_size, "adapters": kept}
