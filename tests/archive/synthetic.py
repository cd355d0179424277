"""A seeded run directory of any size whose rows keep every invariant: what no training has time to make.

Its shape is a real run's: several models, full SGD and LoRA AdamW, T from 8 to 128, batches of trials that are trained
alike, probes, a plan. The numbers are drawn, not measured: gaps that close at a constant rate, mass that grows.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from phantom_dist.core.tokens import Tokens
from phantom_dist.core.trial import Problem, trial_id
from phantom_dist.spec import expand, load, to_yaml
from phantom_dist.traces import RunDirectory, Store, schema

MODELS = ("zoo:gpt2-a", "zoo:llama-b", "org/model-1b")
STEPS = (8, 16, 32, 64, 128)
BATCH = 256

WORDS = "ready calm clever quick bright gentle honest narrow polite sudden"


def write_run(folder: Path, *, rows: int, seed: int = 0, contexts: int = 3, name: str = "synthetic") -> int:
    """Write a run of at least so many trace rows; the number that it has."""
    rng = np.random.default_rng(seed)
    words = WORDS.split()
    spec = load(
        {
            "name": name,
            "models": list(MODELS),
            "contexts": [
                {
                    "id": f"c{i}",
                    "text": f"In case {i} she was",
                    "target": f" {words[i % 10]}",
                    "competitor": " old",
                }
                for i in range(contexts)
            ],
            "methods": [{"full": {"optimizers": ["sgd"]}}, {"lora": {"rank": 4, "optimizers": ["adamw"]}}],
            "steps": list(STEPS),
            "learning_rates": {"critical": {"tolerance": 0.01}},
        }
    )
    directory = RunDirectory(Store(folder))
    asked = expand(spec)
    problems = [_resolved(problem) for problem in asked]
    tokens = [_tokens(problem) for problem in problems]
    origins = [
        _origin(named.key, problem, t, rng) for named, problem, t in zip(asked, problems, tokens, strict=True)
    ]
    directory.write_plan([])
    directory.write_sweep(to_yaml(spec))
    directory.write_state({"state": "complete", "host": "a-private-host", "models": {}})
    directory.write_probes("origins", [origin["probe"] for origin in origins])
    for kind in ("trials", *(f"traces/model={_quoted(m)}" for m in MODELS)):
        (folder / kind).mkdir(parents=True, exist_ok=True)
    written = batch = 0
    while written < rows:
        place = batch % len(problems)
        problem, origin = problems[place], origins[place]
        count = min(BATCH, -(-(rows - written) // (problem.steps + 1)))
        rates = np.exp(rng.uniform(-14, -2, count))
        ids = [trial_id(problem, origin["row"]["weights"], tokens[place], rate) for rate in rates]
        trials, traces = _batch(problem, origin, ids, rates, rng, f"b{batch:07d}")
        stem = f"b{batch:07d}.parquet"
        pq.write_table(traces, folder / f"traces/model={_quoted(problem.model)}" / stem)
        pq.write_table(trials, folder / "trials" / stem)
        written, batch = written + traces.num_rows, batch + 1
    return written


def _resolved(problem: Problem) -> Problem:
    if problem.lora is None:
        return problem
    return problem.model_copy(
        update={"lora": problem.lora.model_copy(update={"targets": ("q_proj", "v_proj")})}
    )


def _quoted(model: str) -> str:
    return model.replace(":", "%3A").replace("/", "%2F")


def _tokens(problem: Problem) -> Tokens:
    context = problem.context
    number = int(context.id[1:])
    return Tokens(
        prompt=(1, 2, 3 + number), target=100 + number, competitor=99,
        target_text=context.target, competitor_text=context.competitor,
    )  # fmt: skip


def _origin(key: str, problem: Problem, tokens: Tokens, rng: np.random.Generator) -> dict[str, Any]:
    """What all trials of a problem have in common, and its row of `probes/`."""
    from phantom_dist.records import problem_row

    number = MODELS.index(problem.model)
    gap_0, mass_0, overlap_0 = -rng.uniform(0.5, 6), rng.uniform(0.01, 0.2), rng.uniform(0.4, 0.9)
    row = problem_row(problem) | {
        "problem": key,
        "architecture": "LlamaForCausalLM",
        "parameters": 1000 * (number + 1),
        "weights": f"{number:064x}",
        "gap_0": gap_0,
        "kappa": rng.uniform(10, 1000),
        "loss_0": float(-np.log(mass_0 / (1 + np.exp(-gap_0)))),
        "overlap_0": overlap_0,
        "centred_overlap": 0.5,
        "synonym_floor": 0.2,
        "effective_steps": float(problem.steps),
    }
    probe = row | {
        "prompt_tokens": list(tokens.prompt), "target_token": tokens.target, "competitor_token": tokens.competitor,
        "width": 64, "probe_trial_steps": 2.0,
    }  # fmt: skip
    return {"row": row, "probe": probe, "mass_0": mass_0, "drag_0": rng.uniform(-0.05, 0.05)}


def _batch(
    problem: Problem,
    origin: dict[str, Any],
    ids: list[str],
    rates: np.ndarray,
    rng: np.random.Generator,
    batch: str,
) -> tuple[pa.Table, pa.Table]:
    row, count, steps = origin["row"], len(ids), problem.steps
    lora = problem.method == "lora"
    step = np.arange(steps + 1)
    slope = rng.uniform(-0.2, 1.5, (count, 1)) * -row["gap_0"] * 2 / steps
    noise = rng.normal(0, 0.002, (count, steps + 1)) * (step > 0)
    gap = row["gap_0"] + slope * step + noise
    mass = origin["mass_0"] + (0.98 - origin["mass_0"]) * (
        1 - np.exp(-rng.uniform(0.01, 1, (count, 1)) * step)
    )
    p_target, p_competitor = mass / (1 + np.exp(-gap)), mass / (1 + np.exp(gap))
    turn = np.zeros((count, steps + 1)) if lora else 1e-4 * rng.uniform(0, 1, (count, 1)) * step / steps
    overlap = row["overlap_0"] - turn
    signal = (p_target - p_competitor) * (1 - overlap**2)
    drag = origin["drag_0"] - rng.uniform(-0.02, 0.04, (count, 1)) * step / steps
    phi = signal + drag
    change = np.diff(phi, axis=1, prepend=np.nan)
    geometry = change * (0.0 if lora else 1e-3)
    columns = {
        "loss": -np.log(p_target), "logit_gap": gap, "p_target": p_target, "p_competitor": p_competitor,
        "rank_target": 1 + (gap < 0), "rank_competitor": 1 + (gap > 0), "overlap": overlap, "order_parameter": phi,
        "signal": signal, "drag": drag, "readout_change": change - geometry, "geometry_change": geometry,
        "embedding_drift": turn, "gradient_norm": rng.uniform(0.1, 10, (count, steps + 1)),
    }  # fmt: skip
    first, last = np.tile(step == 0, count), np.tile(step == steps, count)
    absent = {"readout_change": first, "geometry_change": first, "gradient_norm": last}
    arrays = {
        name: pa.array(
            np.ascontiguousarray(values).reshape(-1), schema.TRACES.field(name).type, mask=absent.get(name)
        )
        for name, values in columns.items()
    }
    arrays["training_loss"] = pa.nulls(count * (steps + 1), pa.float64())
    arrays["trial_id"] = pa.array(np.repeat(ids, steps + 1), pa.string())
    arrays["step"] = pa.array(np.tile(step, count), pa.int32())
    frozen = f"{MODELS.index(problem.model):032x}" if lora else None
    arrays["readout_hash"] = pa.array([frozen] * (count * (steps + 1)), pa.string())
    traces = pa.table([arrays[name] for name in schema.TRACES.names], schema=schema.TRACES)
    return _trials(problem, row, ids, rates, columns, batch), traces


def _trials(
    problem: Problem,
    row: dict[str, Any],
    ids: list[str],
    rates: np.ndarray,
    columns: dict[str, np.ndarray],
    batch: str,
) -> pa.Table:
    gap, loss, drag = columns["logit_gap"], columns["loss"], columns["drag"]
    phi = columns["order_parameter"]
    count, thresholds = len(ids), problem.thresholds
    ever, fell = (gap > 0).any(1), (np.diff(loss, axis=1) < 0).all(1)
    outcome = np.select(
        [
            loss[:, -1] > loss[:, 0],
            gap[:, -1] > 0,
            ever,
            drag[:, -1] < drag[:, 0] - thresholds.structural_drag,
        ],
        ["diverged", "committed", "relapsed", "structural"],
        "kinematic",
    )
    changes = np.diff(phi, axis=1)
    step = np.abs(changes).argmax(1)
    size = np.abs(changes[np.arange(count), step])
    reach = phi.max(1) - phi.min(1)
    none = size < np.maximum(thresholds.jump_size, thresholds.jump_share_of_range * reach)
    readout = columns["readout_change"][np.arange(count), step + 1] / changes[np.arange(count), step]
    values: dict[str, Any] = {
        name: pa.array([value] * count) for name, value in row.items() if value is not None
    }
    values |= {
        "trial_id": ids, "learning_rate": rates, "outcome": outcome, "silent": (outcome != "committed") & fell,
        "commit_step": pa.array((gap > 0).argmax(1), mask=~ever),
        "jump_step": pa.array(step + 1, mask=none), "jump_size": pa.array(size, mask=none),
        "jump_readout_share": pa.array(readout, mask=none),
        "steps_taken": np.full(count, problem.steps), "gap_final": gap[:, -1], "loss_final": loss[:, -1],
        "drag_final": drag[:, -1], "pi": rates * row["effective_steps"] * row["kappa"] / abs(row["gap_0"]),
        "structural_drag": np.full(count, thresholds.structural_drag),
        "jump_threshold": np.full(count, thresholds.jump_size),
        "jump_share_of_range": np.full(count, thresholds.jump_share_of_range),
        "synonym_floor_rms": np.full(count, thresholds.synonym_floor_rms),
        "engine": ["dual lanes"] * count, "device": ["x86_64"] * count, "threads": [1] * count,
        "batch": [batch] * count,
        "attempt": [1] * count, "host": ["a-private-host"] * count, "wall_time": np.full(count, 0.5),
        "process_bytes": np.full(count, 10**9), "versions": ["phantom-dist 0.1.0, torch 2.13.0"] * count,
        "finished_at": pa.array([1_760_000_000_000_000 + int(batch[1:])] * count, pa.timestamp("us", tz="UTC")),
    }  # fmt: skip
    made = [
        pa.array(values[f.name]).cast(f.type) if f.name in values else pa.nulls(count, f.type)
        for f in schema.TRIALS
    ]
    return pa.table(made, schema=schema.TRIALS)
