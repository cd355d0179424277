"""An adapter is merged into its base by peft, and the result held against the two of them unmerged."""

from __future__ import annotations

import torch
from peft import PeftModel, get_peft_model_state_dict
from peft.utils.save_and_load import load_peft_weights
from transformers import PreTrainedModel

from phantom_dist.models.adapter_folder import AdapterFolder
from phantom_dist.models.folder import first_line
from phantom_dist.models.staging import staged

TOLERANCE = 1e-4
"""How far merged and unmerged logits may lie apart, as a share of the largest: W + BA in one product or in two differs
by rounding, some 1e-6 in float32; a merge that leaves something out differs by what it leaves out."""
PROBE_LENGTH = 24


def merge(model: PreTrainedModel, adapter: AdapterFolder) -> PreTrainedModel:
    """The base, in evaluation mode and float32, with the adapter merged into its weights.

    Raises:
        InputError: peft can't merge it, the file doesn't fill the adapter, or the merged model computes something else.
    """
    with torch.no_grad(), torch.random.fork_rng(devices=[]), staged(adapter.files) as alone:
        torch.manual_seed(0)  # some methods draw what they don't store
        stored = load_peft_weights(str(alone), device="cpu")
        _check_rows(model, stored, adapter)
        try:
            both = PeftModel.from_pretrained(model, str(alone), torch_device="cpu").eval()
            unread = _unread(both, stored)
            tokens_BL = _probe(model, adapter)
            apart_BLV = both(input_ids=tokens_BL).logits
            merged: PreTrainedModel = both.merge_and_unload(safe_merge=True)
            merged_BLV = merged(input_ids=tokens_BL).logits
        except Exception as error:  # whatever peft's many methods raise where they don't fit or don't merge
            raise adapter.refused(f"peft says: {_reason(error)}") from None
    if unread:
        raise adapter.refused(f"its file and its configuration don't agree on {', '.join(unread[:3])}")
    apart = float((merged_BLV - apart_BLV).abs().max() / apart_BLV.abs().max())
    if not apart <= TOLERANCE:  # NaN too
        raise adapter.refused(
            f"merged into the weights it computes something else than beside them (logits differ by {apart:.1e} of the "
            "largest), as where it adapts one of two tied matrices"
        )
    return merged


def is_tied(model: PreTrainedModel) -> bool:
    """True if readout and embedding are one matrix."""
    return model.get_output_embeddings().weight is model.get_input_embeddings().weight


def _check_rows(model: PreTrainedModel, stored: dict[str, torch.Tensor], adapter: AdapterFolder) -> None:
    """A vocabulary that grew in training is saved with the adapter, and doesn't fit the base as it is."""
    tables = (model.get_input_embeddings(), model.get_output_embeddings())
    names = {name for name, module in model.named_modules() if module in tables}
    rows = tables[0].weight.shape[0]
    for key, value in stored.items():
        module = key.removeprefix("base_model.model.").removesuffix(".weight").removesuffix(".base_layer")
        if module in names and value.shape[0] != rows:
            raise adapter.refused(
                f"its {module} has {value.shape[0]} rows and the base's has {rows}, for tokens were added in training; "
                "merge it where it was made, with merge_and_unload, and use the merged folder"
            )


def _reason(error: Exception) -> str:
    """torch puts what doesn't fit on the lines below a heading."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return lines[1] if len(lines) > 1 and lines[0].endswith(":") else first_line(error)


def _unread(both: PeftModel, stored: dict[str, torch.Tensor]) -> list[str]:
    """Names that the file has and the model doesn't, or the other way round, or with another value."""
    needed = get_peft_model_state_dict(both, save_embedding_layers=False)
    taken = get_peft_model_state_dict(both, save_embedding_layers=True) | needed
    missing = needed.keys() - stored.keys()
    strange = {k for k, v in stored.items() if k not in taken or not torch.equal(taken[k].float(), v.float())}
    return sorted(missing | strange)


def _probe(model: PreTrainedModel, adapter: AdapterFolder) -> torch.Tensor:
    """Token ids (B x L): drawn ones, and those that the adapter trains by themselves."""
    vocabulary = model.get_input_embeddings().weight.shape[0]
    drawn_BL = torch.randint(vocabulary, (2, PROBE_LENGTH), generator=torch.Generator().manual_seed(0))
    special = adapter.settings.get("token_indices") or adapter.settings.get("trainable_token_indices") or []
    lists = special.values() if isinstance(special, dict) else [special]
    own = [token for tokens in lists for token in tokens][:PROBE_LENGTH]
    drawn_BL[0, : len(own)] = torch.tensor(own, dtype=torch.long)
    return drawn_BL
