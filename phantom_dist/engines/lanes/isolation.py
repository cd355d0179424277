"""Checks that a lane equals its trial's solo run: which prompts may share a batch, and whether lanes mix.

The verdicts depend on the model and the batch only, so the same plan gives the same batches on any worker.

1. `length_groups`: does a forward pass leave state in the model that depends on the prompt's length (rotary frequencies
   of `dynamic` and `longrope`)? Prompts that leave the same state may share a batch.
2. `check`: do two lanes stay separate? The loss of one must have a gradient of exactly 0 in the other.
3. `difference_from_probe`: does each lane measure the same on the untouched model as the probe did on its prompt alone?
   Checked for every lane at step 0, where it costs nothing. If not, the engine tries prompts of equal length, then the
   reference engine.
"""

from __future__ import annotations

import weakref
from collections.abc import Iterable, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from phantom_dist.core.errors import OutOfMemory
from phantom_dist.core.measurement import Measurement
from phantom_dist.core.probe_result import PairReading
from phantom_dist.core.trial import Problem
from phantom_dist.engines.lanes.choice import lanes_for, require_support
from phantom_dist.engines.lanes.fuse import fused, lane_logits, padded
from phantom_dist.engines.lanes.kind import NotFusable, Shape
from phantom_dist.engines.lanes.support import LaneKind
from phantom_dist.engines.memory import out_of_memory_named
from phantom_dist.models.forward_state import memoryless
from phantom_dist.models.last_logits import last_logits
from phantom_dist.models.load import LoadedModel

TOKENS = 8
"""The most tokens in the prompts that `check` tries."""

_state_digests: weakref.WeakKeyDictionary[nn.Module, dict[int, str]] = weakref.WeakKeyDictionary()
"""By model and prompt length: a digest of the state that a forward pass leaves in the model."""

_verdicts: weakref.WeakKeyDictionary[nn.Module, dict[object, str | None]] = weakref.WeakKeyDictionary()
"""By model, and by kind, LoRA settings and number of lanes: why `check` failed, or None where it passed."""


_packs: weakref.WeakKeyDictionary[nn.Module, bool] = weakref.WeakKeyDictionary()
"""By model: what `may_pack` found."""


class DiffersFromProbe(NotFusable):
    """On the untouched model, a lane measures another gap or loss than the probe did on its prompt alone."""


def length_groups(loaded: LoadedModel, prompts: Iterable[tuple[int, ...]]) -> dict[int, object]:
    """A group for each length of these prompts; prompts of one group may share a batch."""
    by_length = {len(prompt): prompt for prompt in prompts}
    if len(by_length) == 1:
        return dict.fromkeys(by_length, "")
    known = _state_digests.setdefault(loaded.model, {})
    for length, prompt in by_length.items():
        if length not in known:
            known[length] = _solo_pass(loaded.model, prompt)[1]
    return {length: known[length] for length in by_length}


def check(loaded: LoadedModel, problem: Problem, kind: LaneKind, lanes: int = 2) -> None:
    """Try lanes of a kind: they must compute the model's logits, and must not mix. Once for each model.

    Raises:
        NotFusable: they fail, can't be built, or don't support the optimizer or the precision.
    """
    require_support(problem)
    key = (kind, problem.lora, lanes)
    known = _verdicts.setdefault(loaded.model, {})
    if key not in known:
        known[key] = _reason_against(loaded, problem, kind, lanes)
    reason = known[key]
    if reason is not None:
        raise NotFusable(reason)


def may_pack(model: nn.Module) -> bool:
    """Whether sequences may stand one after another in a row, apart by their positions alone. Once for each model.

    They must have the logits that each has alone: not so where positions are no input (ALiBi), or where attention looks
    back at everything before.
    """
    if model not in _packs:
        try:
            _packs[model] = _packs_as_alone(model)
        except Exception:  # the model's own code, which may take no positions
            _packs[model] = False
    return _packs[model]


@torch.no_grad()
def _packs_as_alone(model: nn.Module) -> bool:
    first, second = _prompts(model, 2)
    prompts = [first, second[: max(1, len(second) - 3)], first[:2]]
    expected_KV = torch.cat([_all_logits(model, [prompt]) for prompt in prompts])
    packed_KV = _all_logits(model, prompts)
    off = (packed_KV - expected_KV).abs().max() / expected_KV.abs().max()
    return bool(off <= relative_tolerance(packed_KV))


def _all_logits(model: Any, prompts: Sequence[tuple[int, ...]]) -> Tensor:
    """Logits (K, V) at every token of prompts in one row."""
    ids = torch.tensor([[token for prompt in prompts for token in prompt]], device=model.device)
    places = torch.tensor(
        [[place for prompt in prompts for place in range(len(prompt))]], device=model.device
    )
    with memoryless(model):
        logits_1KV: Tensor = model(input_ids=ids, position_ids=places, use_cache=False).logits
    return logits_1KV[0].float()


def _reason_against(loaded: LoadedModel, problem: Problem, kind: LaneKind, lanes: int) -> str | None:
    try:
        with out_of_memory_named():
            return _test_lanes(loaded, problem, kind, lanes)
    except OutOfMemory:
        raise
    except NotFusable as reason:
        return str(reason)
    except AttributeError as error:
        name = f"a module's `{error.name}`" if error.name else "a module"
        return f"{type(loaded.model).__name__} reads {name} outside its forward pass, and a lane's module has none"
    except Exception as error:  # the model's own code may fail in any way on replaced modules
        line = str(error).strip().split("\n")[0]
        return f"{type(loaded.model).__name__} can't be computed lane by lane: {type(error).__name__}: {line}"


def _test_lanes(loaded: LoadedModel, problem: Problem, kind: LaneKind, count: int) -> str | None:
    model = loaded.model
    prompts = _prompts(model, count)
    expected_LV = torch.stack([_solo_pass(model, prompt)[0] for prompt in prompts])
    shape = Shape(first=count, lanes=count, steps=1, tokens=len(prompts[0]))
    lanes = lanes_for(loaded, [problem] * count, shape, kind)
    ids_LK, last_L = padded(prompts, model.device)
    with fused(model, lanes) as readout:
        lanes.begin_step(0, learns=True)
        logits_LV = lane_logits(model, readout, ids_LK, last_L)
        off = (logits_LV.detach() - expected_LV).abs().max() / expected_LV.abs().max()
        if not off <= relative_tolerance(logits_LV):
            return f"lanes of {type(model).__name__} don't compute the model's own logits (off by {float(off):.1g})"
        nn.functional.cross_entropy(logits_LV[:1].float(), logits_LV[:1].argmin(dim=1)).backward()
        own, *others = lanes.squared_gradient_norms().tolist()
    if not own > 0:
        return f"lanes of {type(model).__name__} get no gradient"
    if any(other != 0 for other in others):
        return (
            f"{type(model).__name__} mixes the rows of a batch: a lane's loss has a gradient in another lane"
        )
    return None


@torch.no_grad()
def _solo_pass(model: nn.Module, prompt: tuple[int, ...]) -> tuple[Tensor, str]:
    """The logits (V,), and a digest of the state that the forward pass left in the model."""
    with out_of_memory_named(), memoryless(model) as state:
        return last_logits(model, prompt), state.changes()


def _prompts(model: nn.Module, count: int) -> list[tuple[int, ...]]:
    """Random tokens, always the same ones; from the middle of the vocabulary, as special tokens are at its ends."""
    config = model.config.get_text_config()  # type: ignore[union-attr,operator]
    length = min(TOKENS, getattr(config, "max_position_embeddings", None) or TOKENS)
    generator = torch.Generator().manual_seed(0)
    quarter = config.vocab_size // 4
    ids = torch.randint(quarter, 3 * quarter + 1, (count, length), generator=generator)
    return [tuple(row) for row in ids.tolist()]


def difference_from_probe(
    probed: Sequence[PairReading], measured: Sequence[Measurement], logits_LV: Tensor
) -> str | None:
    """The first gap or loss that differs between lanes and probes, as a sentence; None if all agree.

    Args:
        probed: each lane's pair as the probe measured it on the prompt alone.
        measured: the lanes' measurements of the untouched model.
        logits_LV: the lanes' logits; their precision sets the tolerance.
    """
    coarse = logits_LV.dtype.itemsize < 4
    relative = relative_tolerance(logits_LV)
    for pair, measurement in zip(probed, measured, strict=True):
        for name, own, expected in (
            ("gap", measurement.logit_gap, pair.gap_0),
            ("loss", measurement.loss, pair.loss_0),
        ):
            tolerance = relative * max(1.0 if coarse else 10.0, abs(expected))
            if not abs(own - expected) <= tolerance:
                return (
                    f"in a batch (padded, or beside other prompts) a prompt of {len(pair.tokens.prompt)} tokens "
                    f"has another {name} than alone ({own:.6g} instead of {expected:.6g})"
                )
    return None


def relative_tolerance(logits: Tensor) -> float:
    """The relative tolerance of logits: the conformance suite's 1e-4, or 16 ulp in bfloat16."""
    return 1e-4 if logits.dtype.itemsize >= 4 else 16 * torch.finfo(logits.dtype).eps
