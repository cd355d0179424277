"""Weights that exist as pickle alone, read with torch's restricted unpickler once the user has allowed it."""

from __future__ import annotations

import hashlib
from pathlib import Path

import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

from phantom_dist.core.errors import InputError
from phantom_dist.models.adapter import Permissions
from phantom_dist.models.cache import building, cache_folder, file_sha256
from phantom_dist.models.convert import save_plain
from phantom_dist.models.folder import first_line, pickled_weights
from phantom_dist.models.quiet import quiet


def without_pickle(folder: Path, reference: str, permissions: Permissions) -> Path:
    """The same model as safetensors in the cache, converted once per content of its files.

    Raises:
        InputError: the files can't be read as weights alone (torch.load with weights_only), or are no model.
    """
    sources = [folder / "config.json", *pickled_weights(folder)]
    content = hashlib.sha256("".join(file_sha256(f) for f in sources).encode()).hexdigest()
    converted = cache_folder() / "pickle" / content
    if converted.is_dir():
        return converted
    with building(converted) as scratch, quiet():
        try:
            # transformers reads *.bin with weights_only=True: tensors and containers, no code
            model = AutoModelForCausalLM.from_pretrained(
                folder,
                dtype=torch.float32,
                use_safetensors=False,
                local_files_only=True,
                trust_remote_code=permissions.remote_code,
            )
            tokenizer = AutoTokenizer.from_pretrained(folder, local_files_only=True)
        except Exception as error:  # whatever a damaged or hostile pickle raises
            names = ", ".join(f.name for f in sources[1:])
            raise InputError(
                f"model {reference!r}: its pickled weights ({folder}: {names}) can't be read: {first_line(error)}"
            ) from None
        save_plain(model, tokenizer, scratch)
    return converted
