"""Load a folder's tokenizer and check it against its `tokenizer.json`.

transformers rebuilds a tokenizer from the class that `tokenizer_config.json` names (`tokenizer_class`), with that
class's own normaliser and pre-tokenizer. Where the class doesn't match the file, text silently becomes other tokens
than those that the model was trained on.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from tokenizers import Tokenizer
from transformers import AutoTokenizer, PreTrainedTokenizerBase, TokenizersBackend

from phantom_dist.core.errors import InputError
from phantom_dist.models.adapter import ModelFolder, Permissions
from phantom_dist.models.folder import first_line

FILE, CONFIG, AS_IT_IS = "tokenizer.json", "tokenizer_config.json", "PreTrainedTokenizerFast"

SAMPLE = (
    "After betraying his closest friend he was overcome with shame",
    "The puppy wagged its tail, because it was very glad.",
    "Don't shout; it's 12:45 (or 3,141.59 seconds later)! \"Really?\" she asked.",
    "A naïve café in Zürich, señor — déjà vu…",
    "Он почувствовал ярость",
    "彼は怒りを感じた",
    "double  spaces, a\ttab and\na new line",
    "snake_case, CamelCase, HTTPServer and e-mail@example.org",
)
"""Texts on which normalisers and pre-tokenizers differ: spaces, case, digits, accents, scripts, punctuation.

None begins with a space (as no context does), where transformers' LlamaTokenizer differs from every Llama 2's file.
"""

WORDS = 100
"""Number of tokens, evenly spread over the vocabulary, that make up one more text."""


def load_tokenizer(folder: ModelFolder, permissions: Permissions) -> PreTrainedTokenizerBase:
    """The tokenizer of a folder as transformers loads it.

    Raises:
        InputError: it can't be loaded, or splits text differently than the folder's tokenizer.json.
    """
    try:
        loaded = AutoTokenizer.from_pretrained(
            folder.path, local_files_only=True, trust_remote_code=permissions.remote_code
        )
    except Exception as error:  # the wrapper of a Rust panic derives directly from Exception
        named = _class_named_in(folder.path / CONFIG)
        as_class = f" as the {named} that {CONFIG} names" if named else ""
        raise InputError(
            f"model {folder.reference!r}: its tokenizer ({folder.path}) can't be loaded{as_class}: {first_line(error)}"
        ) from None
    file = folder.path / FILE
    if file.is_file() and type(loaded) is not TokenizersBackend:  # that class uses the file unchanged
        _check_against(file, loaded, folder.reference)
    return loaded


def _check_against(file: Path, loaded: Any, reference: str) -> None:
    own = Tokenizer.from_file(str(file))
    if getattr(own.model, "dropout", None) or getattr(own.model, "alpha", None):
        return  # it splits at random; `contexts.check_tokenizer` refuses it
    own.no_truncation()
    own.no_padding()
    size = own.get_vocab_size()
    words = own.decode(list(range(0, size, max(1, size // WORDS))), skip_special_tokens=True)
    for text in (*SAMPLE, words):
        actual, expected = _loaded_ids(loaded, text), _own_ids(own, text)
        if actual == expected:
            continue
        at = next(i for i in range(len(actual) + len(expected)) if actual[i : i + 1] != expected[i : i + 1])
        is_, should = ([own.id_to_token(t) or t for t in ids[at : at + 3]] for ids in (actual, expected))
        raise InputError(
            f"model {reference!r}: {_class_named_in(file.parent / CONFIG) or type(loaded).__name__} ({CONFIG}) doesn't "
            f"split text as {file} does, as in {text[:20]!r}: {is_} instead of {should}; set "
            f"`tokenizer_class` to {AS_IT_IS}, which uses the file unchanged, or use the class's own {FILE}"
        )


def _loaded_ids(loaded: Any, text: str) -> list[int]:
    try:
        return list(loaded.encode(text, add_special_tokens=False))
    except Exception:  # the tokenizer fails on this text, so there is nothing to compare
        return []


def _own_ids(own: Tokenizer, text: str) -> list[int]:
    try:
        return list(own.encode(text, add_special_tokens=False).ids)
    except Exception:
        return []


def _class_named_in(config: Path) -> str | None:
    if not config.is_file():
        return None
    named = json.loads(config.read_text(encoding="utf-8")).get("tokenizer_class")
    return str(named) if named else None
