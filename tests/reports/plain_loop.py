"""Real tables for the report: a plain torch loop trains a model and measures it at each step."""

from __future__ import annotations

import copy
import math
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import pyarrow as pa
import torch

from phantom_dist.core.outcome import Outcome, Thresholds
from phantom_dist.core.quantities import PROBLEM_COLUMNS
from phantom_dist.core.trial import Optimizer, Schedule
from phantom_dist.instruments import drag as drag_of
from phantom_dist.instruments import (
    drift,
    jumps,
    kernel_rate,
    order_parameter,
    overlap,
    readout,
    shares,
    signal,
)
from phantom_dist.instruments import outcome as endings
from phantom_dist.reports import RunTables
from phantom_dist.traces import schema

THRESHOLDS = Thresholds()
TRACES = schema.TRACES.append(pa.field("model", pa.string()))


@dataclass(frozen=True, kw_only=True)
class Case:
    """One problem of the plain loop: a model, a prompt, its two words and a way of training."""

    model: torch.nn.Module
    name: str
    context: str
    prompt: tuple[int, ...]
    words: tuple[int, int]
    spelling: tuple[str, str]
    method: str
    optimizer: Optimizer
    steps: int = 8

    def fresh(self) -> torch.nn.Module:
        model = copy.deepcopy(self.model).eval()
        if self.method == "full":
            return model.requires_grad_(True)
        import peft

        torch.manual_seed(0)
        config = peft.LoraConfig(r=2, lora_alpha=4, target_modules=["q_proj", "v_proj"], lora_dropout=0.0)
        return peft.get_peft_model(model, config).eval()

    def labels(self) -> dict[str, Any]:
        sgd, lora = self.optimizer.name == "sgd", self.method == "lora"
        return {
            "problem": f"{self.context}/{self.method}",
            "model": self.name,
            "architecture": type(self.model).__name__,
            "parameters": sum(p.numel() for p in self.model.parameters()),
            "weights": "0" * 64,
            "context": self.context,
            "target": self.spelling[0],
            "competitor": self.spelling[1],
            "method": self.method,
            "optimizer": self.optimizer.name,
            "momentum": self.optimizer.momentum,
            "weight_decay": 0.0,
            "beta1": None if sgd else self.optimizer.beta1,
            "beta2": None if sgd else self.optimizer.beta2,
            "epsilon": None if sgd else self.optimizer.epsilon,
            "schedule": "constant",
            "warmup_steps": 0,
            "lora_rank": 2 if lora else None,
            "lora_alpha": 4.0 if lora else None,
            "lora_targets": "q_proj,v_proj" if lora else None,
            "steps": self.steps,
            "seed": 0,
            "precision": "float32",
        }


def train(case: Case, learning_rate: float) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """One trial by a plain loop: its trial row and its T + 1 trace rows."""
    model, (t, c) = case.fresh(), case.words
    trained = [p for p in model.parameters() if p.requires_grad]
    settings = case.optimizer
    optimizer: torch.optim.Optimizer = (
        torch.optim.SGD(trained, lr=learning_rate, momentum=settings.momentum)
        if settings.name == "sgd"
        else torch.optim.AdamW(trained, lr=learning_rate, weight_decay=0.0, eps=settings.epsilon)
    )
    readout_Vd = model.get_output_embeddings().weight
    start_Vd = readout_Vd.detach().clone()
    trial = f"{case.name}/{case.context}/{case.method}/{case.optimizer.name}/{learning_rate!r}"
    trace: list[dict[str, Any]] = []
    before: tuple[torch.Tensor, torch.Tensor] | None = None
    kappa = math.nan
    for step in range(case.steps + 1):
        logits_V = model(torch.tensor([case.prompt])).logits[0, -1].float()
        loss = torch.nn.functional.cross_entropy(logits_V[None], torch.tensor([t]))
        gap = readout.logit_gap(logits_V, t, c)
        if step == 0:
            ascent = torch.autograd.grad(gap, trained, retain_graph=True, allow_unused=True)
        optimizer.zero_grad()
        loss.backward()
        if step == 0:
            pairs = [(a, p) for a, p in zip(ascent, trained, strict=True) if a is not None]
            kappa = kernel_rate.rate(
                [a for a, _ in pairs],
                [kernel_rate.first_direction(p.grad, p.detach(), settings) for _, p in pairs],
            )
        logits_V = logits_V.detach()
        p_V = readout.probabilities(logits_V)
        lever_V = order_parameter.lever(overlap.overlap_rows(readout_Vd, (t, c)))
        cosine = overlap.overlap_rows(readout_Vd, (t, c))[0, c]
        p_before_V, lever_before_V = before or (p_V, lever_V)
        change = (p_before_V, p_V, lever_before_V, lever_V)
        trace.append(
            {
                "trial_id": trial,
                "model": case.name,
                "step": step,
                "loss": float(readout.cross_entropy(logits_V, t)),
                "logit_gap": float(gap.detach()),
                "p_target": float(p_V[t]),
                "p_competitor": float(p_V[c]),
                "rank_target": int(readout.rank(logits_V, t)),
                "rank_competitor": int(readout.rank(logits_V, c)),
                "overlap": float(cosine),
                "order_parameter": float(order_parameter.order_parameter(p_V, lever_V)),
                "signal": float(signal.signal(p_V[t], p_V[c], cosine)),
                "drag": float(drag_of.drag(p_V, lever_V, t, c)),
                "readout_change": float(shares.readout_change(*change)) if before else None,
                "geometry_change": float(shares.geometry_change(*change)) if before else None,
                "embedding_drift": drift.embedding_drift(readout_Vd, start_Vd),
                "gradient_norm": kernel_rate.gradient_norm([p.grad for p in trained])
                if step < case.steps
                else None,
                "readout_hash": drift.readout_hash(readout_Vd) if case.method == "lora" else None,
            }
        )
        before = (p_V, lever_V)
        optimizer.step()
    return _trial_row(case, learning_rate, kappa, trace, start_Vd), trace


def _trial_row(
    case: Case, learning_rate: float, kappa: float, trace: list[dict[str, Any]], start_Vd: torch.Tensor
) -> dict[str, Any]:
    series = {name: [row[name] for row in trace] for name in trace[0]}
    ending = endings.outcome(
        loss=series["loss"],
        logit_gap=series["logit_gap"],
        drag=series["drag"],
        vocabulary_size=len(start_Vd),
        thresholds=THRESHOLDS,
    )
    jump = jumps.largest_jump(series["order_parameter"], series["readout_change"], THRESHOLDS)
    steps = kernel_rate.effective_steps(case.steps, Schedule(), case.optimizer)
    return case.labels() | {
        "trial_id": trace[0]["trial_id"],
        "learning_rate": learning_rate,
        "outcome": ending.value,
        "silent": endings.silent(series["loss"], ending),
        "commit_step": endings.commit_step(series["logit_gap"]),
        "jump_step": jump.step if jump else None,
        "jump_size": jump.size if jump else None,
        "jump_readout_share": jump.readout_share if jump else None,
        "gap_0": series["logit_gap"][0],
        "kappa": kappa,
        "loss_0": series["loss"][0],
        "overlap_0": series["overlap"][0],
        "steps_taken": case.steps,
        "gap_final": series["logit_gap"][-1],
        "loss_final": series["loss"][-1],
        "drag_final": series["drag"][-1],
        "effective_steps": steps,
        "pi": kernel_rate.dimensionless_rate(learning_rate, steps, kappa, series["logit_gap"][0]),
        "structural_drag": THRESHOLDS.structural_drag,
        "jump_threshold": THRESHOLDS.jump_size,
        "engine": "single",
        "device": "cpu",
        "threads": torch.get_num_threads(),
        "batch": "b0",
        "attempt": 1,
        "host": "localhost",
        "wall_time": 0.1,
        "finished_at": datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC),
        "versions": f"torch {torch.__version__}",
    }


def search(
    case: Case, *, tolerance: float = 0.01, extra: Sequence[float] = ()
) -> tuple[dict[str, Any], list[dict[str, Any]], list[dict[str, Any]]]:
    """Interpolated steps on log η from Π = 1 inside a bracket; `extra` multiples of η_c are trained too."""
    trials, traces, tried = [], [], {}

    def gap(learning_rate: float) -> float:
        row, trace = train(case, learning_rate)
        trials.append(row)
        traces.extend(trace)
        tried[learning_rate] = row["gap_final"]
        return float(row["gap_final"])

    probe, _ = train(case, 0.0)
    record = {q.name: case.labels()[q.name] for q in PROBLEM_COLUMNS if q.name in _CRITICAL_KEYS}
    record |= {"gap_0": probe["gap_0"], "kappa": probe["kappa"]}
    if probe["kappa"] <= 0:
        nothing = dict.fromkeys(("eta_c", "bracket", "pi_c"))
        reason = "kappa <= 0: the first steps widen the gap"
        return record | nothing | {"trials_used": 0, "trial_steps_used": 0, "reason": reason}, trials, traces
    rate = kernel_rate.first_order_learning_rate(probe["effective_steps"], probe["kappa"], probe["gap_0"])
    low, high = (0.0, probe["gap_0"]), (math.inf, math.nan)
    while high[0] == math.inf or high[0] / max(low[0], 1e-300) - 1 > tolerance:
        value = gap(rate)
        low, high = (low, (rate, value)) if value > 0 else ((rate, value), high)
        if high[0] == math.inf:
            rate *= 1.2
        elif low[0] == 0.0:
            rate /= 1.2
        else:
            share = min(max(low[1] / (low[1] - high[1]), 0.15), 0.85)
            share = share - 0.3 * tolerance if share > 0.5 else share + 0.3 * tolerance
            rate = low[0] * (high[0] / low[0]) ** share
    eta_c = low[0] + (high[0] - low[0]) * low[1] / (low[1] - high[1])
    used = len(trials)
    for multiple in extra:
        gap(multiple * eta_c)
    return (
        record
        | {
            "eta_c": eta_c,
            "bracket": [low[0], high[0]],
            "trials_used": used,
            "trial_steps_used": used * case.steps,
            "pi_c": kernel_rate.dimensionless_rate(
                eta_c, probe["effective_steps"], probe["kappa"], probe["gap_0"]
            ),
            "reason": None,
        },
        trials,
        traces,
    )


_CRITICAL_KEYS = {q.name for q in PROBLEM_COLUMNS} - {
    "problem",
    "parameters",
    "weights",
    "beta1",
    "beta2",
    "epsilon",
    "warmup_steps",
}


def table(rows: Sequence[dict[str, Any]], columns: pa.Schema) -> pa.Table:
    """Rows as a table of exactly these columns; what a row lacks is null."""
    return pa.Table.from_pylist(list(rows), columns)


def assemble(name: str, found: Sequence[tuple[Any, Any, Any]], **more: Any) -> RunTables:
    """A run from the results of several searches."""
    return RunTables(
        name=name,
        trials=table([row for _, trials, _ in found for row in trials], schema.TRIALS),
        traces=table([row for _, _, traces in found for row in traces], TRACES),
        critical_rates=[record for record, _, _ in found],
        **more,
    )


def refused(case: Case, outcome: Outcome, why: str) -> tuple[dict[str, Any], list[dict[str, Any]], list[Any]]:
    """The tables' view of a pair that was refused before training."""
    row = case.labels() | {"trial_id": f"{case.context}/{outcome}", "outcome": outcome.value, "error": why}
    record = {name: case.labels()[name] for name in _CRITICAL_KEYS}
    nothing = dict.fromkeys(("eta_c", "bracket", "gap_0", "kappa", "pi_c"))
    return record | nothing | {"trials_used": 0, "trial_steps_used": 0, "reason": why}, [row], []
