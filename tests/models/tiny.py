"""Tiny models that the tests build from scratch: a byte-level tokenizer, random weights, folders and GGUF files."""

from __future__ import annotations

import json
from pathlib import Path

import gguf
import numpy as np
import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import (
    GPT2Config,
    GPT2LMHeadModel,
    GPTNeoXConfig,
    GPTNeoXForCausalLM,
    LlamaConfig,
    LlamaForCausalLM,
    PreTrainedTokenizerFast,
)

CORPUS = ["the puppy was very glad and very happy", "the boy felt afraid and scared", "shame and guilt"] * 20
VOCABULARY_SIZE = 320


def tokenizer() -> PreTrainedTokenizerFast:
    bpe = Tokenizer(models.BPE())
    bpe.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    bpe.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=VOCABULARY_SIZE,
        special_tokens=["<|endoftext|>"],
        initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()),
        show_progress=False,
    )
    bpe.train_from_iterator(CORPUS, trainer)
    end = "<|endoftext|>"
    return PreTrainedTokenizerFast(tokenizer_object=bpe, bos_token=end, eos_token=end, unk_token=end)


def gpt2(seed: int = 0) -> GPT2LMHeadModel:
    torch.manual_seed(seed)
    return GPT2LMHeadModel(
        GPT2Config(n_embd=32, n_layer=2, n_head=2, n_positions=64, vocab_size=VOCABULARY_SIZE)
    )


def llama(seed: int = 0, tied: bool = False) -> LlamaForCausalLM:
    torch.manual_seed(seed)
    config = LlamaConfig(
        hidden_size=32,
        num_hidden_layers=2,
        num_attention_heads=2,
        num_key_value_heads=1,
        intermediate_size=64,
        max_position_embeddings=64,
        vocab_size=VOCABULARY_SIZE,
        tie_word_embeddings=tied,
    )
    return LlamaForCausalLM(config)


def gpt_neox(seed: int = 0) -> GPTNeoXForCausalLM:
    torch.manual_seed(seed)
    config = GPTNeoXConfig(
        hidden_size=32,
        num_hidden_layers=2,
        num_attention_heads=2,
        intermediate_size=64,
        max_position_embeddings=64,
        vocab_size=VOCABULARY_SIZE + 7,
    )
    return GPTNeoXForCausalLM(config)


def write_folder(folder: Path, model: torch.nn.Module | None = None, **save: object) -> Path:
    (model if model is not None else gpt2()).save_pretrained(folder, **save)
    tokenizer().save_pretrained(folder)
    return folder


def write_pickled(folder: Path) -> Path:
    write_folder(folder)
    torch.save(gpt2().state_dict(), folder / "pytorch_model.bin")
    (folder / "model.safetensors").unlink()
    return folder


def edit_config(folder: Path, **changes: object) -> None:
    file = folder / "config.json"
    file.write_text(json.dumps({**json.loads(file.read_text()), **changes}))


def write_gguf(file: Path, width: int = 64, layers: int = 2) -> dict[str, np.ndarray]:
    """Write a tied Llama with Q8_0 matrices; returns their dequantised float32 values."""
    rng = np.random.default_rng(0)
    writer = gguf.GGUFWriter(str(file), "llama")
    writer.add_name("tiny")
    writer.add_block_count(layers)
    writer.add_context_length(64)
    writer.add_embedding_length(width)
    writer.add_feed_forward_length(2 * width)
    writer.add_head_count(2)
    writer.add_head_count_kv(2)
    writer.add_layer_norm_rms_eps(1e-5)
    writer.add_rope_freq_base(10000.0)
    writer.add_vocab_size(VOCABULARY_SIZE)
    _write_tokenizer(writer)
    matrices = {"token_embd.weight": (VOCABULARY_SIZE, width)}
    for n in range(layers):
        matrices |= {f"blk.{n}.attn_{part}.weight": (width, width) for part in ("q", "k", "v", "output")}
        matrices |= {f"blk.{n}.ffn_{part}.weight": (2 * width, width) for part in ("gate", "up")}
        matrices[f"blk.{n}.ffn_down.weight"] = (width, 2 * width)
    values: dict[str, np.ndarray] = {}
    for name, shape in matrices.items():
        packed = gguf.quants.quantize(
            rng.normal(0, 0.05, shape).astype(np.float32), gguf.GGMLQuantizationType.Q8_0
        )
        writer.add_tensor(name, packed, raw_dtype=gguf.GGMLQuantizationType.Q8_0)
        values[name] = gguf.quants.dequantize(packed, gguf.GGMLQuantizationType.Q8_0)
    norms = ["output_norm.weight"]
    norms += [f"blk.{n}.{part}_norm.weight" for n in range(layers) for part in ("attn", "ffn")]
    for name in norms:
        writer.add_tensor(name, np.ones(width, dtype=np.float32))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return values


def _write_tokenizer(writer: gguf.GGUFWriter) -> None:
    bpe = json.loads(tokenizer().backend_tokenizer.to_str())["model"]
    tokens = sorted(bpe["vocab"], key=bpe["vocab"].__getitem__)
    special = [gguf.TokenType.CONTROL if t == "<|endoftext|>" else gguf.TokenType.NORMAL for t in tokens]
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre("gpt-2")
    writer.add_token_list(tokens)
    writer.add_token_types(special)
    writer.add_token_merges([" ".join(merge) for merge in bpe["merges"]])
    writer.add_bos_token_id(0)
    writer.add_eos_token_id(0)
    writer.add_unk_token_id(0)
