from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load_file

from phantom_dist.core.errors import InputError
from phantom_dist.models.cache import file_sha256
from phantom_dist.models.description import describe
from phantom_dist.models.load import load
from phantom_dist.models.registry import resolve

from . import tiny
from .conformance import ModelAdapterConformance

PROMPT = "the puppy was very glad"


@pytest.fixture
def tiny_gguf(tmp_path: Path, cache: Path) -> Path:
    file = tmp_path / "tiny-q8_0.gguf"
    tiny.write_gguf(file)
    return file


class TestGguf(ModelAdapterConformance):
    @pytest.fixture
    def reference(self, tiny_gguf: Path) -> str:
        return f"gguf:{tiny_gguf}"


def test_weights_are_the_dequantised_ones_and_stay_tied(tmp_path: Path, cache: Path) -> None:
    values = tiny.write_gguf(tmp_path / "tiny.gguf")
    folder = resolve(f"gguf:{tmp_path / 'tiny.gguf'}").path
    tensors = load_file(folder / "model.safetensors")
    np.testing.assert_array_equal(tensors["model.embed_tokens.weight"], values["token_embd.weight"])
    np.testing.assert_array_equal(tensors["model.layers.1.mlp.up_proj.weight"], values["blk.1.ffn_up.weight"])
    assert {t.dtype for t in tensors.values()} == {np.dtype("float32")}
    assert "lm_head.weight" not in tensors
    assert describe(f"gguf:{tmp_path / 'tiny.gguf'}").tied


def test_conversion_lies_in_the_cache_under_the_files_sha256(tiny_gguf: Path, cache: Path) -> None:
    folder = resolve(f"gguf:{tiny_gguf}").path
    assert folder.relative_to(cache).parts[0] == "gguf"
    assert folder.name == file_sha256(tiny_gguf)
    assert [f.name for f in folder.parent.iterdir()] == [folder.name]


def test_relative_paths_start_at_the_current_folder(tiny_gguf: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tiny_gguf.parent)
    assert resolve(f"gguf:{tiny_gguf.name}").title == "tiny-q8_0 (dequantised from GGUF)"


def _another_tokenizer(folder: Path) -> None:
    other = tiny.tokenizer()
    other.add_tokens([" puppy", "very"])
    other.save_pretrained(folder)


BESIDE: dict[str, Callable[[Path], object]] = {
    "tokenizer": _another_tokenizer,
    "model": lambda folder: tiny.write_folder(folder, tiny.gpt2()),
    "adapter": lambda folder: (folder / "adapter_config.json").write_text(
        json.dumps({"peft_type": "LORA", "base_model_name_or_path": "nowhere/nothing"})
    ),
    "damaged": lambda folder: [
        (folder / name).write_text("{")
        for name in ("config.json", "tokenizer_config.json", "generation_config.json")
    ],
    "another GGUF": lambda folder: tiny.write_gguf(folder / "a.gguf", layers=1),
}


@pytest.mark.parametrize("what", BESIDE)
def test_what_lies_beside_the_file_does_not_count(what: str, tiny_gguf: Path, tmp_path: Path) -> None:
    with_neighbours = tmp_path / "h" / "x.gguf"
    with_neighbours.parent.mkdir()
    BESIDE[what](with_neighbours.parent)
    shutil.copy(tiny_gguf, with_neighbours)
    described = describe(f"gguf:{with_neighbours}")
    first = load(f"gguf:{with_neighbours}")  # converts
    shutil.rmtree(first.folder.path)
    clean = load(f"gguf:{tiny_gguf}")
    assert first.identity == clean.identity
    assert first.tokenizer.encode(PROMPT) == clean.tokenizer.encode(PROMPT)
    assert first.tokenizer.backend_tokenizer.to_str() == clean.tokenizer.backend_tokenizer.to_str()
    assert described.parameters == clean.identity.parameters


def test_what_older_versions_kept_is_not_used(tiny_gguf: Path, cache: Path) -> None:
    """Their cache key was the file's hash alone, although a neighbouring tokenizer affected the conversion."""
    poisoned = cache / "gguf" / file_sha256(tiny_gguf)
    tiny.write_folder(poisoned, tiny.llama())
    _another_tokenizer(poisoned)
    loaded = load(f"gguf:{tiny_gguf}")
    assert loaded.folder.path != poisoned
    assert loaded.identity.parameters == describe(f"gguf:{tiny_gguf}").parameters
    assert len(loaded.tokenizer) == len(tiny.tokenizer())


def test_two_processes_may_convert_at_once(tiny_gguf: Path, cache: Path) -> None:
    code = "import sys; from phantom_dist.models.load import load; print(load(sys.argv[1]).identity.weights)"
    command = [sys.executable, "-c", code, f"gguf:{tiny_gguf}"]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    both = [
        subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment)
        for _ in range(2)
    ]
    outputs = [process.communicate(timeout=120) for process in both]
    assert [process.returncode for process in both] == [0, 0], outputs
    first, second = (out for out, _ in outputs)
    assert first == second
    assert len(first.strip()) == 64, "stdout holds the digest and nothing else"
    assert len(list((cache / "gguf").glob("*/*"))) == 1


def test_a_conversion_that_fails_leaves_nothing(tiny_gguf: Path, cache: Path) -> None:
    tiny_gguf.write_bytes(tiny_gguf.read_bytes()[:20_000])
    with pytest.raises(
        InputError, match=r"tiny-q8_0\.gguf: damaged, or no GGUF file of a causal language model"
    ):
        load(f"gguf:{tiny_gguf}")
    assert list((cache / "gguf").glob("*/*")) == []


def test_a_file_that_is_no_gguf_is_named(tmp_path: Path, cache: Path) -> None:
    (tmp_path / "x.gguf").write_text("no model")
    with pytest.raises(InputError, match=r"x\.gguf: damaged, or no GGUF file"):
        describe(f"gguf:{tmp_path / 'x.gguf'}")


def test_a_missing_file_is_named() -> None:
    with pytest.raises(InputError, match=r"model 'gguf:models/x\.gguf': no such file: models/x\.gguf"):
        resolve("gguf:models/x.gguf")
