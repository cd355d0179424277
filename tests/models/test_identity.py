from __future__ import annotations

from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from phantom_dist.models.identity import weights_digest

from . import tiny


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tiny.write_folder(tmp_path / "model")


@pytest.mark.parametrize("key", ["transformers_version", "_name_or_path", "dtype", "torch_dtype"])
def test_how_a_model_was_stored_does_not_count(folder: Path, key: str) -> None:
    digest = weights_digest(folder)
    tiny.edit_config(folder, **{key: "something else"})
    assert weights_digest(folder) == digest


@pytest.mark.parametrize("change", [{"layer_norm_epsilon": 1e-3}, {"activation_function": "relu"}])
def test_what_a_model_computes_counts(folder: Path, change: dict[str, object]) -> None:
    digest = weights_digest(folder)
    tiny.edit_config(folder, **change)
    assert weights_digest(folder) != digest


def _rename(tensors: dict[str, torch.Tensor]) -> None:
    tensors["other.name"] = tensors.pop("transformer.ln_f.bias")


def _reshape(tensors: dict[str, torch.Tensor]) -> None:
    tensors["transformer.ln_f.bias"] = tensors["transformer.ln_f.bias"].reshape(2, -1)


def _swap(tensors: dict[str, torch.Tensor]) -> None:
    first, second = "transformer.h.0.ln_1.weight", "transformer.h.0.ln_1.bias"
    tensors[first], tensors[second] = tensors[second], tensors[first]


@pytest.mark.parametrize("edit", [_rename, _reshape, _swap])
def test_names_and_shapes_count(folder: Path, edit: object) -> None:
    digest = weights_digest(folder)
    tensors = load_file(folder / "model.safetensors")
    edit(tensors)
    save_file(tensors, folder / "model.safetensors")
    assert weights_digest(folder) != digest
    assert weights_digest(tiny.write_folder(folder.parent / "again")) == digest


def test_the_tokenizer_does_not_count(folder: Path) -> None:
    digest = weights_digest(folder)
    (folder / "tokenizer.json").unlink()
    assert weights_digest(folder) == digest
