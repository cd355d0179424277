"""Load a model ready for training from a reference, in the same way for every model adapter."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import nn
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from phantom_dist.core.errors import InputError
from phantom_dist.core.trial import ModelIdentity, WeightsPrecision
from phantom_dist.models.adapter import ModelFolder, Permissions
from phantom_dist.models.cache import fingerprint, is_in_cache
from phantom_dist.models.identity import model_files, weights_digest
from phantom_dist.models.quiet import quiet
from phantom_dist.models.registry import resolve
from phantom_dist.models.size import ModelSize
from phantom_dist.models.tokenizer import load_tokenizer
from phantom_dist.models.weights import read_model


@dataclass(frozen=True, kw_only=True, slots=True)
class LoadedModel:
    """A model in evaluation mode with its tokenizer; every parameter requires a gradient."""

    model: PreTrainedModel
    tokenizer: PreTrainedTokenizerBase
    folder: ModelFolder
    identity: ModelIdentity

    @property
    def size(self) -> ModelSize:
        """The dimensions from which time and memory are predicted."""
        readout_Vd = self.model.get_output_embeddings().weight
        return ModelSize(
            parameters=self.identity.parameters,
            width=readout_Vd.shape[1],
            layers=self.model.config.get_text_config().num_hidden_layers,
            vocabulary_size=readout_Vd.shape[0],
            tied=readout_Vd is self.model.get_input_embeddings().weight,
        )


def load(
    reference: str,
    *,
    precision: WeightsPrecision = "float32",
    device: str | torch.device = "cpu",
    allow_pickle: bool = False,
    trust_remote_code: bool = False,
) -> LoadedModel:
    """Load a model: read its weights as float32, cast the parameters to `precision`, move it to `device`.

    The model is in evaluation mode (no dropout), with eager attention and without key-value cache. Buffers such as
    rotary frequencies stay float32.

    Raises:
        InputError: the model doesn't exist or can't be used; the message says which and why.
    """
    folder = resolve(reference, allow_pickle=allow_pickle, trust_remote_code=trust_remote_code)
    permissions = Permissions(pickle=allow_pickle, remote_code=trust_remote_code)
    files = model_files(folder.path, remote_code=trust_remote_code)
    before = fingerprint(files)
    digest = weights_digest(folder.path, remote_code=trust_remote_code)
    with quiet():
        model = read_model(folder, files, permissions)
        tokenizer = load_tokenizer(folder, permissions)
    _cast(model, getattr(torch, precision), device, copy=not is_in_cache(folder.path))
    if fingerprint(files) != before:
        raise InputError(
            f"model {reference!r} ({folder.path}): its files changed while it was loaded; load it again"
        )
    model = model.to(device).eval().requires_grad_(True)
    model.config.use_cache = False
    identity = ModelIdentity(
        weights=digest,
        architecture=type(model).__name__,
        parameters=sum(_whole_size(p) for p in model.parameters()),
    )
    return LoadedModel(model=model, tokenizer=tokenizer, folder=folder, identity=identity)


def _cast(model: PreTrainedModel, dtype: torch.dtype, device: str | torch.device, *, copy: bool) -> None:
    """Cast the parameters alone, because Module.to would also round the rotary frequencies. Tied ones stay tied.

    A float32 tensor from a float32 file is a memory map of it. Workers on one machine share these pages where the file
    is in our cache, which never changes. A user's folder may be overwritten by a training run while the model is
    loaded, hence `copy`.
    """
    for parameter in model.parameters():
        parameter.data = parameter.data.to(device, dtype, copy=copy)
    if copy:
        for buffer in model.buffers():
            buffer.data = buffer.data.clone()


def _whole_size(parameter: nn.Parameter) -> int:
    """Number of entries of a parameter; under DeepSpeed ZeRO a partitioned parameter is empty itself."""
    return int(getattr(parameter, "ds_numel", parameter.numel()))
