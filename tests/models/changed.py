"""Changes to a model folder; each changes one thing in a copy of `zoo:llama-b`.

Each change has an expected effect: `counts` (another trial id), `nothing` (equal ids, equal results), `refused: …`
(an error message), or `any` of these, where only the general rule must hold that equal ids mean equal results.
"""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from peft import LoraConfig, get_peft_model
from safetensors.torch import load_file, save_file
from transformers import AutoModelForCausalLM

Change = Callable[[Path], object]
BESIDE = "refused: holds a model's weights and an adapter"


def config(**changes: object) -> Change:
    return lambda m: edit(m / "config.json", changes)


def without(*keys: str) -> Change:
    return lambda m: rewrite(m / "config.json", lambda c: {k: v for k, v in c.items() if k not in keys})


def tokenizer(**changes: object) -> Change:
    return lambda m: edit(m / "tokenizer.json", changes)


def tokenizer_config(**changes: object) -> Change:
    return lambda m: edit(m / "tokenizer_config.json", changes)


def file(name: str, content: object) -> Change:
    def write(m: Path) -> None:
        (m / name).parent.mkdir(exist_ok=True)
        raw = content if isinstance(content, bytes) else json.dumps(content).encode()
        (m / name).write_bytes(raw)

    return write


def tensors(change: Callable[[dict[str, torch.Tensor]], object], **metadata: str) -> Change:
    def rewrite_weights(m: Path) -> None:
        content = load_file(m / "model.safetensors")
        change(content)
        save_file(content, m / "model.safetensors", metadata=metadata or {"format": "pt"})

    return rewrite_weights


def edit(path: Path, changes: dict[str, object]) -> None:
    rewrite(path, lambda content: {**content, **changes})


def rewrite(path: Path, change: Callable[[dict[str, Any]], object]) -> None:
    path.write_text(json.dumps(change(json.loads(path.read_text()))))


def adapter(m: Path) -> None:
    model = AutoModelForCausalLM.from_pretrained(m)
    settings = LoraConfig(
        r=4,
        lora_alpha=64,
        target_modules=["q_proj", "v_proj"],
        init_lora_weights=False,
        task_type="CAUSAL_LM",
    )
    get_peft_model(model, settings).save_pretrained(m)


def adapter_weights(m: Path) -> None:
    adapter(m)
    (m / "adapter_config.json").unlink()


def adapter_alone(m: Path) -> None:
    adapter(m)
    (m / "model.safetensors").unlink()


def pickled_adapter(m: Path) -> None:
    adapter(m)
    torch.save(load_file(m / "adapter_model.safetensors"), m / "adapter_model.bin")
    (m / "adapter_model.safetensors").unlink()


def shards(names: list[str], twice: bool = False) -> Change:
    def split(m: Path) -> None:
        content = load_file(m / "model.safetensors")
        (m / "model.safetensors").unlink()
        where = {name: names[n % len(names)] for n, name in enumerate(sorted(content))}
        for shard in names:
            part = {name: content[name] for name in content if where[name] == shard}
            if twice:
                part["model.norm.weight"] = content["model.norm.weight"] * (1 + names.index(shard))
            save_file(part, m / shard, metadata={"format": "pt"})
        (m / "model.safetensors.index.json").write_text(json.dumps({"metadata": {}, "weight_map": where}))

    return split


def beside_an_index(m: Path) -> None:
    """Add an index whose shards hold other weights; model.safetensors takes precedence."""
    shutil.copy(m / "model.safetensors", m / "kept")
    shards(["model-00001-of-00001.safetensors"])(m)
    content = {k: v * 2 for k, v in load_file(m / "model-00001-of-00001.safetensors").items()}
    save_file(content, m / "model-00001-of-00001.safetensors", metadata={"format": "pt"})
    (m / "kept").rename(m / "model.safetensors")


def other_weights(name: str) -> Change:
    """Add a second weights file under another name, with all values doubled."""

    def write(m: Path) -> None:
        content = {k: v * 2 for k, v in load_file(m / "model.safetensors").items()}
        if name.endswith(".bin"):
            torch.save(content, m / name)
        else:
            save_file(content, m / name, metadata={"format": "pt"})

    return write


def one_byte(m: Path) -> None:
    raw = bytearray((m / "model.safetensors").read_bytes())
    raw[-1] ^= 1
    (m / "model.safetensors").write_bytes(raw)


def one_byte_unseen(m: Path) -> None:
    """Change one byte in place; the file keeps its size and modification time."""
    before = (m / "model.safetensors").stat()
    one_byte(m)
    os.utime(m / "model.safetensors", ns=(before.st_atime_ns, before.st_mtime_ns))


def replaced_unseen(m: Path) -> None:
    """Replace the file by another one of equal size and modification time, as `cp -p` and `rsync` do."""
    before = (m / "model.safetensors").stat()
    shutil.copy(m / "model.safetensors", m / "new")
    (m / "model.safetensors").rename(m / "old")
    (m / "new").rename(m / "model.safetensors")
    (m / "old").unlink()
    one_byte(m)
    os.utime(m / "model.safetensors", ns=(before.st_atime_ns, before.st_mtime_ns))


def linked(m: Path) -> None:
    (m / "model.safetensors").rename(m.parent / "elsewhere")
    (m / "model.safetensors").symlink_to(m.parent / "elsewhere")


def cut(m: Path) -> None:
    (m / "model.safetensors").write_bytes((m / "model.safetensors").read_bytes()[:-7])


def swap_words(m: Path) -> None:
    def swap(content: dict[str, Any]) -> object:
        words = content["model"]["vocab"]
        first, second = (next(w for w in words if w.endswith(end)) for end in ("rage", "anger"))
        words[first], words[second] = words[second], words[first]
        return content

    rewrite(m / "tokenizer.json", swap)


def post_processor(appended: bool) -> Change:
    def change(content: dict[str, Any]) -> object:
        end = {"SpecialToken": {"id": "<s>", "type_id": 0}}
        single = [{"Sequence": {"id": "A", "type_id": 0}}]
        content["post_processor"]["single"] = [*single, end] if appended else single
        return content

    return lambda m: rewrite(m / "tokenizer.json", change)


def stored_as(dtype: torch.dtype) -> Change:
    return tensors(lambda t: t.update({name: value.to(dtype) for name, value in t.items()}))


def rope(**settings: object) -> Change:
    return config(rope_parameters={"rope_theta": 10000.0, "rope_type": "default", **settings})


YARN = {"rope_type": "yarn", "factor": 4.0, "original_max_position_embeddings": 16}
LLAMA3 = {
    "rope_type": "llama3",
    "factor": 8.0,
    "low_freq_factor": 1.0,
    "high_freq_factor": 4.0,
    "original_max_position_embeddings": 16,
}
SHARDS = [f"model-{n:05}-of-00003.safetensors" for n in (1, 2, 3)]
MAP = {"weight_map": {"model.norm.weight": "../elsewhere.safetensors"}}
EOS = {"id": 502, "content": "</s>", "special": True}

CHANGES: dict[str, tuple[Change, str]] = {
    # adapters
    "adapter beside the weights": (adapter, BESIDE),
    "adapter_config.json beside the weights": (file("adapter_config.json", {"peft_type": "LORA"}), BESIDE),
    "pickled adapter beside the weights": (pickled_adapter, BESIDE),
    "adapter weights without a configuration": (adapter_weights, "nothing"),
    "adapter without weights": (
        adapter_alone,
        "refused: is an adapter without the model it belongs to .* peft:",
    ),
    # how text becomes tokens
    "two words change places": (swap_words, "counts"),
    "a lower-case normaliser": (tokenizer(normalizer={"type": "Lowercase"}), "any"),
    "a normaliser that changes nothing here": (tokenizer(normalizer={"type": "NFKC"}), "any"),
    "no token at the beginning": (post_processor(appended=False), "any"),
    "a token at the end": (post_processor(appended=True), "any"),
    "truncation": (
        tokenizer(
            truncation={"max_length": 5, "strategy": "LongestFirst", "stride": 0, "direction": "Right"}
        ),
        "any",
    ),
    "another decoder": (tokenizer(decoder=None), "any"),
    "no tokenizer": (lambda m: (m / "tokenizer.json").unlink(), "refused: has no tokenizer"),
    "a damaged tokenizer": (lambda m: (m / "tokenizer.json").write_text("{}"), "refused: can't be loaded"),
    "another beginning token": (tokenizer_config(bos_token="<unk>"), "any"),
    "another ending token": (tokenizer_config(eos_token="<unk>", add_eos_token=True), "any"),
    "no beginning token": (tokenizer_config(add_bos_token=False), "any"),
    "another tokenizer class": (tokenizer_config(tokenizer_class="GPT2Tokenizer"), "any"),
    "padding on the left": (tokenizer_config(padding_side="left"), "nothing"),
    "a short model_max_length": (tokenizer_config(model_max_length=4), "nothing"),
    "special_tokens_map.json": (file("special_tokens_map.json", {"unk_token": "<s>"}), "any"),
    "added_tokens.json": (file("added_tokens.json", {"</s>": 502}), "any"),
    "a token more than rows": (lambda m: rewrite(m / "tokenizer.json", _add_token), "any"),
    "vocab.json and merges.txt beside": (file("vocab.json", {"rage": 1}), "nothing"),
    "a SentencePiece file beside": (file("tokenizer.model", b"no SentencePiece"), "any"),
    "spiece.model beside": (file("spiece.model", b"no SentencePiece"), "nothing"),
    "a chat template": (file("chat_template.jinja", b"{{ messages }}"), "nothing"),
    "a processor": (file("processor_config.json", {"processor_class": "LlavaProcessor"}), "nothing"),
    "a preprocessor": (file("preprocessor_config.json", {"feature_extractor_type": "X"}), "nothing"),
    # what the configuration says
    "rope: another base": (rope(rope_theta=5000.0), "counts"),
    "rope: linear": (rope(rope_type="linear", factor=2.0), "counts"),
    "rope: dynamic": (rope(rope_type="dynamic", factor=2.0), "counts"),
    "rope: yarn": (rope(**YARN), "counts"),
    "rope: llama3": (rope(**LLAMA3), "counts"),
    "rope: the older key": (config(rope_scaling={"rope_type": "linear", "factor": 2.0}), "counts"),
    "rope: unknown": (rope(rope_type="none such"), "refused: "),
    "a longer context": (config(max_position_embeddings=128), "counts"),
    "a context shorter than the prompt": (config(max_position_embeddings=4), "any"),
    "another epsilon": (config(rms_norm_eps=1e-3), "counts"),
    "another activation": (config(hidden_act="gelu"), "counts"),
    "dropout": (config(attention_dropout=0.5), "counts"),
    "another initialisation": (config(initializer_range=0.5), "counts"),
    "pretraining_tp": (config(pretraining_tp=2), "counts"),
    "a sliding window": (config(sliding_window=4, layer_types=["sliding_attention"] * 4), "counts"),
    "soft caps": (config(final_logit_softcapping=1.0, attn_logit_softcapping=1.0), "counts"),
    "another scaling": (config(attention_multiplier=2.0, logits_scaling=3.0), "counts"),
    "the cache is used": (config(use_cache=True), "counts"),
    "another attention": (config(_attn_implementation="sdpa"), "counts"),
    "tied where the file holds both": (config(tie_word_embeddings=True), "counts"),
    "tied, one matrix in the file": (
        lambda m: (config(tie_word_embeddings=True)(m), tensors(lambda t: t.pop("lm_head.weight"))(m)),
        "counts",
    ),
    "no architectures": (without("architectures"), "counts"),
    "a related architecture": (config(model_type="mistral", architectures=["MistralForCausalLM"]), "counts"),
    "no causal model": (config(architectures=["LlamaForSequenceClassification"]), "refused: is no causal"),
    "stored as bfloat16, as it says": (config(dtype="bfloat16"), "nothing"),
    "torch_dtype": (config(torch_dtype="float16"), "nothing"),
    "no dtype": (without("dtype"), "nothing"),
    "an unknown dtype": (config(dtype="float99"), "any"),
    "written by an older transformers": (config(transformers_version="4.20.0"), "nothing"),
    "another origin": (config(_name_or_path="mistralai/Mistral-7B-v0.1"), "nothing"),
    "quantised": (config(quantization_config={"quant_method": "bitsandbytes"}), "refused: is quantised"),
    "weights under another name": (
        lambda m: (
            other_weights("other.safetensors")(m),
            config(transformers_weights="other.safetensors")(m),
        ),
        "refused: its weights lie in another file",
    ),
    "a leftover auto_map": (
        lambda m: (
            config(auto_map={"AutoModelForCausalLM": "modeling.Own"})(m),
            (m / "modeling.py").write_text("raise SystemExit"),
        ),
        "counts",
    ),
    "code that nothing names": (file("modeling_llama.py", b"raise SystemExit"), "nothing"),
    "other versions' configurations": (file("config.5.0.0.json", {"model_type": "gpt2"}), "nothing"),
    "fewer layers": (config(num_hidden_layers=3), "counts"),
    "more layers": (config(num_hidden_layers=5), "refused: nothing for model.layers.4"),
    "fewer heads": (config(num_attention_heads=3, head_dim=32, num_key_value_heads=3), "counts"),
    "another width": (config(head_dim=32), "refused: "),
    "more words": (config(vocab_size=600), "refused: "),
    "a damaged configuration": (
        lambda m: (m / "config.json").write_text("{"),
        "refused: not readable as JSON",
    ),
    # weights
    "one bit": (one_byte, "counts"),
    "one bit, size and time kept": (one_byte_unseen, "counts"),
    "replaced, size and time kept": (replaced_unseen, "counts"),
    "a link": (linked, "nothing"),
    "shards": (shards(SHARDS), "nothing"),
    "one shard": (shards(["x.safetensors"]), "nothing"),
    "a tensor in two shards": (shards(SHARDS, twice=True), "counts"),
    "a shard that is missing": (
        lambda m: (shards(SHARDS)(m), (m / SHARDS[1]).unlink()),
        "refused: which is not there",
    ),
    "a shard in another folder": (
        lambda m: ((m / "model.safetensors").unlink(), file("model.safetensors.index.json", MAP)(m)),
        "refused: which is no file of this folder",
    ),
    "an index beside": (beside_an_index, "nothing"),
    "shards of a distributed training beside": (
        other_weights("shard-00001-model-00001-of-00001.safetensors"),
        "nothing",
    ),
    "consolidated.safetensors beside": (other_weights("consolidated.safetensors"), "nothing"),
    "a variant beside": (other_weights("model.fp16.safetensors"), "nothing"),
    "pytorch_model.bin beside": (other_weights("pytorch_model.bin"), "nothing"),
    "only pickled": (
        lambda m: (other_weights("pytorch_model.bin")(m), (m / "model.safetensors").unlink()),
        "refused: holds only pickled weights",
    ),
    "an extra tensor": (tensors(lambda t: t.update(extra=torch.ones(2))), "counts"),
    "a tensor less": (
        tensors(lambda t: t.pop("model.norm.weight")),
        "refused: nothing for model.norm.weight",
    ),
    "a tensor of another shape": (
        tensors(lambda t: t.update({"model.norm.weight": torch.ones(95, dtype=torch.float16)})),
        "refused: nothing for model.norm.weight",
    ),
    "stored in float32": (stored_as(torch.float32), "counts"),
    "stored in bfloat16": (stored_as(torch.bfloat16), "counts"),
    "other metadata": (tensors(lambda t: None, format="pt", made="elsewhere"), "nothing"),
    "no metadata": (
        lambda m: save_file(load_file(m / "model.safetensors"), m / "model.safetensors"),
        "nothing",
    ),
    "another format in the metadata": (tensors(lambda t: None, format="mlx"), "any"),
    "cut short": (cut, "refused: damaged safetensors file"),
    "a GGUF file beside": (file("model.gguf", b"GGUF"), "nothing"),
    # what else lies around
    "generation_config.json": (
        file("generation_config.json", {"temperature": 9.0, "eos_token_id": 3}),
        "nothing",
    ),
    "a damaged generation_config.json": (file("generation_config.json", b"{"), "nothing"),
    "code for generating": (file("custom_generate/generate.py", b"raise SystemExit"), "nothing"),
    "a trainer's leftovers": (
        lambda m: (file("trainer_state.json", {})(m), torch.save({}, m / "training_args.bin")),
        "nothing",
    ),
}


def _add_token(content: dict[str, Any]) -> object:
    defaults = {"single_word": False, "lstrip": False, "rstrip": False, "normalized": False}
    content["added_tokens"].append({**defaults, **EOS})
    return content
