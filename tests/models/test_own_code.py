"""A model's own Python code, once allowed, is part of the model's identity."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from transformers import dynamic_module_utils

from phantom_dist.core.errors import InputError
from phantom_dist.models.description import describe
from phantom_dist.models.identity import weights_digest
from phantom_dist.models.load import load

from . import tiny

MODELING = """
from transformers import LlamaForCausalLM
from .scale import SCALE

class Own(LlamaForCausalLM):
    def forward(self, *args, **kwargs):
        output = super().forward(*args, **kwargs)
        output.logits = output.logits * SCALE
        return output
"""


@pytest.fixture(scope="module")
def modules(tmp_path_factory: pytest.TempPathFactory) -> str:
    """transformers' folder for imported model code; a process can have only one."""
    return str(tmp_path_factory.mktemp("modules"))


@pytest.fixture
def folder(tmp_path: Path, modules: str, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A Llama whose own code multiplies its logits by a number from a second file."""
    monkeypatch.setattr(dynamic_module_utils, "HF_MODULES_CACHE", modules)
    monkeypatch.syspath_prepend(modules)
    folder = tiny.write_folder(tmp_path / "own", tiny.llama())
    tiny.edit_config(folder, auto_map={"AutoModelForCausalLM": "modeling.Own"})
    (folder / "modeling.py").write_text(MODELING)
    (folder / "scale.py").write_text("SCALE = 2.0\n")
    return folder


@torch.no_grad()
def logits(model: torch.nn.Module) -> torch.Tensor:
    return model(input_ids=torch.tensor([[1, 2, 3]])).logits


def test_it_runs_only_where_it_is_allowed(folder: Path) -> None:
    plain, own = load(str(folder)), load(str(folder), trust_remote_code=True)
    assert (plain.identity.architecture, own.identity.architecture) == ("LlamaForCausalLM", "Own")
    assert torch.equal(logits(own.model), 2 * logits(plain.model))
    assert own.identity.weights != plain.identity.weights
    assert describe(str(folder), trust_remote_code=True).parameters == own.identity.parameters


@pytest.mark.parametrize(
    ("file", "old", "new"), [("modeling.py", "* SCALE", "/ SCALE"), ("scale.py", "2.0", "3.0")]
)
def test_changed_code_is_another_model(folder: Path, file: str, old: str, new: str) -> None:
    before = load(str(folder), trust_remote_code=True)
    (folder / file).write_text((folder / file).read_text().replace(old, new))
    after = load(str(folder), trust_remote_code=True)
    assert not torch.equal(logits(after.model), logits(before.model))
    assert after.identity.weights != before.identity.weights
    assert load(str(folder)).identity == load(str(folder)).identity


def test_code_that_no_configuration_names_does_not_count(tmp_path: Path) -> None:
    folder = tiny.write_folder(tmp_path / "m", tiny.llama())
    before = weights_digest(folder)
    (folder / "modeling.py").write_text(MODELING)
    assert weights_digest(folder, remote_code=True) == before


def test_code_of_another_repository_is_refused(folder: Path) -> None:
    tiny.edit_config(folder, auto_map={"AutoModelForCausalLM": "somebody/model--modeling.Own"})
    with pytest.raises(InputError, match="its Python code lies in another repository"):
        load(str(folder), trust_remote_code=True)


def test_pickled_weights_with_code_of_their_own(folder: Path, cache: Path) -> None:
    expected = logits(load(str(folder), trust_remote_code=True).model)
    torch.save(tiny.llama().state_dict(), folder / "pytorch_model.bin")
    (folder / "model.safetensors").unlink()
    loaded = load(str(folder), allow_pickle=True, trust_remote_code=True)
    assert torch.equal(logits(loaded.model), expected)
    (folder / "scale.py").write_text("SCALE = 5.0\n")
    after = load(str(folder), allow_pickle=True, trust_remote_code=True)
    assert after.identity.weights != loaded.identity.weights
    assert torch.equal(logits(after.model), expected * 2.5)


def test_an_adapter_of_such_a_model_is_refused(folder: Path, tmp_path: Path, cache: Path) -> None:
    adapter = tmp_path / "adapter"
    adapter.mkdir()
    settings = {"peft_type": "LORA", "base_model_name_or_path": str(folder), "task_type": "CAUSAL_LM"}
    (adapter / "adapter_config.json").write_text(json.dumps(settings))
    (adapter / "adapter_model.safetensors").write_bytes((folder / "model.safetensors").read_bytes())
    with pytest.raises(InputError, match="needs Python code of its own; merge it where it was made"):
        load(f"peft:{adapter}", trust_remote_code=True)
