"""`peft:PATH`: the merged model computes what peft computes with base and adapter unmerged."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import peft
import pytest
import torch
from peft import LoraConfig, PeftModel, get_peft_model
from safetensors.torch import load_file, save_file
from transformers import AutoModelForCausalLM, PreTrainedModel

from phantom_dist.core.errors import InputError
from phantom_dist.models.description import describe
from phantom_dist.models.load import load
from phantom_dist.models.registry import resolve

from . import documented, tiny
from .conformance import ModelAdapterConformance

ROUNDING = 1e-5
"""Of the largest logit: W x + s B A x against (W + s B A) x in float32, through two layers."""
ATTENTION = ["q_proj", "v_proj"]
TRAINED_TOKENS = [5, 9]


@pytest.fixture
def base(tmp_path: Path, cache: Path) -> Path:
    return tiny.write_folder(tmp_path / "base", tiny.llama())


def adapt(base: Path, to: Path, config: peft.PeftConfig, noise: float = 0.3) -> Path:
    """Save an adapter of this kind with random values, because a freshly initialised one often changes nothing."""
    torch.manual_seed(1)
    model = get_peft_model(AutoModelForCausalLM.from_pretrained(base), config)
    for parameter in model.parameters():
        if parameter.requires_grad:
            parameter.data += noise * torch.randn_like(parameter)
    model.save_pretrained(to)
    return to


def lora(**settings: object) -> LoraConfig:
    return LoraConfig(
        **{"r": 4, "lora_alpha": 8, "target_modules": ATTENTION, "task_type": "CAUSAL_LM", **settings}
    )


@torch.no_grad()
def logits(model: torch.nn.Module) -> torch.Tensor:
    ids = torch.randint(tiny.VOCABULARY_SIZE, (3, 12), generator=torch.Generator().manual_seed(3))
    ids[0, :2] = torch.tensor(TRAINED_TOKENS)
    return model.eval()(input_ids=ids).logits


def peft_says(base: Path, adapter: Path) -> torch.Tensor:
    model = AutoModelForCausalLM.from_pretrained(base, dtype=torch.float32, attn_implementation="eager")
    return logits(PeftModel.from_pretrained(model, adapter))


class TestMerged(ModelAdapterConformance):
    @pytest.fixture
    def reference(self, base: Path, tmp_path: Path) -> str:
        return f"peft:{adapt(base, tmp_path / 'adapter', lora())}"


class TestMergedWithAReadoutOfItsOwn(ModelAdapterConformance):
    """The base ties readout and embedding, the adapter trains a copy of each."""

    @pytest.fixture
    def reference(self, tmp_path: Path, cache: Path) -> str:
        tied = tiny.write_folder(tmp_path / "tied", tiny.gpt2())
        settings = lora(target_modules=["c_attn"], fan_in_fan_out=True, modules_to_save=["lm_head", "wte"])
        return f"peft:{adapt(tied, tmp_path / 'adapter', settings)}"


KINDS: dict[str, Callable[[], peft.PeftConfig]] = {
    "lora": lora,
    "lora-all-linear": lambda: lora(target_modules="all-linear"),
    "rslora": lambda: lora(use_rslora=True),
    "dora": lambda: lora(use_dora=True),
    "lora-rank-pattern": lambda: lora(rank_pattern={"q_proj": 2}, alpha_pattern={"v_proj": 32}),
    "lora-embedding": lambda: lora(target_modules=["embed_tokens", "q_proj"]),
    "lora-and-saved-readout": lambda: lora(modules_to_save=["lm_head"]),
    "lora-tokens": lambda: lora(trainable_token_indices=TRAINED_TOKENS),
    "tokens": lambda: peft.TrainableTokensConfig(token_indices=TRAINED_TOKENS, task_type="CAUSAL_LM"),
    "loha": lambda: peft.LoHaConfig(r=2, target_modules=ATTENTION, task_type="CAUSAL_LM"),
    "lokr": lambda: peft.LoKrConfig(r=2, target_modules=ATTENTION, task_type="CAUSAL_LM"),
    "adalora": lambda: peft.AdaLoraConfig(target_modules=ATTENTION, total_step=10, task_type="CAUSAL_LM"),
    "ia3": lambda: peft.IA3Config(
        target_modules=["k_proj", "down_proj"], feedforward_modules=["down_proj"], task_type="CAUSAL_LM"
    ),
    "oft": lambda: peft.OFTConfig(target_modules=ATTENTION, oft_block_size=8, r=0, task_type="CAUSAL_LM"),
    "hra": lambda: peft.HRAConfig(r=4, target_modules=ATTENTION, task_type="CAUSAL_LM"),
    "vera": lambda: peft.VeraConfig(r=4, target_modules=["q_proj"], task_type="CAUSAL_LM"),
    "fourierft": lambda: peft.FourierFTConfig(
        n_frequency=20, target_modules=ATTENTION, task_type="CAUSAL_LM"
    ),
    "ln": lambda: peft.LNTuningConfig(target_modules=["input_layernorm"], task_type="CAUSAL_LM"),
    "miss": lambda: peft.MissConfig(r=4, target_modules=["q_proj"], task_type="CAUSAL_LM"),
}


@pytest.mark.parametrize("kind", sorted(KINDS))
def test_merged_computes_what_peft_computes_with_both(kind: str, base: Path, tmp_path: Path) -> None:
    adapter = adapt(base, tmp_path / "adapter", KINDS[kind]())
    ours, theirs, alone = (
        logits(load(f"peft:{adapter}").model),
        peft_says(base, adapter),
        logits(load(str(base)).model),
    )
    assert (ours - theirs).abs().max() <= ROUNDING * theirs.abs().max()
    assert (theirs - alone).abs().max() > 100 * ROUNDING * theirs.abs().max(), (
        "an adapter that does something"
    )


def test_a_fresh_adapter_is_its_base(base: Path, tmp_path: Path) -> None:
    """B = 0: the merged model equals the base bit for bit."""
    adapter = adapt(base, tmp_path / "adapter", lora(), noise=0)
    assert torch.equal(logits(load(f"peft:{adapter}").model), logits(load(str(base)).model))


UNMERGED: dict[str, tuple[Callable[[], peft.PeftConfig], str]] = {
    "prompt": (
        lambda: peft.PromptTuningConfig(num_virtual_tokens=4, task_type="CAUSAL_LM"),
        "a learned prompt",
    ),
    "prefix": (
        lambda: peft.PrefixTuningConfig(num_virtual_tokens=4, task_type="CAUSAL_LM"),
        "a learned prompt",
    ),
    "p-tuning": (
        lambda: peft.PromptEncoderConfig(num_virtual_tokens=4, task_type="CAUSAL_LM"),
        "a learned prompt",
    ),
    "adaption-prompt": (
        lambda: peft.AdaptionPromptConfig(adapter_len=4, adapter_layers=1, task_type="CAUSAL_LM"),
        "can't be merged",
    ),
    "activated-lora": (lambda: lora(alora_invocation_tokens=[7, 8]), "peft says: aLoRA does not support"),
    "bias-without-a-place": (
        lambda: lora(lora_bias=True),
        "peft says: Impossible to merge LoRA with `lora_bias=True`",
    ),
    "replicated-layers": (lambda: lora(layer_replication=[(0, 2), (1, 2)]), "can't be merged"),
}


@pytest.mark.parametrize("kind", sorted(UNMERGED))
def test_what_cannot_be_merged_is_refused_by_name(kind: str, base: Path, tmp_path: Path, cache: Path) -> None:
    config, why = UNMERGED[kind]
    adapter = adapt(base, tmp_path / "adapter", config())
    name = json.loads((adapter / "adapter_config.json").read_text())["peft_type"]
    with pytest.raises(InputError, match=rf"adapter \({name}\) can't be merged: ") as refused:
        load(f"peft:{adapter}")
    assert why in str(refused.value)
    assert documented.ADAPTERS[kind] in str(refused.value)
    assert "\n" not in str(refused.value)
    assert not list((cache / "peft").glob("*")) if (cache / "peft").exists() else True


def test_the_documentation_lists_what_cannot_be_merged() -> None:
    assert set(documented.ADAPTERS) == set(UNMERGED)


@pytest.mark.parametrize("target", ["lm_head", "wte"])
def test_one_of_two_tied_matrices_is_refused(target: str, tmp_path: Path, cache: Path) -> None:
    tied = tiny.write_folder(tmp_path / "tied", tiny.gpt2())
    adapter = adapt(tied, tmp_path / "adapter", lora(target_modules=[target]))
    with pytest.raises(
        InputError, match=r"logits differ from those of the unmerged adapter .* one of two tied matrices"
    ):
        load(f"peft:{adapter}")


@pytest.mark.parametrize("ask", [describe, load])
def test_tied_matrices_trained_as_one_stay_one(
    ask: Callable[[str], Any], tmp_path: Path, cache: Path
) -> None:
    tied = tiny.write_folder(tmp_path / "tied", tiny.llama(tied=True))
    settings = lora(modules_to_save=["embed_tokens"], ensure_weight_tying=True)
    reference = f"peft:{adapt(tied, tmp_path / 'adapter', settings)}"
    if ask is describe:
        assert describe(reference).tied
        assert describe(reference).parameters == describe(str(tied)).parameters
    else:
        model = load(reference).model
        assert model.get_output_embeddings().weight is model.get_input_embeddings().weight
        torch.testing.assert_close(logits(model), peft_says(tied, tmp_path / "adapter"), rtol=0, atol=1e-5)


def test_matrices_that_come_apart_unforeseen_are_refused(tmp_path: Path, cache: Path) -> None:
    """peft ties the saved copies of these modules by Llama's module names, and doesn't know GPT-2's."""
    tied = tiny.write_folder(tmp_path / "tied", tiny.gpt2())
    settings = lora(target_modules=["c_attn"], modules_to_save=["wte"], ensure_weight_tying=True)
    adapter = adapt(tied, tmp_path / "adapter", settings)
    with pytest.raises(InputError, match="unties readout and embedding"):
        load(f"peft:{adapter}")


class TestWhereTheBaseIs:
    def name(self, adapter: Path, base: object, **more: object) -> str:
        file = adapter / "adapter_config.json"
        file.write_text(json.dumps({**json.loads(file.read_text()), "base_model_name_or_path": base, **more}))
        return f"peft:{adapter}"

    @pytest.fixture
    def adapter(self, base: Path, tmp_path: Path) -> Path:
        return adapt(base, tmp_path / "adapter", lora())

    def test_relative_to_the_adapter(self, adapter: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.chdir("/")  # where no `../base` is
        expected = load(f"peft:{adapter}").identity
        assert load(self.name(adapter, "../base")).identity == expected

    def test_relative_to_here(self, adapter: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.chdir(tmp_path)
        assert load(self.name(adapter, "./base")).folder.title == "adapter merged into base"

    def test_two_places_are_refused(self, adapter: Path, base: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        shutil.copytree(base, adapter / "base")
        monkeypatch.chdir(base.parent)
        with pytest.raises(InputError, match=r"'base' may be .* or .*; write an absolute path"):
            load(self.name(adapter, "base"))

    @pytest.mark.parametrize("ask", [describe, load])
    def test_this_very_folder(self, ask: Callable[[str], Any], adapter: Path, base: Path) -> None:
        expected = ask(f"peft:{adapter}")
        for file in base.iterdir():
            shutil.copy(file, adapter)
        found = ask(self.name(adapter, str(adapter)))
        if ask is load:
            assert found.identity == expected.identity
        else:
            assert found.parameters == expected.parameters

    def test_of_another_kind(self, tmp_path: Path, cache: Path) -> None:
        zoo = load("zoo:llama-b").model
        get_peft_model(zoo, lora(init_lora_weights=False)).save_pretrained(tmp_path / "adapter")
        reference = self.name(tmp_path / "adapter", "zoo:llama-b")
        assert load(reference).folder.title == "adapter merged into llama-b (zoo)"
        assert describe(reference).parameters == describe("zoo:llama-b").parameters

    def test_an_adapter_itself(self, adapter: Path, base: Path, tmp_path: Path) -> None:
        merged = resolve(f"peft:{adapter}").path
        second = self.name(adapt(merged, tmp_path / "second", lora()), f"peft:{adapter}")
        torch.testing.assert_close(
            logits(load(second).model), peft_says(merged, tmp_path / "second"), rtol=0, atol=1e-5
        )

    def test_round_in_a_circle(self, adapter: Path) -> None:
        with pytest.raises(InputError, match="refers back to this adapter"):
            load(self.name(adapter, f"peft:{adapter}"))

    @pytest.mark.parametrize("ask", [describe, load])
    @pytest.mark.parametrize(
        ("name", "message"),
        [
            (None, "names no base model; write the model that the adapter belongs to"),
            ("/nowhere", r"base_model_name_or_path: model '/nowhere': no such folder"),
            ("zoo:llama-z", "base_model_name_or_path: the zoo has no model 'llama-z'"),
        ],
    )
    def test_nowhere(self, ask: Callable[[str], Any], adapter: Path, name: object, message: str) -> None:
        with pytest.raises(InputError, match=rf"adapter_config\.json: .*{message}"):
            ask(self.name(adapter, name))

    def test_a_revision_is_refused(self, adapter: Path) -> None:
        with pytest.raises(InputError, match=r"revision: 'v2' of 'org/model' can't be selected"):
            load(self.name(adapter, "org/model", revision="v2"))


class TestWhatTheFolderHolds:
    @pytest.fixture
    def adapter(self, base: Path, tmp_path: Path) -> Path:
        return adapt(base, tmp_path / "adapter", lora())

    def edit(self, adapter: Path, change: Callable[[dict[str, torch.Tensor]], object]) -> None:
        tensors = load_file(adapter / "adapter_model.safetensors")
        change(tensors)
        save_file(tensors, adapter / "adapter_model.safetensors", metadata={"format": "pt"})

    def test_a_missing_tensor_is_not_made_up(self, adapter: Path) -> None:
        self.edit(adapter, lambda tensors: tensors.pop(sorted(tensors)[0]))
        with pytest.raises(InputError, match="its file and its configuration don't agree on base_model"):
            load(f"peft:{adapter}")

    def test_a_tensor_that_fits_nowhere_is_refused(self, adapter: Path) -> None:
        self.edit(adapter, lambda tensors: tensors.update(extra=torch.ones(2)))
        with pytest.raises(InputError, match="don't agree on extra"):
            load(f"peft:{adapter}")

    def test_another_shape_is_refused(self, adapter: Path) -> None:
        self.edit(
            adapter, lambda tensors: tensors.update({k: v[:1] for k, v in tensors.items() if "lora_A" in k})
        )
        with pytest.raises(
            InputError, match=r"can't be merged: peft says: size mismatch for base_model\..*lora_A"
        ):
            load(f"peft:{adapter}")

    @pytest.mark.parametrize("more", [{}, {"modules_to_save": ["embed_tokens", "lm_head"]}])
    def test_a_vocabulary_that_grew_is_refused(
        self, more: dict[str, Any], base: Path, tmp_path: Path
    ) -> None:
        model = AutoModelForCausalLM.from_pretrained(base)
        model.resize_token_embeddings(tiny.VOCABULARY_SIZE + 2)
        get_peft_model(model, lora(**more)).save_pretrained(tmp_path / "adapter")
        with pytest.raises(
            InputError, match=r"has 322 rows and the base's has 320, because tokens were added"
        ):
            load(f"peft:{tmp_path / 'adapter'}")

    def test_a_base_of_another_size_is_refused(self, adapter: Path, base: Path) -> None:
        shutil.rmtree(base)
        tiny.write_folder(base, tiny.gpt2())
        with pytest.raises(InputError, match=r"can't be merged: peft says: Target modules .* not found"):
            load(f"peft:{adapter}")

    @pytest.mark.parametrize("ask", [describe, load])
    @pytest.mark.parametrize(
        ("change", "message"),
        [
            (lambda f: shutil.rmtree(f), "no such folder"),
            (lambda f: (f / "adapter_config.json").unlink(), "holds no adapter_config.json"),
            (lambda f: (f / "adapter_model.safetensors").unlink(), r"holds no adapter_model\.safetensors"),
            (lambda f: (f / "adapter_model.safetensors").write_bytes(b"x" * 9), "damaged safetensors file"),
            (lambda f: (f / "tokenizer_config.json").write_text("{}"), "has no tokenizer"),
            (
                lambda f: (f / "adapter_model.safetensors").rename(f / "adapter_model.bin"),
                r"its adapter is pickled \(adapter_model\.bin\)",
            ),
        ],
    )
    def test_a_folder_that_lacks_something(
        self, ask: Callable[[str], Any], adapter: Path, change: Callable[[Path], object], message: str
    ) -> None:
        change(adapter)
        with pytest.raises(InputError, match=message):
            ask(f"peft:{adapter}")

    def test_another_task_is_refused(self, base: Path, tmp_path: Path) -> None:
        adapter = adapt(base, tmp_path / "adapter", lora())
        file = adapter / "adapter_config.json"
        file.write_text(json.dumps({**json.loads(file.read_text()), "task_type": "SEQ_CLS"}))
        with pytest.raises(InputError, match=r"trained for another task \(SEQ_CLS\), not for CAUSAL_LM"):
            describe(f"peft:{adapter}")

    def test_allowed_pickle_gives_the_same_model(self, adapter: Path) -> None:
        expected = load(f"peft:{adapter}").identity
        torch.save(load_file(adapter / "adapter_model.safetensors"), adapter / "adapter_model.bin")
        (adapter / "adapter_model.safetensors").unlink()
        assert load(f"peft:{adapter}", allow_pickle=True).identity == expected

    def test_the_tokenizer_beside_the_adapter_is_used(self, adapter: Path) -> None:
        before = load(f"peft:{adapter}")
        tokenizer = tiny.tokenizer()
        tokenizer.add_tokens(["<new>"])
        tokenizer.save_pretrained(adapter)
        after = load(f"peft:{adapter}")
        assert after.identity == before.identity
        assert len(after.tokenizer) == len(before.tokenizer) + 1


CHANGES: dict[str, Callable[[Path, Path], object]] = {
    "adapter weights": lambda base, adapter: _add(adapter / "adapter_model.safetensors"),
    "adapter settings": lambda base, adapter: _edit(adapter / "adapter_config.json", lora_alpha=99),
    "base weights": lambda base, adapter: _add(base / "model.safetensors"),
    "base settings": lambda base, adapter: _edit(base / "config.json", rms_norm_eps=0.1),
}


class TestTheCache:
    """The cache key covers everything that the merged model depends on, so no change leaves a stale entry."""

    @pytest.mark.parametrize("what", sorted(CHANGES))
    def test_a_change_counts(self, what: str, base: Path, tmp_path: Path) -> None:
        adapter = adapt(base, tmp_path / "adapter", lora())
        before = load(f"peft:{adapter}")
        CHANGES[what](base, adapter)
        after = load(f"peft:{adapter}")
        assert after.identity.weights != before.identity.weights
        torch.testing.assert_close(logits(after.model), peft_says(base, adapter), rtol=0, atol=1e-5)

    def test_the_bases_tokenizer_counts(self, base: Path, tmp_path: Path) -> None:
        adapter = adapt(base, tmp_path / "adapter", lora())
        before = load(f"peft:{adapter}")
        _edit(base / "tokenizer.json", added_tokens=[])
        assert load(f"peft:{adapter}").folder.path != before.folder.path

    def test_an_unchanged_adapter_is_merged_once(
        self, base: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
    ) -> None:
        caplog.set_level("INFO", logger="phantom_dist.activity")
        adapter = adapt(base, tmp_path / "adapter", lora())
        resolve(f"peft:{adapter}")
        assert "merging" in caplog.text
        caplog.clear()
        moved = Path(shutil.move(adapter, tmp_path / "moved"))
        resolve(f"peft:{moved}")
        assert "merging" not in caplog.text


def _add(file: Path) -> None:
    tensors: dict[str, torch.Tensor] = {name: value + 0.01 for name, value in load_file(file).items()}
    save_file(tensors, file, metadata={"format": "pt"})


def _edit(file: Path, **changes: object) -> None:
    file.write_text(json.dumps({**json.loads(file.read_text()), **changes}))


def test_drawing_numbers_elsewhere_goes_on_as_it_was(base: Path, tmp_path: Path) -> None:
    adapter = adapt(base, tmp_path / "adapter", lora())
    torch.manual_seed(5)
    expected = torch.rand(3)
    torch.manual_seed(5)
    resolve(f"peft:{adapter}")
    assert torch.equal(torch.rand(3), expected)


def test_the_merged_model_is_a_plain_one(base: Path, tmp_path: Path) -> None:
    model: PreTrainedModel = load(f"peft:{adapt(base, tmp_path / 'adapter', lora())}").model
    assert type(model).__name__ == "LlamaForCausalLM"
    assert not any("lora" in name for name, _ in model.named_parameters())
