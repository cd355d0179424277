"""A reference becomes a model that is ready to be trained, the same way for every adapter."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch
from safetensors import SafetensorError
from torch import nn
from transformers import AutoModelForCausalLM, PreTrainedModel, PreTrainedTokenizerBase

from phantom_dist.core.errors import InputError
from phantom_dist.core.trial import ModelIdentity
from phantom_dist.models.adapter import ModelFolder, Permissions
from phantom_dist.models.folder import first_line
from phantom_dist.models.identity import weights_digest
from phantom_dist.models.quiet import quiet
from phantom_dist.models.registry import resolve
from phantom_dist.models.tokenizer import load_tokenizer

ATTENTION = "eager"
"""Attention written as plain matrix products and a softmax. torch's fused kernels are chosen by shape and device, and
some of their backward passes are not deterministic on CUDA; prompts are so short that they would save nothing."""


@dataclass(frozen=True, kw_only=True, slots=True)
class LoadedModel:
    """A model in evaluation mode with its tokenizer; every parameter requires a gradient."""

    model: PreTrainedModel
    tokenizer: PreTrainedTokenizerBase
    folder: ModelFolder
    identity: ModelIdentity


def load(
    reference: str,
    *,
    precision: Literal["float32", "bfloat16"] = "float32",
    device: str | torch.device = "cpu",
    allow_pickle: bool = False,
    trust_remote_code: bool = False,
) -> LoadedModel:
    """Load a model: weights as float32, parameters then cast to `precision`, on `device`.

    Evaluation mode (no dropout), no key-value cache, eager attention. Buffers such as rotary frequencies stay float32.

    Raises:
        InputError: the model doesn't exist or can't be used; the message says which and why.
    """
    folder = resolve(reference, allow_pickle=allow_pickle, trust_remote_code=trust_remote_code)
    permissions = Permissions(pickle=allow_pickle, remote_code=trust_remote_code)
    digest = weights_digest(folder.path)
    with quiet():
        model = _model(folder, permissions)
        tokenizer = load_tokenizer(folder, permissions)
    _cast(model, getattr(torch, precision))
    model = model.to(device).eval().requires_grad_(True)
    model.config.use_cache = False
    identity = ModelIdentity(
        weights=digest,
        architecture=type(model).__name__,
        parameters=sum(_whole_size(p) for p in model.parameters()),
    )
    return LoadedModel(model=model, tokenizer=tokenizer, folder=folder, identity=identity)


def _model(folder: ModelFolder, permissions: Permissions) -> PreTrainedModel:
    try:
        model, found = AutoModelForCausalLM.from_pretrained(
            folder.path,
            dtype=torch.float32,
            attn_implementation=ATTENTION,
            use_safetensors=True,
            local_files_only=True,
            trust_remote_code=permissions.remote_code,
            output_loading_info=True,
        )
    except (SafetensorError, OSError, ValueError, RuntimeError, KeyError, TypeError) as error:
        raise InputError(
            f"model {folder.reference!r} ({folder.path}) can't be loaded: {first_line(error)}"
        ) from None
    # transformers would fill these with random numbers
    unfilled = sorted({*found["missing_keys"], *(str(key[0]) for key in found["mismatched_keys"])})
    if unfilled:
        raise InputError(
            f"model {folder.reference!r} ({folder.path}): the weights don't fit config.json: nothing for "
            f"{', '.join(unfilled[:3])}{f' and {len(unfilled) - 3} more' if len(unfilled) > 3 else ''}"
        )
    return model


def _cast(model: PreTrainedModel, dtype: torch.dtype) -> None:
    """Parameters alone; Module.to would round the rotary frequencies too. Tied parameters stay tied."""
    for parameter in model.parameters():
        parameter.data = parameter.data.to(dtype)


def _whole_size(parameter: nn.Parameter) -> int:
    """Entries of a parameter; one that a DeepSpeed group has taken apart holds none itself."""
    return int(getattr(parameter, "ds_numel", parameter.numel()))
