"""Whether a lane is what its trial is alone: what lanes may share a batch, and what is tried before they are trained.

Three questions, each answered for the model and not for a trial, so that the same plan gives the same batches anywhere:

1. Does a forward pass leave something in the model that depends on the length of what it read (rotary frequencies of
   `dynamic` and `longrope`)? Prompts that leave the same may share a batch; `lengths_apart`.
2. Do two lanes keep apart? The loss of one must leave a gradient of exactly 0 in the other; `check`.
3. Is the untouched model's reading the one that the probe took of each prompt alone? Asked of every lane at step 0, as
   it costs nothing; `unlike`. Where the answer is no, prompts of equal length are tried, then the reference engine.
"""

from __future__ import annotations

import weakref
from collections.abc import Iterable, Sequence

import torch
from torch import Tensor, nn

from phantom_dist.core.errors import OutOfMemory
from phantom_dist.core.measurement import Measurement
from phantom_dist.core.probe_result import PairReading
from phantom_dist.core.trial import Problem
from phantom_dist.engines.lanes.choice import kind_of, lanes_for, require_steps
from phantom_dist.engines.lanes.fuse import fused, lane_logits, padded
from phantom_dist.engines.lanes.kind import NotFusable, Shape
from phantom_dist.engines.memory import out_of_memory_named
from phantom_dist.models import LoadedModel
from phantom_dist.models.forward_state import memoryless
from phantom_dist.models.last_logits import last_logits

TOKENS = 8
"""Length of the prompts that `check` tries lanes with, at most."""

_left: weakref.WeakKeyDictionary[nn.Module, dict[int, str]] = weakref.WeakKeyDictionary()
"""What a forward pass over so many tokens leaves in a model, as a digest."""

_verdicts: weakref.WeakKeyDictionary[nn.Module, dict[object, str | None]] = weakref.WeakKeyDictionary()
"""Why a model can't be trained as lanes of some sort; None where it can."""


class Unlike(NotFusable):
    """Lanes don't read what the model reads alone."""


def lengths_apart(loaded: LoadedModel, prompts: Iterable[tuple[int, ...]]) -> dict[int, object]:
    """For each length of these prompts what sort it is of: those of one sort may share a batch."""
    longest = {len(prompt): prompt for prompt in prompts}
    if len(longest) == 1:
        return dict.fromkeys(longest, "")
    known = _left.setdefault(loaded.model, {})
    for length, prompt in longest.items():
        if length not in known:
            known[length] = _alone(loaded.model, prompt)[1]
    return {length: known[length] for length in longest}


def check(loaded: LoadedModel, problem: Problem, lanes: int = 2) -> None:
    """Try lanes of the problem's kind: that they compute what the model does, and don't mix. Tried once for a model.

    Raises:
        NotFusable: they don't, or can't be made, or don't know the optimizer.
    """
    require_steps(problem.optimizer)
    sort = (kind_of(problem), problem.lora, lanes)
    known = _verdicts.setdefault(loaded.model, {})
    if sort not in known:
        known[sort] = _why_not(loaded, problem, lanes)
    reason = known[sort]
    if reason is not None:
        raise NotFusable(reason)


def _why_not(loaded: LoadedModel, problem: Problem, lanes: int) -> str | None:
    try:
        with out_of_memory_named():
            return _tried(loaded, problem, lanes)
    except OutOfMemory:
        raise
    except NotFusable as reason:
        return str(reason)
    except AttributeError as error:
        name = f"a module's `{error.name}`" if error.name else "a module"
        return f"{type(loaded.model).__name__} reads {name} past its forward pass, where lanes have none of their own"
    except Exception as error:  # whatever the model's own code makes of modules that are not its own
        line = str(error).strip().split("\n")[0]
        return f"{type(loaded.model).__name__} can't be computed lane by lane: {type(error).__name__}: {line}"


def _tried(loaded: LoadedModel, problem: Problem, count: int) -> str | None:
    model = loaded.model
    prompts = _prompts(model, count)
    expected_LV = torch.stack([_alone(model, prompt)[0] for prompt in prompts])
    shape = Shape(first=count, lanes=count, steps=1, tokens=len(prompts[0]))
    made = lanes_for(loaded, [problem] * count, shape)
    ids_LK, last_L = padded(prompts, model.device)
    with fused(model, made) as readout:
        made.begin_step(0, learns=True)
        logits_LV = lane_logits(model, readout, ids_LK, last_L)
        off = (logits_LV.detach() - expected_LV).abs().max() / expected_LV.abs().max()
        if not off <= relative_tolerance(logits_LV):
            return f"lanes of {type(model).__name__} don't compute the model's own logits (off by {float(off):.1g})"
        nn.functional.cross_entropy(logits_LV[:1].float(), logits_LV[:1].argmin(dim=1)).backward()
        own, *others = made.squared_gradient_norms().tolist()
    if not own > 0:
        return f"lanes of {type(model).__name__} get no gradient"
    if any(other != 0 for other in others):
        return (
            f"{type(model).__name__} mixes the rows of a batch: a lane's loss has a gradient in another lane"
        )
    return None


@torch.no_grad()
def _alone(model: nn.Module, prompt: tuple[int, ...]) -> tuple[Tensor, str]:
    """The logits (V,), and what the forward pass left in the model."""
    with out_of_memory_named(), memoryless(model) as state:
        return last_logits(model, prompt), state.changes()


def _prompts(model: nn.Module, count: int) -> list[tuple[int, ...]]:
    """Tokens without meaning, the same for every batch; special ones stand at the ends of a vocabulary."""
    config = model.config.get_text_config()  # type: ignore[union-attr,operator]
    length = min(TOKENS, getattr(config, "max_position_embeddings", None) or TOKENS)
    generator = torch.Generator().manual_seed(0)
    quarter = config.vocab_size // 4
    ids = torch.randint(quarter, 3 * quarter + 1, (count, length), generator=generator)
    return [tuple(row) for row in ids.tolist()]


def unlike(alone: Sequence[PairReading], read: Sequence[Measurement], logits_LV: Tensor) -> str | None:
    """What lanes read otherwise than the probe did, of each prompt alone; None if nothing.

    Args:
        alone: what the probe read for each lane, in order.
        read: the lanes' measurements of the untouched model.
        logits_LV: the logits that they were made from.
    """
    coarse = logits_LV.dtype.itemsize < 4
    relative = relative_tolerance(logits_LV)
    for pair, measurement in zip(alone, read, strict=True):
        for name, own, expected in (
            ("gap", measurement.logit_gap, pair.gap_0),
            ("loss", measurement.loss, pair.loss_0),
        ):
            tolerance = relative * max(1.0 if coarse else 10.0, abs(expected))
            if not abs(own - expected) <= tolerance:
                return (
                    f"padded to the longest prompt of the batch, or beside others, a prompt of "
                    f"{len(pair.tokens.prompt)} tokens has another {name} than alone ({own:.6g}, {expected:.6g})"
                )
    return None


def relative_tolerance(logits: Tensor) -> float:
    """How far rounding may move logits, of their size: what the suite of lanes allows, 16 ulp in bfloat16."""
    return 1e-4 if logits.dtype.itemsize >= 4 else 16 * torch.finfo(logits.dtype).eps
