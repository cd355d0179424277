"""A run directory of any size, made by a seeded generator: for the page's size and time (`benchmarks/page.py`).

Its trials satisfy what real ones do: Φ = σ + δ, probabilities within [0, 1], changes whose parts add up, a bracket of
1 % around each critical rate. The gap follows g(s) = g_0 + |g_0| (η/η_c) (s/T)^a: plausible, and nobody's measurement.
"""

from __future__ import annotations

import math
import random
from datetime import UTC, datetime
from itertools import count, pairwise, product
from pathlib import Path
from typing import Any

from phantom_dist.spec import load, to_yaml
from phantom_dist.traces import RunDirectory, Store

MODELS, STEPS, BATCH = 10, (8, 16, 32, 64, 128), 100
WAYS = ({"method": "full", "optimizer": "sgd"}, {"method": "lora", "optimizer": "adamw"})
RATIOS = (0.9955, 1.0045)

Row = dict[str, Any]


def write_large_run(out: Path, trials: int, seed: int = 0) -> None:
    """Write a run of that many trials, four for each problem, to the folder `out`."""
    rng = random.Random(seed)
    directory = RunDirectory(Store(out))
    problems = trials // 4
    contexts = -(-problems // (MODELS * len(WAYS) * len(STEPS)))
    directory.write_plan([])
    directory.write_sweep(to_yaml(load(_sweep(contexts))))
    axes = product(range(contexts), range(MODELS), WAYS, STEPS)
    numbers = count()
    for start in range(0, problems, BATCH):
        probes: list[Row] = []
        rows: list[Row] = []
        traces: dict[str, list[Row]] = {}
        for _, (context, model, way, steps) in zip(range(min(BATCH, problems - start)), axes, strict=False):
            number = next(numbers)
            problem = _problem(rng, number, context, model, way, steps)
            probes.append(problem["probe"])
            for ratio in (*RATIOS, rng.uniform(0.2, 0.9), rng.lognormvariate(1.5, 1.5) + 1.1):
                trial, steps_of = _trial(rng, f"{number:08x}{len(rows):08x}", problem, ratio)
                rows.append(trial)
                traces.setdefault(trial["model"], []).extend(steps_of)
        directory.write_probes(f"batch-{start}", probes)
        directory.write_batch(f"batch-{start}", rows, traces)


def _sweep(contexts: int) -> Row:
    pair = {"text": "They found it and were very", "target": " glad", "competitor": " happy"}
    return {
        "name": "large",
        "models": [f"./model-{i}" for i in range(MODELS)],
        "contexts": [{"id": f"context-{i}"} | pair for i in range(contexts)],
        "methods": [{"full": {"optimizers": ["sgd"]}}, {"lora": {"rank": 8, "optimizers": ["adamw"]}}],
        "learning_rates": {"critical": {"tolerance": 0.01}},
        "steps": list(STEPS),
    }


def _problem(rng: random.Random, number: int, context: int, model: int, way: Row, steps: int) -> Row:
    gap, pi_c = -rng.uniform(0.5, 7), rng.uniform(0.6, 1.4)
    kappa = rng.lognormvariate(8, 1)
    eta_c = pi_c * abs(gap) / (steps * kappa)
    which = way | {
        "problem": f"{number:016x}",
        "model": f"./model-{model}",
        "architecture": "LlamaForCausalLM",
        "parameters": 10_000_000 * (model + 1),
        "weights": f"{model:064x}",
        "context": f"context-{context}",
        "target": " glad",
        "competitor": " happy",
        "momentum": 0.0,
        "weight_decay": 0.0,
        "schedule": "constant",
        "warmup_steps": 0,
        "steps": steps,
        "seed": 0,
        "precision": "float32",
    }
    if way["method"] == "lora":
        which |= {"lora_rank": 8, "lora_alpha": 16.0, "lora_targets": "q_proj,v_proj"}
    origin = {
        "gap_0": gap,
        "kappa": kappa,
        "loss_0": rng.uniform(4, 9),
        "overlap_0": rng.uniform(0.4, 0.9),
        "centred_overlap": 0.6,
        "synonym_floor": 0.3,
        "effective_steps": float(steps),
    }
    walk = [eta_c * f for f in (1 / pi_c, rng.uniform(0.9, 1.1), rng.uniform(0.98, 1.02))]
    probe = (
        which | origin | {"log_odds_0": -origin["loss_0"], "path_rates": walk, "width": 64, "gap_end": 0.01}
    )
    bend, bulk = rng.uniform(0.8, 1.6), rng.uniform(-0.3, -0.05)
    return {"probe": probe, "which": which, "origin": origin, "eta_c": eta_c, "bend": bend, "bulk": bulk}


def _trial(rng: random.Random, trial_id: str, problem: Row, ratio: float) -> tuple[Row, list[Row]]:
    which, origin = problem["which"], problem["origin"]
    gap_0, steps, overlap = origin["gap_0"], which["steps"], origin["overlap_0"]
    diverged = ratio > 60
    falls = rng.random() < 0.3
    trace: list[Row] = []
    for step in range(steps + 1):
        progress = step / steps
        gap = gap_0 + abs(gap_0) * min(ratio * progress ** problem["bend"], 3.0)
        share = 1 / (1 + math.exp(-6 * (min(ratio, 1.5) * progress - 0.7)))
        pair = 0.25 + 0.7 * share * progress
        target = pair / (1 + math.exp(-gap))
        signal = (2 * target - pair) * (1 - overlap**2)
        drag = problem["bulk"] * (1 - pair) * (1 + (0.6 * progress if falls else 0))
        order = signal + drag
        before = trace[-1]["order_parameter"] if trace else order
        geometry = 0.0 if which["method"] == "lora" else 0.1 * (order - before) * rng.random()
        loss = (
            2 * origin["loss_0"]
            if diverged and step == steps
            else origin["loss_0"] * (1 - 0.9 * share * progress)
        )
        trace.append(
            {
                "trial_id": trial_id,
                "step": step,
                "loss": loss,
                "logit_gap": gap,
                "p_target": target,
                "p_competitor": pair - target,
                "rank_target": 1 if gap > 0 else 2,
                "rank_competitor": 2 if gap > 0 else 1,
                "overlap": overlap,
                "order_parameter": order,
                "signal": signal,
                "drag": drag,
                "readout_change": None if step == 0 else order - before - geometry,
                "geometry_change": None if step == 0 else geometry,
                "embedding_drift": 0.0,
                "gradient_norm": None if step == steps else 1.0,
                "readout_hash": "0" * 32 if which["method"] == "lora" else None,
            }
        )
    return _ended(trial_id, problem, ratio, trace, diverged), trace


def _ended(trial_id: str, problem: Row, ratio: float, trace: list[Row], diverged: bool) -> Row:
    which, origin, last = problem["which"], problem["origin"], trace[-1]
    sank = last["drag"] < trace[0]["drag"] - 0.01
    outcome = (
        "diverged" if diverged
        else "committed" if last["logit_gap"] > 0
        else "structural" if sank
        else "kinematic"
    )  # fmt: skip
    sizes = [abs(b["order_parameter"] - a["order_parameter"]) for a, b in pairwise(trace)]
    span = max(r["order_parameter"] for r in trace) - min(r["order_parameter"] for r in trace)
    jump = max(range(len(sizes)), key=sizes.__getitem__)
    jumped = sizes[jump] >= 0.1 and sizes[jump] >= span / 2
    return which | origin | {
        "trial_id": trial_id,
        "learning_rate": ratio * problem["eta_c"],
        "outcome": outcome,
        "silent": outcome != "committed" and not diverged,
        "commit_step": next((r["step"] for r in trace if r["logit_gap"] > 0), None),
        "jump_step": jump + 1 if jumped else None,
        "jump_size": sizes[jump] if jumped else None,
        "jump_readout_share": 1.0 if jumped else None,
        "steps_taken": which["steps"],
        "gap_final": last["logit_gap"],
        "loss_final": last["loss"],
        "drag_final": last["drag"],
        "pi": ratio * problem["eta_c"] * which["steps"] * origin["kappa"] / abs(origin["gap_0"]),
        "structural_drag": 0.01,
        "jump_threshold": 0.1,
        "jump_share_of_range": 0.5,
        "synonym_floor_rms": 3.0,
        "engine": "single",
        "device": "cpu",
        "threads": 1,
        "batch": "batch",
        "attempt": 1,
        "host": "",
        "wall_time": 1.0,
        "process_bytes": 1,
        "finished_at": datetime(2026, 1, 1, tzinfo=UTC),
        "versions": "made by a generator",
    }  # fmt: skip
