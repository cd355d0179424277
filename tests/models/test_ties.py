"""Plan and run count the same parameters, whatever configuration and files say about tied matrices."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from phantom_dist.core.errors import InputError
from phantom_dist.models.description import describe
from phantom_dist.models.load import load

from . import tiny

EMBEDDING, READOUT = "model.embed_tokens.weight", "lm_head.weight"
Tensors = dict[str, torch.Tensor]


def write(folder: Path, *, says_tied: bool, edit: Callable[[Tensors], object], **save: object) -> str:
    tiny.write_folder(folder, tiny.llama())
    tiny.edit_config(folder, tie_word_embeddings=says_tied)
    content = load_file(folder / "model.safetensors")
    edit(content)
    save_file(content, folder / "model.safetensors", metadata={"format": "pt"})
    return str(folder)


def one_value_off(tensors: Tensors) -> None:
    tensors[READOUT] = tensors[EMBEDDING].clone()
    tensors[READOUT][-1, -1] += 1e-4


def beyond_float32(tensors: Tensors) -> None:
    """Values that differ as stored but are equal as float32."""
    tensors[READOUT] = tensors[EMBEDDING].double()
    tensors[READOUT][0, 0] *= 1 + 2**-40


FILES: dict[str, Callable[[Tensors], object]] = {
    "different": lambda t: None,
    "equal": lambda t: t.update({READOUT: t[EMBEDDING].clone()}),
    "one value off": one_value_off,
    "equal in another precision": lambda t: t.update(
        {EMBEDDING: t[EMBEDDING].half().float(), READOUT: t[EMBEDDING].half()}
    ),
    "equal once both are float32": beyond_float32,
    "minus zero": lambda t: t.update({EMBEDDING: t[EMBEDDING] * 0, READOUT: t[EMBEDDING] * -0.0}),
    "no readout": lambda t: t.pop(READOUT),
    "no embedding": lambda t: t.pop(EMBEDDING),
}


@pytest.mark.parametrize("says_tied", [True, False])
@pytest.mark.parametrize("file", FILES)
def test_plan_and_run_agree(file: str, says_tied: bool, tmp_path: Path) -> None:
    reference = write(tmp_path / "m", says_tied=says_tied, edit=FILES[file])
    metadata = describe(reference)
    if file.startswith("no ") and not says_tied:
        with pytest.raises(InputError, match=r"nothing for (lm_head|model\.embed_tokens)\.weight"):
            load(reference)
        return
    loaded = load(reference)
    one = loaded.model.get_output_embeddings().weight is loaded.model.get_input_embeddings().weight
    assert (metadata.parameters, metadata.tied) == (loaded.identity.parameters, one)
    assert one == (says_tied and file not in ("different", "one value off"))


@pytest.mark.parametrize("prefix", ["transformer.", ""])
@pytest.mark.parametrize("equal", [True, False])
def test_names_without_the_models_prefix_are_found(prefix: str, equal: bool, tmp_path: Path) -> None:
    """GPT-2 itself is stored like this on the hub."""
    folder = tiny.write_folder(tmp_path / "m")
    content = {k.removeprefix("transformer."): v for k, v in load_file(folder / "model.safetensors").items()}
    stored = {prefix + name: value for name, value in content.items()}
    stored["lm_head.weight"] = content["wte.weight"] * (1 if equal else 2)
    save_file(stored, folder / "model.safetensors", metadata={"format": "pt"})
    metadata, loaded = describe(str(folder)), load(str(folder))
    assert (metadata.parameters, metadata.tied) == (loaded.identity.parameters, equal)


@pytest.mark.parametrize("equal", [True, False])
def test_matrices_in_two_shards_are_compared(equal: bool, tmp_path: Path) -> None:
    reference = write(tmp_path / "m", says_tied=True, edit=FILES["equal" if equal else "different"])
    folder = Path(reference)
    content = load_file(folder / "model.safetensors")
    (folder / "model.safetensors").unlink()
    readout = {READOUT: content.pop(READOUT)}
    save_file(content, folder / "a.safetensors", metadata={"format": "pt"})
    save_file(readout, folder / "b.safetensors", metadata={"format": "pt"})
    where = {**dict.fromkeys(content, "a.safetensors"), READOUT: "b.safetensors"}
    (folder / "model.safetensors.index.json").write_text(json.dumps({"metadata": {}, "weight_map": where}))
    metadata, loaded = describe(reference), load(reference)
    assert (metadata.parameters, metadata.tied) == (loaded.identity.parameters, equal)


@pytest.mark.parametrize("equal", [True, False])
def test_a_conversion_keeps_what_is_apart_apart(equal: bool, tmp_path: Path, cache: Path) -> None:
    """Pickled weights with both matrices: after the conversion plan and run agree, and both matrices are preserved."""
    reference = write(tmp_path / "m", says_tied=True, edit=FILES["equal" if equal else "different"])
    plain = load(reference)
    folder = Path(reference)
    torch.save(load_file(folder / "model.safetensors"), folder / "pytorch_model.bin")
    (folder / "model.safetensors").unlink()
    loaded = load(reference, allow_pickle=True)
    metadata = describe(reference, allow_pickle=True)
    assert (metadata.parameters, metadata.tied) == (loaded.identity.parameters, equal)
    for (name, ours), theirs in zip(loaded.model.named_parameters(), plain.model.parameters(), strict=True):
        assert torch.equal(ours, theirs), name
