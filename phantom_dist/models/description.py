"""Metadata of a model, and its sweep's tokens: what a plan needs of it."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path

from phantom_dist.models import kept_metadata
from phantom_dist.models.adapter import ModelMetadata, Permissions
from phantom_dist.models.token_counts import count_tokens

TOKENIZER = "tokenizer.json"


def describe(
    reference: str,
    *,
    texts: Iterable[str] = (),
    allow_pickle: bool = False,
    trust_remote_code: bool = False,
) -> ModelMetadata:
    """Metadata of a model, without reading its weights; `verified` is False where it can't be reached.

    Args:
        reference: the model.
        texts: whose tokens to count, if its tokenizer is on this machine.
        allow_pickle, trust_remote_code: what it may do here.

    Raises:
        InputError: the model doesn't exist, or nothing is known about it.
    """
    permissions = Permissions(pickle=allow_pickle, remote_code=trust_remote_code)
    kept = kept_metadata.read(reference) if permissions == Permissions() else None
    folder: Path | None
    if kept is not None:
        metadata, folder = kept.metadata, kept.folder
    else:
        from phantom_dist.models.registry import adapter_for  # takes seconds

        adapter = adapter_for(reference)
        metadata, folder = adapter.describe(reference, permissions), adapter.folder(reference, permissions)
        sources = adapter.sources(reference)
        if sources is not None and folder is not None and permissions == Permissions():
            kept_metadata.keep(metadata, folder, sources)
    file = None if folder is None else folder / TOKENIZER
    return replace(metadata, tokens=count_tokens(file if file and file.is_file() else None, texts))


def is_ready(reference: str) -> bool:
    """Whether nothing of a model is left to fetch or convert, as far as that is known without torch."""
    return kept_metadata.read(reference) is not None
