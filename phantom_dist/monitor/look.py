"""One look: all watched contexts in one forward pass, and the instruments on its logits.

Prompts are padded on the right and read at their own last position, whatever token and side the tokenizer pads with:
under a causal mask no position sees the padding. The first look at a model tests this against batches of equal length,
which need no padding. Where padding changes the logits (rotary frequencies that depend on the longest prompt, attention
in both directions), each look runs one pass per prompt length.
"""

from __future__ import annotations

import weakref
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from phantom_dist.core.tokens import Tokens
from phantom_dist.instruments import drag, order_parameter, readout, signal
from phantom_dist.instruments.word_prompts import WordPrompts, word_gap, word_loss
from phantom_dist.models.forward_state import memoryless
from phantom_dist.models.last_logits import keeps_logits
from phantom_dist.monitor.peft_method import text_positions
from phantom_dist.monitor.readout_geometry import ReadoutGeometry

ENTRIES = 1 << 26
"""Logits that one pass may return (256 MiB of float32); a longer watch list takes several passes."""

TF32 = 2.0**-10
"""Relative rounding of TF32, in which torch multiplies float32 matrices where the user allows it."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Reading:
    """The measured values of one context at one look; names, units and ranges as in `core.quantities`."""

    loss: float
    logit_gap: float
    p_target: float
    p_competitor: float
    rank_target: int
    overlap: float
    order_parameter: float
    signal: float
    drag: float


def read(
    model: Any, pairs: Sequence[Tokens], geometry: ReadoutGeometry, logits_PV: Tensor | None = None
) -> list[Reading]:
    """The readings of all pairs, in order; the model must be in evaluation mode, without gradients.

    Pass `logits_PV`, after each of `WordPrompts(pairs).prompts`, where the forward pass was already made.
    """
    words = WordPrompts(pairs)
    if logits_PV is None:
        logits_PV = logits_of(text_positions(model), words.prompts)
    logits_kV, rests_k3 = words.split(logits_PV)
    overlap_k, lever_kV = geometry.now()
    t_k = torch.tensor([pair.target for pair in pairs], device=logits_kV.device)
    c_k = torch.tensor([pair.competitor for pair in pairs], device=logits_kV.device)
    p_kV = readout.probabilities(logits_kV)
    p_t_k, p_c_k = readout.at(p_kV, t_k), readout.at(p_kV, c_k)
    columns: dict[str, Tensor] = {
        "loss": word_loss(readout.cross_entropy(logits_kV, t_k), rests_k3),
        "logit_gap": word_gap(readout.logit_gap(logits_kV, t_k, c_k), rests_k3),
        "p_target": p_t_k,
        "p_competitor": p_c_k,
        "rank_target": readout.rank(logits_kV, t_k),
        "overlap": overlap_k,
        "order_parameter": order_parameter.order_parameter(p_kV, lever_kV),
        "signal": signal.signal(p_t_k, p_c_k, overlap_k),
        "drag": drag.drag(p_kV, lever_kV, t_k, c_k),
    }
    values = {name: column.tolist() for name, column in columns.items()}
    return [Reading(**{name: column[k] for name, column in values.items()}) for k in range(len(pairs))]


_may_be_padded: weakref.WeakKeyDictionary[Any, dict[frozenset[int], bool]] = weakref.WeakKeyDictionary()
"""By model: whether prompts of these lengths may be padded to the longest without a change of their logits."""


def logits_of(model: Any, prompts: Sequence[tuple[int, ...]]) -> Tensor:
    """Logits after each whole prompt; shape (k, V), float32, differentiable where gradients are on.

    Each row equals the model's logits for that prompt alone, independent of earlier inputs.
    """
    lengths = frozenset(map(len, prompts))
    if len(lengths) == 1:
        return _padded(model, prompts)[0]
    known = _may_be_padded.setdefault(next(iter(model.modules())), {})
    if known.get(lengths, False):
        return _padded(model, prompts)[0]
    logits_kV, changes = _by_length(model, prompts)
    if lengths not in known:
        with torch.no_grad():
            padded_kV, changes_padded = _padded(model, prompts)
        changes.add(changes_padded)
        known[lengths] = len(changes) == 1 and _near(model, padded_kV, logits_kV.detach())
    return logits_kV


def _by_length(model: Any, prompts: Sequence[tuple[int, ...]]) -> tuple[Tensor, set[str]]:
    """Logits (k, V) from passes without padding, and the state changes of the model (`ForwardState.changes`)."""
    rows: dict[int, Tensor] = {}
    changes = set()
    for length in sorted(set(map(len, prompts))):
        places = [place for place, prompt in enumerate(prompts) if len(prompt) == length]
        logits_mV, state = _padded(model, [prompts[place] for place in places])
        changes.add(state)
        rows |= dict(zip(places, logits_mV, strict=True))
    return torch.stack([rows[place] for place in range(len(prompts))]), changes


def _padded(model: Any, prompts: Sequence[tuple[int, ...]]) -> tuple[Tensor, str]:
    """Logits (k, V) from prompts padded to the longest, and the state changes of the model."""
    vocabulary, longest = model.config.get_text_config().vocab_size, max(map(len, prompts))
    size = max(1, ENTRIES // (vocabulary * longest))
    parts = [prompts[start : start + size] for start in range(0, len(prompts), size)]
    with memoryless(model) as state:
        return torch.cat([_one_pass(model, part) for part in parts]), state.changes()


def _near(model: Any, a_kV: Tensor, b_kV: Tensor) -> bool:
    """Whether two passes differ by rounding alone: 1e-4 of the largest logit in float32, 16 ulp in coarser formats."""
    parameter = next(model.parameters())
    dtypes = [parameter.dtype]
    if torch.is_autocast_enabled(parameter.device.type):
        dtypes.append(torch.get_autocast_dtype(parameter.device.type))
    coarsest = max(torch.finfo(dtype).eps for dtype in dtypes)
    if torch.get_float32_matmul_precision() != "highest":
        coarsest = max(coarsest, TF32)
    tolerance = 1e-4 if coarsest < 1e-6 else 16 * coarsest
    return bool((a_kV - b_kV).abs().max() <= tolerance * b_kV.abs().max())


def _one_pass(model: Any, prompts: Sequence[tuple[int, ...]]) -> Tensor:
    device = next(model.parameters()).device
    ids_kL = torch.zeros(len(prompts), max(map(len, prompts)), dtype=torch.int64)
    mask_kL = torch.zeros_like(ids_kL)
    for row, prompt in enumerate(prompts):
        ids_kL[row, : len(prompt)] = torch.tensor(prompt)
        mask_kL[row, : len(prompt)] = 1
    ends = [len(prompt) - 1 for prompt in prompts]
    kept = sorted(set(ends))
    keep = {"logits_to_keep": torch.tensor(kept, device=device)} if keeps_logits(model) else {}
    inputs = {"input_ids": ids_kL.to(device), "attention_mask": mask_kL.to(device)}
    logits_kLV: Tensor = model(**inputs, use_cache=False, **keep).logits
    columns = [kept.index(end) for end in ends] if keep else ends
    return logits_kLV[range(len(prompts)), columns].float()
