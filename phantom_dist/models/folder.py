"""Checks of a model folder before anything is loaded: causal architecture, safetensors, tokenizer."""

from __future__ import annotations

from collections.abc import Collection
from fnmatch import fnmatch
from pathlib import Path
from typing import Any

import transformers
from huggingface_hub.errors import StrictDataclassError
from transformers import CONFIG_MAPPING, PretrainedConfig
from transformers.models.auto.modeling_auto import (
    MODEL_FOR_CAUSAL_LM_MAPPING_NAMES,
    MODEL_FOR_MASKED_LM_MAPPING_NAMES,
)

from phantom_dist.core.errors import InputError
from phantom_dist.models.adapter import Permissions
from phantom_dist.models.identity import INDEX, WHOLE, check_safetensors, read_json, weight_files

TOKENIZER_FILES = (
    "tokenizer.json",
    "tokenizer.model",
    "spiece.model",
    "sentencepiece.bpe.model",
    "vocab.txt",
)
PICKLED = ("*.bin", "*.pt", "*.pth")
NO_MODEL = ("training_args.bin", "adapter_model.bin")
WEIGHTS = (WHOLE, INDEX, "pytorch_model*.bin", "pytorch_model.bin.index.json")
ADAPTER_CONFIG = "adapter_config.json"


def check_folder(folder: Path, reference: str, permissions: Permissions) -> None:
    """Check that a folder is a model that can be trained here.

    Raises:
        InputError: the model is no causal language model, has no tokenizer or needs its own Python code, or its
            safetensors files are missing or damaged.
    """
    read_config(folder, reference, permissions)
    check_tokenizer(folder, reference)
    for file in weight_files(folder):
        check_safetensors(file)


def has_safetensors(folder: Path) -> bool:
    """Whether the folder holds a model's weights as safetensors; an adapter's weights don't count."""
    return (folder / WHOLE).is_file() or (folder / INDEX).is_file()


def pickled_weights(folder: Path) -> list[Path]:
    """Files that look like a model's pickled weights."""
    return sorted(f for pattern in PICKLED for f in folder.glob(pattern) if f.name not in NO_MODEL)


def refuse_adapter(folder: Path, reference: str, files: Collection[str]) -> None:
    """Refuse a folder with an adapter, because transformers would attach it to any model that it loads from there.

    `files` are the names of the folder's files, for a hub model also of those that were not fetched.

    Raises:
        InputError: the folder holds an adapter.
    """
    if ADAPTER_CONFIG not in files:
        return
    if any(fnmatch(name, pattern) for name in files for pattern in WEIGHTS):
        raise InputError(
            f"model {reference!r} holds a model's weights and an adapter ({folder / ADAPTER_CONFIG}): write "
            f"peft:{folder} to train both merged, or move the adapter's files elsewhere to train the weights alone"
        )
    raise InputError(
        f"model {reference!r} is an adapter without the model it belongs to ({folder / ADAPTER_CONFIG}): write "
        f"peft:{folder} to train it merged into its base"
    )


def read_config(folder: Path, reference: str, permissions: Permissions) -> PretrainedConfig:
    """The folder's configuration, checked to be of a causal language model that transformers knows.

    Raises:
        InputError: config.json is missing, unreadable, unknown to transformers, or of a quantised or non-causal model.
    """
    raw = read_json(folder / "config.json")
    if not permissions.remote_code:
        _check_known(raw, reference)
        _check_causal(raw, reference)
    _check_full_precision(raw, reference)
    _check_files(raw, reference, permissions)
    try:
        return transformers.AutoConfig.from_pretrained(
            folder, trust_remote_code=permissions.remote_code, local_files_only=True
        )
    except (StrictDataclassError, ValueError, OSError, TypeError, KeyError, AttributeError) as error:
        raise InputError(
            f"{folder / 'config.json'}: transformers can't use it: {first_line(error)}"
        ) from None


def check_tokenizer(folder: Path, reference: str) -> None:
    """Check that tokenizer files exist; without any, transformers would build an empty tokenizer.

    Raises:
        InputError: there are none.
    """
    vocabulary_and_merges = (folder / "vocab.json").is_file() and (folder / "merges.txt").is_file()
    if not vocabulary_and_merges and not any((folder / name).is_file() for name in TOKENIZER_FILES):
        raise InputError(
            f"model {reference!r} has no tokenizer: {folder} holds neither tokenizer.json nor another tokenizer file "
            f"({', '.join(TOKENIZER_FILES[1:])}, vocab.json with merges.txt)"
        )


def _check_known(raw: dict[str, Any], reference: str) -> None:
    model_type = raw.get("model_type")
    if model_type in CONFIG_MAPPING:
        return
    if "auto_map" in raw:
        raise InputError(
            f"model {reference!r} needs Python code of its own (model_type {model_type!r}), and trust_remote_code is "
            "off by default; use a model whose architecture transformers has built in"
        )
    raise InputError(
        f"model {reference!r}: transformers {transformers.__version__} knows no model_type {model_type!r} "
        "(config.json); use a model whose architecture transformers has built in"
    )


def _check_causal(raw: dict[str, Any], reference: str) -> None:
    causal_heads = set(MODEL_FOR_CAUSAL_LM_MAPPING_NAMES.values())
    architectures = [str(a) for a in raw.get("architectures") or []]
    named_causal = not architectures or any(a in causal_heads for a in architectures)
    type_is_causal = raw["model_type"] in MODEL_FOR_CAUSAL_LM_MAPPING_NAMES
    if not (named_causal and type_is_causal) or _is_encoder(raw):
        kind = ", ".join(architectures) or raw["model_type"]
        raise InputError(
            f"model {reference!r} is no causal language model ({kind}); phantom_dist trains models that predict the "
            "next token, such as LlamaForCausalLM or GPT2LMHeadModel"
        )


def _is_encoder(raw: dict[str, Any]) -> bool:
    """Encoders such as BERT have a causal head too, but without `is_decoder` they attend to the whole sentence."""
    model_type = raw["model_type"]
    is_decoder = raw.get("is_decoder", getattr(CONFIG_MAPPING[model_type], "is_decoder", True))
    return model_type in MODEL_FOR_MASKED_LM_MAPPING_NAMES and not is_decoder


def _check_full_precision(raw: dict[str, Any], reference: str) -> None:
    if raw.get("quantization_config"):
        method = raw["quantization_config"].get("quant_method", "unknown method")
        raise InputError(
            f"model {reference!r} is quantised ({method}), and quantised weights can't be trained; use the model it "
            "was made from, or a GGUF file, which is dequantised"
        )


def _check_files(raw: dict[str, Any], reference: str, permissions: Permissions) -> None:
    """Check that config.json refers to no weights or code outside the files that are loaded and hashed."""
    other = raw.get("transformers_weights")
    if other not in (None, WHOLE, INDEX):
        raise InputError(
            f"model {reference!r}: its weights lie in another file ({other!r}, transformers_weights of config.json); "
            f"rename that to {WHOLE}"
        )
    elsewhere = [str(name) for name in (raw.get("auto_map") or {}).values() if "--" in str(name)]
    if elsewhere and permissions.remote_code:
        raise InputError(
            f"model {reference!r}: its Python code lies in another repository ({elsewhere[0]}, auto_map of "
            "config.json), where it may change unnoticed; copy the code into the model's folder"
        )


def first_line(error: BaseException) -> str:
    """The first line of an exception's message, or its type where the message is empty."""
    return (str(error).strip().splitlines() or [type(error).__name__])[0]
