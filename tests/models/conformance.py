"""The conformance suite of model adapters. A test class inherits it and defines a fixture `reference`."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from phantom_dist.models.description import describe
from phantom_dist.models.identity import weight_files, weights_digest
from phantom_dist.models.load import LoadedModel, load
from phantom_dist.models.registry import resolve


class ModelAdapterConformance:
    prompt = "the puppy was very"
    word = " glad"

    @pytest.fixture
    def reference(self) -> str:
        raise NotImplementedError

    @pytest.fixture
    def loaded(self, reference: str) -> LoadedModel:
        return load(reference)

    def test_resolves_to_a_folder_with_safetensors_and_a_tokenizer(self, reference: str) -> None:
        folder = resolve(reference)
        assert folder.reference == reference
        assert folder.title
        assert (folder.path / "config.json").is_file()
        assert all(file.is_file() for file in weight_files(folder.path))
        assert (folder.path / "tokenizer.json").is_file()

    def test_resolving_again_gives_the_same_folder(self, reference: str) -> None:
        assert resolve(reference) == resolve(reference)

    def test_description_agrees_with_the_loaded_model(self, reference: str, loaded: LoadedModel) -> None:
        metadata, model = describe(reference), loaded.model
        readout = model.get_output_embeddings().weight
        assert metadata.verified
        assert metadata.reason is None
        assert metadata.reference == reference
        assert metadata.title == loaded.folder.title
        assert metadata.architecture == loaded.identity.architecture == type(model).__name__
        assert metadata.parameters == loaded.identity.parameters == sum(p.numel() for p in model.parameters())
        assert (metadata.vocabulary_size, metadata.width) == tuple(readout.shape)
        assert metadata.tied == (readout is model.get_input_embeddings().weight)

    def test_description_is_the_same_before_and_after_conversion(self, reference: str) -> None:
        before = describe(reference)
        resolve(reference)
        assert describe(reference) == before

    def test_loads_in_float32_ready_to_be_trained(self, loaded: LoadedModel) -> None:
        assert not any(module.training for module in loaded.model.modules())
        assert {p.dtype for p in loaded.model.parameters()} == {torch.float32}
        assert all(p.requires_grad for p in loaded.model.parameters())
        assert loaded.model.config.use_cache is False

    def test_loads_in_bfloat16_from_the_same_weights(self, reference: str, loaded: LoadedModel) -> None:
        rounded = load(reference, precision="bfloat16")
        assert {p.dtype for p in rounded.model.parameters()} == {torch.bfloat16}
        assert rounded.identity == loaded.identity
        pairs = zip(rounded.model.parameters(), loaded.model.parameters(), strict=True)
        assert all(torch.equal(low, full.to(torch.bfloat16)) for low, full in pairs)

    def test_digest_is_stable_and_belongs_to_the_content(self, reference: str, tmp_path: Path) -> None:
        folder = resolve(reference).path
        digest = weights_digest(folder)
        assert len(digest) == 64
        assert weights_digest(folder) == digest
        assert weights_digest(_copy(folder, tmp_path / "copy")) == digest

    def test_digest_survives_other_shards(self, reference: str, tmp_path: Path) -> None:
        folder = resolve(reference).path
        sharded = _copy(folder, tmp_path / "sharded")
        _reshard(sharded)
        assert len(weight_files(sharded)) == 3
        assert weights_digest(sharded) == weights_digest(folder)

    def test_digest_changes_with_one_byte(self, reference: str, tmp_path: Path) -> None:
        folder = resolve(reference).path
        changed = _copy(folder, tmp_path / "changed")
        file = weight_files(changed)[-1]
        raw = bytearray(file.read_bytes())
        raw[-1] ^= 1
        file.write_bytes(raw)
        assert weights_digest(changed) != weights_digest(folder)

    def test_forward_is_deterministic(self, reference: str, loaded: LoadedModel) -> None:
        ids = torch.tensor([loaded.tokenizer.encode(self.prompt)])
        with torch.no_grad():
            first, second = loaded.model(ids).logits, load(reference).model(ids).logits
        assert torch.isfinite(first).all()
        assert torch.equal(first, second)

    def test_tokenizer_extends_its_prompt(self, loaded: LoadedModel) -> None:
        prompt = loaded.tokenizer.encode(self.prompt)
        longer = loaded.tokenizer.encode(self.prompt + self.word)
        assert longer[: len(prompt)] == prompt
        assert loaded.tokenizer.decode(longer[len(prompt) :]) == self.word


def _copy(folder: Path, to: Path) -> Path:
    shutil.copytree(folder, to, ignore=lambda where, names: [n for n in names if n.startswith("__")])
    return to


def _reshard(folder: Path) -> None:
    """Spread the tensors over three files in another order."""
    files = weight_files(folder)
    tensors = {name: value for file in files for name, value in load_file(file).items()}
    for file in files:
        file.unlink()
    shards: dict[str, dict[str, torch.Tensor]] = {}
    for number, name in enumerate(sorted(tensors, reverse=True)):
        shards.setdefault(f"model-{number % 3 + 1:05}-of-00003.safetensors", {})[name] = tensors[name]
    for name, part in shards.items():
        save_file(part, folder / name, metadata={"format": "pt"})
    index = {"metadata": {}, "weight_map": {name: file for file, part in shards.items() for name in part}}
    (folder / "model.safetensors.index.json").write_text(json.dumps(index))
