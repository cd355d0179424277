from __future__ import annotations

import pickle
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from phantom_dist.core.errors import InputError
from phantom_dist.models.description import describe
from phantom_dist.models.load import load
from phantom_dist.models.registry import resolve

from . import tiny


@pytest.fixture
def folder(tmp_path: Path, cache: Path) -> Path:
    return tiny.write_folder(tmp_path / "model")


@pytest.mark.parametrize("ask", [describe, resolve, load])
class TestEveryWayIn:
    def test_a_missing_folder(self, ask: object) -> None:
        with pytest.raises(InputError, match=r"model '\./nothing-here': no such folder"):
            ask("./nothing-here")

    def test_a_file(self, ask: object, tmp_path: Path) -> None:
        (tmp_path / "x.gguf").touch()
        with pytest.raises(InputError, match=r"a file, not a folder \(for a GGUF file, write gguf:PATH\)"):
            ask(str(tmp_path / "x.gguf"))

    def test_an_unknown_kind(self, ask: object) -> None:
        with pytest.raises(InputError, match=r"model 'zo:a': unknown kind 'zo:'\. Did you mean 'zoo'\?"):
            ask("zo:a")

    @pytest.mark.parametrize("reference", ["", "two words", "a/b/c"])
    def test_no_reference_at_all(self, ask: object, reference: str) -> None:
        with pytest.raises(InputError, match=r"not a model reference; allowed: zoo:NAME, gguf:PATH\.gguf"):
            ask(reference)

    def test_no_configuration(self, ask: object, folder: Path) -> None:
        (folder / "config.json").unlink()
        with pytest.raises(InputError, match=r"model: no config\.json; a model folder needs one"):
            ask(str(folder))

    def test_a_damaged_configuration(self, ask: object, folder: Path) -> None:
        (folder / "config.json").write_text("{")
        with pytest.raises(InputError, match=r"config\.json: not readable as JSON"):
            ask(str(folder))

    def test_a_configuration_that_transformers_refuses(self, ask: object, folder: Path) -> None:
        tiny.edit_config(folder, n_head="two")
        with pytest.raises(InputError, match=r"config\.json: transformers can't use it: .*n_head"):
            ask(str(folder))

    @pytest.mark.parametrize(
        ("model_type", "architecture"),
        [
            ("bert", "BertForMaskedLM"),
            ("bert", "BertLMHeadModel"),
            ("t5", "T5ForConditionalGeneration"),
            ("gpt2", "GPT2ForSequenceClassification"),
        ],
    )
    def test_no_causal_model(self, ask: object, folder: Path, model_type: str, architecture: str) -> None:
        tiny.edit_config(folder, model_type=model_type, architectures=[architecture])
        with pytest.raises(InputError, match=rf"is no causal language model \({architecture}\)"):
            ask(str(folder))

    def test_an_unknown_architecture(self, ask: object, folder: Path) -> None:
        tiny.edit_config(folder, model_type="gpt77")
        with pytest.raises(InputError, match=r"transformers 5\.\S+ knows no model_type 'gpt77'"):
            ask(str(folder))

    def test_code_of_its_own(self, ask: object, folder: Path) -> None:
        tiny.edit_config(folder, model_type="own", auto_map={"AutoModelForCausalLM": "modeling.Own"})
        with pytest.raises(
            InputError, match=r"needs Python code of its own .*trust_remote_code is off by default"
        ):
            ask(str(folder))

    def test_quantised_weights(self, ask: object, folder: Path) -> None:
        tiny.edit_config(folder, quantization_config={"quant_method": "gptq", "bits": 4})
        with pytest.raises(
            InputError, match=r"is quantised \(gptq\), and quantised weights can't be trained"
        ):
            ask(str(folder))

    def test_no_tokenizer(self, ask: object, folder: Path) -> None:
        for file in folder.glob("tokenizer*"):
            file.unlink()
        with pytest.raises(InputError, match=r"has no tokenizer: .* holds neither tokenizer\.json nor"):
            ask(str(folder))

    def test_pickled_weights(self, ask: object, tmp_path: Path, cache: Path) -> None:
        folder = tiny.write_pickled(tmp_path / "pickled")
        with pytest.raises(
            InputError, match=r"holds only pickled weights \(pytorch_model\.bin\).*allow_pickle"
        ):
            ask(str(folder))

    def test_no_weights(self, ask: object, folder: Path) -> None:
        (folder / "model.safetensors").unlink()
        with pytest.raises(InputError, match=r"holds no weights: .* has no \*\.safetensors"):
            ask(str(folder))


def test_a_folder_of_gguf_says_how_it_is_written(folder: Path) -> None:
    (folder / "model.safetensors").rename(folder / "x.gguf")
    with pytest.raises(InputError, match=r"for its GGUF file, write gguf:.*x\.gguf"):
        resolve(str(folder))


def test_known_architecture_with_a_leftover_auto_map_runs_no_code(folder: Path) -> None:
    tiny.edit_config(folder, auto_map={"AutoModelForCausalLM": "modeling.Own"})
    (folder / "modeling.py").write_text("raise SystemExit('code of the model ran')")
    assert load(str(folder)).identity.architecture == "GPT2LMHeadModel"


@pytest.mark.parametrize("keep", [4, 100, -1])
def test_a_safetensors_file_that_is_cut_short(folder: Path, keep: int) -> None:
    file = folder / "model.safetensors"
    file.write_bytes(file.read_bytes()[:keep])
    with pytest.raises(InputError, match=r"model\.safetensors: damaged safetensors file"):
        resolve(str(folder))


def test_a_safetensors_file_with_a_foreign_header(folder: Path) -> None:
    (folder / "model.safetensors").write_bytes((20).to_bytes(8, "little") + b"no header " * 4)
    with pytest.raises(InputError, match=r"its header is no safetensors header"):
        resolve(str(folder))


def test_a_missing_shard(tmp_path: Path) -> None:
    folder = tiny.write_folder(tmp_path / "model", max_shard_size="40KB")
    next(folder.glob("model-00002*")).unlink()
    with pytest.raises(InputError, match=r"index\.json: it lists model-00002.*which is not there"):
        resolve(str(folder))


def test_weights_that_lack_a_tensor_are_not_filled_with_random_numbers(folder: Path) -> None:
    tensors = load_file(folder / "model.safetensors")
    del tensors["transformer.h.1.mlp.c_fc.weight"]
    save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(
        InputError, match=r"don't fit config\.json: nothing for transformer\.h\.1\.mlp\.c_fc\.weight"
    ):
        load(str(folder))


def test_weights_of_another_shape(folder: Path) -> None:
    tiny.edit_config(folder, n_embd=16)
    with pytest.raises(InputError, match=r"can't be loaded: .*|don't fit config\.json"):
        load(str(folder))


def test_a_damaged_tokenizer(folder: Path) -> None:
    (folder / "tokenizer.json").write_text("{}")
    with pytest.raises(InputError, match=r"its tokenizer \(.*\) can't be loaded"):
        load(str(folder))


def test_allowed_pickle_gives_the_same_weights(tmp_path: Path, cache: Path) -> None:
    pickled = load(str(tiny.write_pickled(tmp_path / "pickled")), allow_pickle=True)
    plain = load(str(tiny.write_folder(tmp_path / "plain")))
    for ours, theirs in zip(pickled.model.parameters(), plain.model.parameters(), strict=True):
        assert torch.equal(ours, theirs)
    assert pickled.folder.path.parent == cache / "pickle"


class _Bomb:
    def __reduce__(self) -> tuple[object, tuple[str]]:
        return (Path.touch, (Path("exploded"),))  # type: ignore[return-value]


def test_allowed_pickle_still_runs_no_code(
    tmp_path: Path, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    folder = tiny.write_pickled(tmp_path / "pickled")
    (folder / "pytorch_model.bin").write_bytes(pickle.dumps({"transformer.wte.weight": _Bomb()}))
    with pytest.raises(InputError, match=r"its pickled weights \(.*pytorch_model\.bin\) can't be read"):
        load(str(folder), allow_pickle=True)
    assert not (tmp_path / "exploded").exists()
    assert list((cache / "pickle").iterdir()) == []
