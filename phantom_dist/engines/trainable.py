"""Full fine-tuning or LoRA: which parameters train, and how the untouched model is restored."""

from __future__ import annotations

import weakref
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import peft
import torch
from peft.tuners.tuners_utils import BaseTunerLayer
from peft.utils.constants import TRANSFORMERS_MODELS_TO_LORA_TARGET_MODULES_MAPPING
from torch import Tensor, nn
from transformers.pytorch_utils import Conv1D

from phantom_dist.core.errors import InputError, did_you_mean
from phantom_dist.core.trial import Lora, Problem
from phantom_dist.engines.adapter_dropout import AdapterDropout
from phantom_dist.models.forward_state import memoryless
from phantom_dist.models.load import LoadedModel
from phantom_dist.models.quiet import quiet

ADAPTABLE = (nn.Linear, Conv1D)

Adapters = dict[str, tuple[Tensor, Tensor]]
"""A (r x i) and B (o x r) of every adapted module, by the module's name."""

_untouched: weakref.WeakKeyDictionary[nn.Module, Tensor] = weakref.WeakKeyDictionary()
"""A copy of each model's parameters, flattened and concatenated, made before its first full fine-tuning and kept as
long as the model lives."""

_drawn: weakref.WeakKeyDictionary[nn.Module, dict[tuple[Lora, int], Adapters]] = weakref.WeakKeyDictionary()
"""Initial adapters by settings and seed: a search needs the same ones in every round."""


AdapterLayers = dict[str, tuple[Any, list[tuple[nn.Parameter, Tensor]]]]
"""peft's layer for each adapted module, by its name, without the module itself; and its parameters' first values."""

_layers: weakref.WeakKeyDictionary[nn.Module, tuple[tuple[Lora, int], AdapterLayers]] = (
    weakref.WeakKeyDictionary()
)


@dataclass(frozen=True, kw_only=True)
class Trainable:
    """A model ready for training: the callable, its trained parameters and its readout matrix (V x d).

    `dropout`: that of its adapters, if they have any; off unless a step is drawn. `untouched_N`: under full fine-tuning
    the parameters before training, flattened and concatenated; not to be changed.
    """

    # `initial_readout_Vd` is E_0; with a frozen readout it is the same tensor as `readout_Vd`.

    model: Any
    parameters: tuple[nn.Parameter, ...]
    readout_Vd: Tensor
    initial_readout_Vd: Tensor
    readout_frozen: bool
    dropout: AdapterDropout | None = None
    untouched_N: Tensor | None = None


@contextmanager
def trainable(loaded: LoadedModel, problem: Problem) -> Iterator[Trainable]:
    """The model as the problem's method trains it; restores the untouched model on exit, bit for bit.

    No state of earlier forward passes is left in the model on entry, and none of its own on exit.
    Full fine-tuning trains every parameter. LoRA trains only its adapters, drawn from the problem's seed.

    Raises:
        InputError: a LoRA target that the model doesn't have, or that is its embedding or readout.
    """
    method = _full(loaded) if problem.lora is None else _lora(loaded, problem.lora, problem.seed)
    with memoryless(loaded.model), method as ready:
        yield ready


@contextmanager
def _full(loaded: LoadedModel) -> Iterator[Trainable]:
    model = loaded.model
    readout_Vd = readout_matrix(model)
    parameters = tuple(model.parameters())
    if model not in _untouched:
        _untouched[model] = torch.cat([parameter.detach().reshape(-1) for parameter in parameters])
    parts = _untouched[model].split([parameter.numel() for parameter in parameters])
    untouched = [part.view_as(parameter) for part, parameter in zip(parts, parameters, strict=True)]
    readout = next(place for place, parameter in enumerate(parameters) if parameter is readout_Vd)
    try:
        yield Trainable(
            model=model,
            parameters=parameters,
            readout_Vd=readout_Vd,
            initial_readout_Vd=untouched[readout],
            readout_frozen=False,
            untouched_N=_untouched[model],
        )
    finally:
        with torch.no_grad():
            for parameter, initial in zip(parameters, untouched, strict=True):
                parameter.grad = None
                parameter.copy_(initial)


@contextmanager
def _lora(loaded: LoadedModel, lora: Lora, seed: int) -> Iterator[Trainable]:
    base = loaded.model
    layers = _adapter_layers(base, lora, seed)
    readout_Vd = readout_matrix(base)
    dropout = AdapterDropout() if lora.dropout else None
    base.requires_grad_(False)
    try:
        for name, (layer, initial) in layers.items():
            parent, attribute = _parent(base, name)
            layer.base_layer = getattr(parent, attribute)
            setattr(parent, attribute, layer)
            with torch.no_grad():
                for parameter, value in initial:
                    parameter.copy_(value)
                    parameter.grad = None
        if dropout is not None:
            dropout.insert(base, lora.dropout, seed)
        yield Trainable(
            dropout=dropout,
            model=base,
            parameters=tuple(p for p in base.parameters() if p.requires_grad),
            readout_Vd=readout_Vd,
            initial_readout_Vd=readout_Vd,
            readout_frozen=True,
        )
    finally:
        for name, (layer, _) in layers.items():
            parent, attribute = _parent(base, name)
            if getattr(parent, attribute) is layer:
                setattr(parent, attribute, layer.base_layer)
                layer.base_layer = None
        base.requires_grad_(True)


def _parent(model: nn.Module, name: str) -> tuple[nn.Module, str]:
    """The module that holds the module of this name, and the attribute."""
    parent, _, attribute = name.rpartition(".")
    return model.get_submodule(parent), attribute


def _adapter_layers(base: Any, lora: Lora, seed: int) -> AdapterLayers:
    """peft's layers for these adapters, built once for a model's latest settings: that takes longer than a probe."""
    kept = _layers.get(base)
    if kept is None or kept[0] != (lora, seed):
        adapted = with_adapters(base, lora, seed)
        named = {name: module for name, module in base.named_modules() if isinstance(module, BaseTunerLayer)}
        layers = {}
        adapted.unload()
        for name, layer in named.items():
            layer.base_layer = None  # else the layers would keep the model alive
            layers[name] = layer, [(p, p.detach().clone()) for p in layer.parameters() if p.requires_grad]
        kept = _layers[base] = (lora, seed), layers
    return kept[1]


def with_adapters(base: Any, lora: Lora, seed: int) -> Any:
    """The model with adapters in place, drawn from the seed; only they require a gradient.

    Raises:
        InputError: as `lora_targets`; or peft rejects the targets, because the architecture bypasses them.
    """
    config = peft.LoraConfig(
        r=lora.rank,
        lora_alpha=lora.alpha,
        target_modules=list(lora_targets(base, lora)),
        lora_dropout=0.0,
        use_rslora=lora.rslora,
        fan_in_fan_out=any(isinstance(m, Conv1D) for m in base.modules()),
        task_type="CAUSAL_LM",
    )
    torch.manual_seed(seed)
    try:
        with quiet():
            adapted = peft.get_peft_model(base, config, autocast_adapter_dtype=False)
    except ValueError as error:
        raise InputError(f"{type(base).__name__} takes no adapters there: {error}") from None
    return adapted.eval()


def adapters(loaded: LoadedModel, lora: Lora, seed: int) -> Adapters:
    """The untrained adapters that `trainable` draws from a seed; don't change them in place."""
    drawn = _drawn.setdefault(loaded.model, {})
    if (lora, seed) not in drawn:
        with _lora(loaded, lora, seed) as ready:
            named = {n: p.detach() for n, p in ready.model.named_parameters() if p.requires_grad}
        suffix = ".lora_A.default.weight"
        drawn[lora, seed] = {
            name.removesuffix(suffix): (a.clone(), named[name.replace("lora_A", "lora_B")].clone())
            for name, a in named.items()
            if name.endswith(suffix)
        }
    return drawn[lora, seed]


def readout_matrix(model: Any) -> nn.Parameter:
    """E, the output embedding (V x d); often the input embedding as well.

    Raises:
        InputError: the model has none.
    """
    weight = getattr(model.get_output_embeddings(), "weight", None)
    if not isinstance(weight, nn.Parameter):
        raise InputError(
            f"{type(model).__name__} has no output embedding: its logits must come from one matrix, which "
            f"`get_output_embeddings()` returns"
        )
    return weight


def vocabulary_rows(model: Any) -> int:
    """Number of tokens that the model can both read and predict: rows of its embedding or readout, the fewer."""
    matrices = (model.get_input_embeddings().weight, readout_matrix(model))
    return min(int(getattr(matrix, "ds_shape", matrix.shape)[0]) for matrix in matrices)


def lora_targets(model: Any, lora: Lora) -> tuple[str, ...]:
    """The names of the linear modules that get adapters, sorted; places are resolved for this architecture.

    `attention` means every linear module (nn.Linear or transformers' Conv1D) inside a module whose name contains
    "attn" or "attention". The name is the last part of the module's path; where a module outside an attention has the
    same, the last two parts (GPT-2's `attn.c_proj` beside `mlp.c_proj`). `mlp` means every other one
    inside a numbered layer, `all-linear` every linear module but the readout, as in peft. `peft` means those that peft
    trains where a configuration names none.

    Raises:
        InputError: the model has no such module, or it is the embedding or the readout.
    """
    readout = model.get_output_embeddings()
    adaptable = {n: m for n, m in model.named_modules() if isinstance(m, ADAPTABLE)}
    linear = [name for name, module in adaptable.items() if module is not readout]
    if lora.targets == "peft":
        kind = getattr(model.config, "model_type", "")
        defaults = TRANSFORMERS_MODELS_TO_LORA_TARGET_MODULES_MAPPING.get(kind)
        if defaults is None:
            raise InputError(
                f"LoRA targets `peft`: peft has no default for the architecture {kind!r}. Name the targets."
            )
        return lora_targets(model, lora.model_copy(update={"targets": tuple(sorted(defaults))}))
    if isinstance(lora.targets, str):
        belongs = PLACES[lora.targets]
        chosen = {name for name in linear if belongs(name)}
        outside = {_path_end(name, 1) for name in adaptable.keys() - chosen}
        if chosen:
            return tuple(sorted({_path_end(n, 2 if _path_end(n, 1) in outside else 1) for n in chosen}))
        raise InputError(
            f"LoRA targets `{lora.targets}`: {type(model).__name__} has no linear module there. "
            f"Name the targets. Allowed: {', '.join(sorted({_path_end(n, 1) for n in linear}))}."
        )
    for target in lora.targets:
        if not any(name == target or name.endswith(f".{target}") for name in linear):
            raise InputError(
                f"LoRA target {target!r} is no linear module of {type(model).__name__} (its embedding and readout "
                f"stay frozen and take no adapter).{did_you_mean(target, {_path_end(n, 1) for n in linear})}"
            )
    return tuple(sorted(lora.targets))


def _path_end(module_name: str, count: int) -> str:
    return ".".join(module_name.split(".")[-count:])


def _in_attention(module_name: str) -> bool:
    parents = module_name.split(".")[:-1]
    return any("attn" in part or "attention" in part for part in parents)


def _in_layer(module_name: str) -> bool:
    return any(part.isdigit() for part in module_name.split("."))


PLACES: dict[str, Callable[[str], bool]] = {
    "attention": _in_attention,
    "mlp": lambda name: _in_layer(name) and not _in_attention(name),
    "all-linear": lambda name: True,
}
"""Whether a linear module other than the readout, by its name, belongs to one of LoRA's `targets`."""
