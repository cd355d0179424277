"""Pickled weights, once allowed: the cache key of their conversion covers every file that affects it."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from phantom_dist.core.errors import InputError
from phantom_dist.models.description import describe
from phantom_dist.models.load import load

from . import tiny

PROMPT = "the puppy was very"


@pytest.fixture
def folder(tmp_path: Path, cache: Path) -> Path:
    return tiny.write_pickled(tmp_path / "pickled")


def _weights(folder: Path) -> None:
    state = torch.load(folder / "pytorch_model.bin", weights_only=True)
    torch.save({name: value * 2 for name, value in state.items()}, folder / "pytorch_model.bin")


def _tokenizer(folder: Path) -> None:
    other = tiny.tokenizer()
    other.add_tokens(["puppy was"])
    other.save_pretrained(folder)


def _beginning(folder: Path) -> None:
    content = json.loads((folder / "tokenizer.json").read_text())
    end = [{"SpecialToken": {"id": "<|endoftext|>", "type_id": 0}}, {"Sequence": {"id": "A", "type_id": 0}}]
    special = {"<|endoftext|>": {"id": "<|endoftext|>", "ids": [0], "tokens": ["<|endoftext|>"]}}
    template = {"type": "TemplateProcessing", "single": end, "pair": end, "special_tokens": special}
    (folder / "tokenizer.json").write_text(json.dumps({**content, "post_processor": template}))


CHANGES: dict[str, Callable[[Path], object]] = {
    "weights": _weights,
    "configuration": lambda folder: tiny.edit_config(folder, layer_norm_epsilon=0.1),
    "tokenizer": _tokenizer,
    "token at the beginning": _beginning,
}


@pytest.mark.parametrize("what", CHANGES)
def test_a_change_counts(what: str, folder: Path) -> None:
    before = load(str(folder), allow_pickle=True)
    CHANGES[what](folder)
    after = load(str(folder), allow_pickle=True)
    assert after.folder.path != before.folder.path
    same_model = after.identity == before.identity
    same_tokens = after.tokenizer.encode(PROMPT) == before.tokenizer.encode(PROMPT)
    assert (same_model, same_tokens) == (what not in ("weights", "configuration"), "token" not in what)


def test_the_tokenizers_files_are_kept_as_they_are(folder: Path) -> None:
    converted = load(str(folder), allow_pickle=True).folder.path
    for file in folder.glob("tokenizer*"):
        assert (converted / file.name).read_bytes() == file.read_bytes()


def test_the_same_content_elsewhere_is_converted_once(folder: Path, tmp_path: Path) -> None:
    first = load(str(folder), allow_pickle=True).folder.path
    moved = folder.rename(tmp_path / "moved")
    assert load(str(moved), allow_pickle=True).folder.path == first


@pytest.mark.parametrize("ask", [describe, load])
def test_an_adapter_beside_is_refused(ask: Callable[..., object], folder: Path) -> None:
    (folder / "adapter_config.json").write_text('{"peft_type": "LORA"}')
    with pytest.raises(InputError, match="holds a model's weights and an adapter"):
        ask(str(folder), allow_pickle=True)


def test_a_missing_tensor_is_not_made_up(folder: Path) -> None:
    state = torch.load(folder / "pytorch_model.bin", weights_only=True)
    del state["transformer.ln_f.weight"]
    torch.save(state, folder / "pytorch_model.bin")
    with pytest.raises(InputError, match=r"can't be read: nothing for transformer\.ln_f\.weight"):
        load(str(folder), allow_pickle=True)


def test_an_adapters_pickle_is_no_models(tmp_path: Path) -> None:
    folder = tiny.write_folder(tmp_path / "m")
    (folder / "model.safetensors").rename(folder / "adapter_model.bin")
    with pytest.raises(InputError, match="holds no weights"):
        load(str(folder))
