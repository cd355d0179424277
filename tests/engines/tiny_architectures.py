"""Every causal architecture that transformers has, as tiny as its configuration allows, with random weights."""

from __future__ import annotations

import torch
from transformers import PreTrainedModel
from transformers.models.auto.configuration_auto import CONFIG_MAPPING
from transformers.models.auto.modeling_auto import (
    MODEL_FOR_CAUSAL_LM_MAPPING,
    MODEL_FOR_CAUSAL_LM_MAPPING_NAMES,
)

VOCABULARY, WIDTH, LAYERS, LENGTH = 96, 32, 2, 64


def _each(names: str, value: object) -> dict[str, object]:
    return dict.fromkeys(names.split(), value)


SIZES: dict[str, object] = {
    **_each("vocab_size vocab_size_per_layer_input", VOCABULARY),
    **_each("hidden_size d_model n_embd dim embed_dim embedding_size word_embed_proj_dim", WIDTH),
    **_each("num_decoder_layers num_encoder_layers", LAYERS),
    **_each("num_hidden_layers n_layer n_layers num_layers decoder_layers encoder_layers", LAYERS),
    **_each(
        "num_attention_heads n_head n_heads num_heads decoder_attention_heads encoder_attention_heads", 4
    ),
    **_each("mamba_n_heads num_encoder_attention_heads", 4),
    **_each("num_key_value_heads n_head_kv num_kv_heads kv_n_heads", 2),
    **_each(
        "intermediate_size ffn_dim ffn_hidden_size moe_intermediate_size decoder_ffn_dim encoder_ffn_dim", 48
    ),
    **_each("shared_expert_intermediate_size n_inner dff intermediate_size_mlp", 48),
    **_each("num_experts num_local_experts n_routed_experts", 4),
    **_each("num_experts_per_tok moe_topk num_experts_per_token moe_num_active_primary_experts", 2),
    **_each("n_group topk_group n_shared_experts", 1),
    **_each("head_dim qk_nope_head_dim qk_rope_head_dim v_head_dim kv_channels", 8),
    **_each("q_lora_rank kv_lora_rank", 16),
    **_each("sliding_window sliding_window_size window_size attention_chunk_size attention_window_size", 8),
    **_each("max_position_embeddings n_positions max_seq_len context_length n_ctx", 2 * LENGTH),
    **_each("mamba_d_state state_size ssm_state_size mamba_num_heads mamba_head_dim mamba_num_groups", 8),
    **_each("linear_head_dim swa_head_dim linear_key_head_dim linear_value_head_dim global_head_dim", 8),
    **_each("swa_num_attention_heads linear_num_value_heads linear_num_key_heads linear_num_heads", 4),
    **_each("chunk_size mamba_chunk_size rel_extent o_lora_rank router_hidden_size index_head_dim", 16),
    **_each("hidden_size_per_layer_input index_block_size hc_lowrank", 16),
    **_each(
        "shared_intermediate_size dense_intermediate_size moe_shared_expert_intermediate_size d_inner", 48
    ),
    **_each("index_n_heads moe_num_experts", 4),
    "swa_num_key_value_heads": 2,
    "index_topk": 6,
    **_each("bos_token_id decoder_start_token_id", 1),
    "pad_token_id": 0,
    "eos_token_id": 2,
}
"""Sizes by their names in configurations; `build` sets those that an architecture has."""

_FLAT_HEADS: dict[str, object] = {"num_key_value_heads": 4}

_ROPE = {"rope_type": "default", "rope_theta": 1e4}

OWN: dict[str, dict[str, object]] = {
    "axk1": _FLAT_HEADS,
    "axk2": _FLAT_HEADS,
    "bigbird_pegasus": {"attention_type": "original_full"},
    "codegen": {"rotary_dim": 4},
    "cohere_compass_text": {
        "layer_types": ["sliding_attention", "full_attention"],
        "rope_parameters": {"sliding_attention": _ROPE, "full_attention": _ROPE},
    },
    "cpmant": {"dim_head": 8, "dim_ff": 48},
    "dbrx": {
        "attn_config": {"rope_theta": 1e4, "kv_n_heads": 2, "clip_qkv": 8.0},
        "ffn_config": {"ffn_hidden_size": 48, "moe_num_experts": 4},
    },
    "deepseek_v2": _FLAT_HEADS | {"num_experts_per_tok": 2, "n_routed_experts": 4},
    "deepseek_v3": _FLAT_HEADS,
    "deepseek_v32": _FLAT_HEADS,
    "dots1": {"n_routed_experts": 4, "n_shared_experts": 1, "num_experts_per_tok": 2},
    "dots3_note_text": _FLAT_HEADS,
    "ernie4_5_moe": {"moe_k": 2},
    "falcon_h1": {"mamba_d_ssm": 64, "mamba_d_head": 16},
    "gemma3n_text": {"num_kv_shared_layers": 0, "layer_types": ["sliding_attention", "full_attention"]},
    "glm4_moe_lite": _FLAT_HEADS,
    "glm_moe_dsa": _FLAT_HEADS,
    "gpt_neo": {"attention_types": [[["global", "local"], 1]]},
    "gptj": {"rotary_dim": 4},
    "hunyuan_v1_dense": {"head_dim": 8},
    "hunyuan_v1_moe": {"head_dim": 8},
    "inkling_text": {"logits_mup_width_multiplier": 1.0},
    "lfm2_moe": {"layer_types": ["conv", "full_attention"]},
    "longcat_flash": _FLAT_HEADS
    | {"ffn_hidden_size": 48, "expert_ffn_hidden_size": 48, "n_routed_experts": 4, "zero_expert_num": 2},
    "mamba2": {"num_heads": 8, "n_groups": 2, "chunk_size": 16},
    "minimax_m3_vl_text": {"rotary_dim": 4},
    "minicpm3": _FLAT_HEADS,
    "ministral": {"head_dim": 8},
    "nemotron": {"num_key_value_heads": 2},
    "reformer": {
        "is_decoder": True,
        "axial_pos_shape": (8, 16),
        "axial_pos_embds_dim": (16, 16),
        "attention_head_size": 8,
        "attn_layers": ["local", "local"],
        "local_attn_chunk_length": 8,
        "feed_forward_size": 48,
    },
    "roc_bert": {"pronunciation_vocab_size": 40, "shape_vocab_size": 40},
    "xlm": {"n_words": VOCABULARY, "emb_dim": WIDTH, "pad_index": 0, "unk_index": 3},
    "xmod": {"default_language": "en_XX"},
    "youtu": _FLAT_HEADS,
    "zamba": {"layers_block_type": ["mamba", "hybrid", "hybrid"], "num_hidden_layers": 3},
    "zamba2": {"layers_block_type": ["mamba", "hybrid"], "num_mem_blocks": 1},
    "zaya": {"num_experts_per_tok": 1},
}
"""Settings that an architecture needs besides `SIZES`."""

LEFT_OUT: dict[str, object] = {
    "blt": "three models of bytes and patches, each with a configuration of its own",
    **_each(
        "gemma4_assistant gemma4_unified_assistant", "reads the hidden states of the model that it assists"
    ),
    **_each("git phi4_multimodal", "several modalities; the parts that see and hear can't be made tiny here"),
    **_each("musicgen musicgen_melody", "several modalities; reads what a text encoder made"),
}


OTHER_NAMES = {"gpt-sw3"}
"""Aliases: names that transformers lists in addition to the configuration's own."""


class NotBuilt(Exception):
    """No tiny model of an architecture can be built; carries the reason."""


LARGEST = 4_000_000
"""The most parameters of a tiny model."""


def types() -> list[str]:
    """Every name of an architecture, one for each of transformers' causal language models; nothing is imported."""
    return sorted(MODEL_FOR_CAUSAL_LM_MAPPING_NAMES.keys() - OTHER_NAMES)


def build(model_type: str) -> PreTrainedModel:
    """A tiny model in evaluation mode, with random weights of seed 0 that are scaled up so that its logits differ.

    Raises:
        NotBuilt: with the reason.
    """
    kind = CONFIG_MAPPING[model_type]
    if model_type in LEFT_OUT:
        raise NotBuilt(str(LEFT_OUT[model_type]))
    plain = kind()
    if plain.get_text_config() is not plain:
        raise NotBuilt(f"several modalities; its language model is `{plain.get_text_config().model_type}`")
    own = vars(plain)
    sizes = {name: value for name, value in SIZES.items() if own.get(name) is not None}
    config = kind(**(sizes | OWN.get(model_type, {})))
    torch.manual_seed(0)
    model = MODEL_FOR_CAUSAL_LM_MAPPING[type(config)]._from_config(config, attn_implementation="eager")
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.ndim > 1 and 0 < float(parameter.std()) < 0.05:
                parameter.mul_(6)
    return model.eval()
