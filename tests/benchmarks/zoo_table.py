"""How hard the zoo is: one row per model, `python -m tests.benchmarks.zoo_table [NAME ...]`.

Over the zoo's contexts: the gap g_0 at the start, the overlap S_tc, and Π_c = η_c T κ / |g_0| for full fine-tuning by
SGD with T = 8. First order says Π_c = 1; its coefficient of variation is what a law of the critical rate must explain.
The training loop here is written out on purpose: it shares nothing with the engines.
"""

from __future__ import annotations

import math
import statistics
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor
from transformers import AutoModelForCausalLM, AutoTokenizer, PreTrainedModel

from phantom_dist.contexts import load_contexts, tokenise
from phantom_dist.core.tokens import Tokens
from phantom_dist.instruments.overlap import centred_overlap_row, overlap_rows, row_rms
from phantom_dist.models import zoo
from phantom_dist.models.zoo.architectures import ZOO

CONTEXTS = Path(__file__).parents[2] / "sweeps" / "contexts" / "zoo.yaml"
STEPS = 8


@dataclass(frozen=True, kw_only=True)
class Row:
    """What one context says about one model; `pi_c` is None where no crossing was found up to Π = 8."""

    context: str
    gap_0: float
    overlap: float
    centred_overlap: float
    row_rms: float
    pi_c: float | None


def load(name: str) -> tuple[PreTrainedModel, object]:
    """A zoo model (float32, evaluation mode) and its tokenizer."""
    folder = zoo.folder(name)
    model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32, local_files_only=True).eval()
    return model, AutoTokenizer.from_pretrained(folder, local_files_only=True)


def geometry(model: PreTrainedModel, tokens: Tokens) -> dict[str, float]:
    """Gap and overlaps of the untouched model."""
    readout_Vd = model.get_output_embeddings().weight
    centred_V = centred_overlap_row(readout_Vd, tokens.target)
    with torch.no_grad():
        gap, _ = gap_and_loss(model, tokens)
    return {
        "gap_0": gap.item(),
        "overlap": overlap_rows(readout_Vd, (tokens.target,))[0, tokens.competitor].item(),
        "centred_overlap": centred_V[tokens.competitor].item(),
        "row_rms": row_rms(centred_V, tokens.target),
    }


def gap_and_loss(model: PreTrainedModel, tokens: Tokens) -> tuple[Tensor, Tensor]:
    """g = z_t - z_c and the cross-entropy of the target, both at the last position."""
    logits_V = model(input_ids=torch.tensor([tokens.prompt]), use_cache=False).logits[0, -1]
    return logits_V[tokens.target] - logits_V[tokens.competitor], logits_V.logsumexp(0) - logits_V[
        tokens.target
    ]


def critical_pi(model: PreTrainedModel, tokens: Tokens) -> float | None:
    """Π_c to 0.1 % of g_0; the model is left as it was."""
    parameters = [p for p in model.parameters() if p.requires_grad]
    origin = [p.detach().clone() for p in parameters]

    def gradient(value: Tensor) -> list[Tensor]:
        return list(torch.autograd.grad(value, parameters, materialize_grads=True, retain_graph=True))

    def restore() -> None:
        with torch.no_grad():
            torch._foreach_copy_(parameters, origin)

    gap, loss = gap_and_loss(model, tokens)
    kappa = -sum((a * b).sum().item() for a, b in zip(gradient(gap), gradient(loss), strict=True))
    unit = -gap.item() / (kappa * STEPS)

    def final_gap(log_pi: float) -> float:
        restore()
        for _ in range(STEPS):
            _, loss = gap_and_loss(model, tokens)
            step = gradient(loss)
            with torch.no_grad():
                torch._foreach_add_(parameters, step, alpha=-unit * math.exp(log_pi))
        with torch.no_grad():
            return gap_and_loss(model, tokens)[0].item()

    try:
        log_pi = (
            first_root(final_gap, math.log(0.2), math.log(8.0), 1e-3 * -gap.item()) if kappa > 0 else None
        )
    finally:
        restore()
    return None if log_pi is None else math.exp(log_pi)


def first_root(h: Callable[[float], float], low: float, end: float, tolerance: float) -> float | None:
    """The first sign change of h above `low` (steps of 20 % in e^x), closed in on by regula falsi (Illinois)."""
    high, h_low = low, h(low)
    while (h_high := h(high := low + math.log(1.2))) < 0:
        low, h_low = high, h_high
        if low > end:
            return None
    side = 0
    for _ in range(40):
        x = (low * h_high - high * h_low) / (h_high - h_low)
        h_x = h(x)
        if abs(h_x) < tolerance:
            break
        if h_x < 0:
            low, h_low, h_high, side = x, h_x, h_high / 2 if side < 0 else h_high, -1
        else:
            high, h_high, h_low, side = x, h_x, h_low / 2 if side > 0 else h_low, 1
    return x


def measure(name: str) -> list[Row]:
    """One row per context of the zoo."""
    model, tokenizer = load(name)
    rows = []
    for context in load_contexts(CONTEXTS):
        tokens = tokenise(tokenizer, context)
        rows.append(Row(context=context.id, **geometry(model, tokens), pi_c=critical_pi(model, tokens)))
    return rows


HEADER = (
    f"{'model':<11} {'family':<12} {'params':>7} {'width':>5} {'layers':>6} {'tied':<5} {'norm':<9} {'positions':<15} "
    f"{'g_0 min':>7} {'max':>6} {'S min':>6} {'max':>5} {'S/rms':>5} {'Π_c min':>7} {'median':>6} {'max':>5} {'CV':>6}"
)


def line(name: str, rows: list[Row]) -> str:
    """The table's row of a model; S/rms is the smallest centred overlap over its row's rms."""
    a = ZOO[name]
    parameters = sum(p.numel() for p in load(name)[0].parameters())
    gaps, overlaps = [r.gap_0 for r in rows], [r.overlap for r in rows]
    pis = [r.pi_c for r in rows if r.pi_c is not None]
    stands_out = min(r.centred_overlap / r.row_rms for r in rows)
    return (
        f"{name:<11} {a.family:<12} {parameters:>7} {a.width:>5} {a.layers:>6} {'yes' if a.tied else 'no':<5} "
        f"{a.norm:<9} {a.positions:<15} {min(gaps):>7.2f} {max(gaps):>6.2f} {min(overlaps):>6.2f} "
        f"{max(overlaps):>5.2f} {stands_out:>5.1f} {min(pis):>7.2f} {statistics.median(pis):>6.2f} {max(pis):>5.2f} "
        f"{statistics.stdev(pis) / statistics.mean(pis):>6.1%}"
        + (
            f"  no crossing: {', '.join(r.context for r in rows if r.pi_c is None)}"
            if len(pis) < len(rows)
            else ""
        )
    )


def main() -> None:
    """Print the table."""
    torch.set_num_threads(1)
    print(HEADER)
    every = []
    for name in sys.argv[1:] or ZOO:
        rows = measure(name)
        every += [r.pi_c for r in rows if r.pi_c is not None]
        print(line(name, rows), flush=True)
    spread = statistics.stdev(every) / statistics.mean(every)
    print(f"Π_c over all models and contexts: median {statistics.median(every):.2f}, CV {spread:.1%}")


if __name__ == "__main__":
    main()
