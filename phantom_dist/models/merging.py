"""Merge an adapter into its base with peft, and check the result against the unmerged model."""

from __future__ import annotations

import torch
from peft import PeftModel, get_peft_model_state_dict
from peft.utils.save_and_load import load_peft_weights
from transformers import PreTrainedModel

from phantom_dist.models.adapter_folder import AdapterFolder
from phantom_dist.models.folder import first_line
from phantom_dist.models.staging import staged

TOLERANCE = 1e-4
"""Largest allowed difference of merged and unmerged logits, as a share of the largest logit. Rounding in W + BA makes
some 1e-6 in float32; a merge that omits a part of the adapter differs by that part."""
PROBE_LENGTH = 24


def merge(model: PreTrainedModel, adapter: AdapterFolder) -> PreTrainedModel:
    """The base, in evaluation mode and float32, with the adapter merged into its weights.

    Raises:
        InputError: peft can't merge it, the file doesn't match the adapter's configuration, or merging changes the
            logits.
    """
    with torch.no_grad(), torch.random.fork_rng(devices=[]), staged(adapter.files) as folder:
        torch.manual_seed(0)  # some methods draw random values that they don't store
        stored = load_peft_weights(str(folder), device="cpu")
        _check_rows(model, stored, adapter)
        try:
            peft_model = PeftModel.from_pretrained(model, str(folder), torch_device="cpu").eval()
            mismatched = _mismatched_keys(peft_model, stored)
            tokens_BL = _sample_tokens(model, adapter)
            unmerged_BLV = peft_model(input_ids=tokens_BL).logits
            merged: PreTrainedModel = peft_model.merge_and_unload(safe_merge=True)
            merged_BLV = merged(input_ids=tokens_BL).logits
        except Exception as error:  # peft's methods raise various types where they don't fit or can't merge
            raise adapter.error(f"peft says: {_reason(error)}") from None
    if mismatched:
        raise adapter.error(f"its file and its configuration don't agree on {', '.join(mismatched[:3])}")
    difference = float((merged_BLV - unmerged_BLV).abs().max() / unmerged_BLV.abs().max())
    if not difference <= TOLERANCE:  # also true for NaN
        raise adapter.error(
            f"after merging, logits differ from those of the unmerged adapter (by {difference:.1e} of the largest), as "
            "happens where it adapts one of two tied matrices"
        )
    return merged


def is_tied(model: PreTrainedModel) -> bool:
    """Whether readout and embedding are one matrix."""
    return model.get_output_embeddings().weight is model.get_input_embeddings().weight


def _check_rows(model: PreTrainedModel, stored: dict[str, torch.Tensor], adapter: AdapterFolder) -> None:
    """Refuse an adapter whose embedding or readout grew in training; the saved matrix doesn't fit the base."""
    tables = (model.get_input_embeddings(), model.get_output_embeddings())
    names = {name for name, module in model.named_modules() if module in tables}
    rows = tables[0].weight.shape[0]
    for key, value in stored.items():
        module = key.removeprefix("base_model.model.").removesuffix(".weight").removesuffix(".base_layer")
        if module in names and value.shape[0] != rows:
            raise adapter.error(
                f"its {module} has {value.shape[0]} rows and the base's has {rows}, because tokens were added in "
                "training; merge it where it was made, with merge_and_unload, and use the merged folder"
            )


def _reason(error: Exception) -> str:
    """The line with the cause: torch's messages list shape mismatches below a heading line."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return lines[1] if len(lines) > 1 and lines[0].endswith(":") else first_line(error)


def _mismatched_keys(peft_model: PeftModel, stored: dict[str, torch.Tensor]) -> list[str]:
    """Keys that only the file or only the model has, or whose values differ."""
    needed = get_peft_model_state_dict(peft_model, save_embedding_layers=False)
    taken = get_peft_model_state_dict(peft_model, save_embedding_layers=True) | needed
    missing = needed.keys() - stored.keys()
    strange = {k for k, v in stored.items() if k not in taken or not torch.equal(taken[k].float(), v.float())}
    return sorted(missing | strange)


def _sample_tokens(model: PreTrainedModel, adapter: AdapterFolder) -> torch.Tensor:
    """Token ids (B x L): random ones, and the tokens that the adapter trains individually."""
    vocabulary = model.get_input_embeddings().weight.shape[0]
    drawn_BL = torch.randint(vocabulary, (2, PROBE_LENGTH), generator=torch.Generator().manual_seed(0))
    special = adapter.settings.get("token_indices") or adapter.settings.get("trainable_token_indices") or []
    lists = special.values() if isinstance(special, dict) else [special]
    own = [token for tokens in lists for token in tokens][:PROBE_LENGTH]
    drawn_BL[0, : len(own)] = torch.tensor(own, dtype=torch.long)
    return drawn_BL
