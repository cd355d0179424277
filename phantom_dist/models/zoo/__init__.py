"""The built-in zoo: tiny language models of many families, pretrained on a language with near-synonyms.

They ship with the package as ordinary Hugging Face folders. `pretrain` trains them again.
"""

from __future__ import annotations

from pathlib import Path

from phantom_dist.core.errors import InputError, did_you_mean

WEIGHTS = Path(__file__).parent / "weights"
"""One folder per model."""


def names() -> tuple[str, ...]:
    """The models' names, sorted; a sweep refers to one as `zoo:NAME`."""
    return tuple(sorted(path.parent.name for path in WEIGHTS.glob("*/config.json")))


def folder(name: str) -> Path:
    """The model's folder: config.json, model.safetensors and the tokenizer's files.

    Raises:
        InputError: the zoo has no model of this name.
    """
    if name not in names():
        raise InputError(f"the zoo has no model {name!r}.{did_you_mean(name, names())}")
    return WEIGHTS / name
