"""Lanes against loops: trial-steps per second, memory and deviation, side by side in one run (`make bench-lanes`).

The same trials on the same machine, three or more rounds of: the reference engine, a straight loop of transformers,
peft and torch.optim with the same instruments, and lanes. A trial-step is one forward and one backward pass that were
executed: what lanes of one context share at step 0 counts once. Speed-ups are over the faster of the loops of the same
round (zoo models: also with one thread, where small tensors are faster), and the median of the rounds is reported. Zoo
models are measured with the most lanes that the packing gives them, too.
"""

from __future__ import annotations

import argparse
import ctypes
import gc
import json
import platform
import statistics
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import peft
import psutil
import torch
from rich.console import Console
from rich.table import Table
from torch import nn

from phantom_dist.core.measurement import Measurement, Trial, TrialResult
from phantom_dist.core.trial import Context, Lora, Optimizer, Problem
from phantom_dist.engines import kept_memory
from phantom_dist.engines.lanes.engine import LanesEngine
from phantom_dist.engines.lanes.support import LANE_KINDS
from phantom_dist.engines.lanes.training import train as train_lanes
from phantom_dist.engines.probe import probe
from phantom_dist.engines.recorder import Recorder, SoloGeometry
from phantom_dist.engines.single import SingleEngine
from phantom_dist.engines.trainable import Trainable, readout_matrix
from phantom_dist.instruments.effective_steps import effective_steps
from phantom_dist.instruments.kernel_rate import gradient_norm
from phantom_dist.models.load import LoadedModel, load
from phantom_dist.planning.sizes import MAX_LANES
from phantom_dist.records import trial_row
from phantom_dist.spec import load as load_sweep
from phantom_dist.spec import load_contexts

ROOT = Path(__file__).parents[2]
STEPS = 8
SMOLLM2 = "gguf:smollm2-135m-instruct"
STACKED_SMOLLM2 = 24
"""Stacked copies of SmolLM2 with AdamW's moments that fit a GPU of 80 GB: 2.2 GB each."""

LARGEST, SMALLEST = "zoo:llama-b", "zoo:gpt2-a"
console = Console(stderr=False, width=150)


@dataclass(frozen=True)
class Way:
    """One way of training, and the kind of lanes that it is for."""

    kind: str
    method: str
    optimizer: Optimizer
    lora: Lora | None = None


DUAL = Way("dual", "full", Optimizer(name="sgd"))
STACKED = Way("stacked", "full", Optimizer(name="adamw"))
LORA = Way("lora", "lora", Optimizer(name="adamw"), Lora(rank=8, alpha=16, targets="attention"))
LORA_QV = Way("lora", "lora", Optimizer(name="adamw"), Lora(rank=8, alpha=16, targets=("q_proj", "v_proj")))


def trials_of(
    loaded: LoadedModel, reference: str, way: Way, contexts: list[Context], lanes: int
) -> list[Trial]:
    """So many trials over the contexts in turn, at rates around first order: Π from 0.7 to 1.3."""
    probed = []
    for context in contexts:
        problem = Problem(
            model=reference,
            context=context,
            method=way.method,
            lora=way.lora,
            optimizer=way.optimizer,
            steps=STEPS,
        )
        probed.append(probe(loaded, problem))
    trials = []
    for lane in range(lanes):
        measured = probed[lane % len(probed)]
        steps = effective_steps(STEPS, measured.problem.schedule, way.optimizer)
        first_order = abs(measured.gap_0) / (steps * measured.kappa)
        trials.append(Trial(measured=measured, learning_rate=first_order * (0.7 + 0.6 * lane / lanes)))
    return trials


def straight_loop(loaded: LoadedModel, trials: list[Trial]) -> None:
    """What one would write by hand: one model, its weights put back after each trial, the same instruments."""
    problem, model = trials[0].problem, loaded.model
    readout_Vd = readout_matrix(model)
    initial_Vd = readout_Vd.detach().clone()
    if problem.lora is not None:
        targets = list(trials[0].measured.model.lora_targets)
        config = peft.LoraConfig(r=problem.lora.rank, lora_alpha=problem.lora.alpha, target_modules=targets)
        model = peft.get_peft_model(model, config).eval()
    trained = [p for p in model.parameters() if p.requires_grad]
    untouched = [p.detach().clone() for p in trained]
    ready = Trainable(
        model=model,
        parameters=tuple(trained),
        readout_Vd=readout_Vd,
        initial_readout_Vd=initial_Vd,
        readout_frozen=problem.lora is not None,
    )
    make = torch.optim.SGD if problem.optimizer.name == "sgd" else torch.optim.AdamW
    for trial in trials:
        tokens = trial.measured.tokens
        ids = torch.tensor([tokens.prompt], device=loaded.model.device)
        target = torch.tensor([tokens.target], device=loaded.model.device)
        recorder = Recorder(SoloGeometry(ready), [tokens], loaded.model.device)
        optimizer = make(trained, lr=trial.learning_rate, weight_decay=0.0)
        for step in range(STEPS + 1):
            with torch.set_grad_enabled(step < STEPS):
                logits = model(input_ids=ids, use_cache=False).logits[:, -1]
            recorder.measure(step, logits)
            if step < STEPS:
                optimizer.zero_grad()
                nn.functional.cross_entropy(logits, target).backward()
                gradient_norm(p.grad for p in trained)
                optimizer.step()
        with torch.no_grad():
            for parameter, before in zip(trained, untouched, strict=True):
                parameter.copy_(before)
    if problem.lora is not None:
        model.unload()
    loaded.model.requires_grad_(True).zero_grad()


class Peak:
    """Peak memory beyond what was held before, in bytes: resident memory on a CPU, allocated memory on a GPU."""

    def __init__(self, device: torch.device) -> None:
        self._device = device
        self.bytes = 0.0

    @contextmanager
    def watch(self) -> Iterator[None]:
        gc.collect()
        with suppress(OSError, AttributeError):
            ctypes.CDLL("libc.so.6").malloc_trim(
                0
            )  # what earlier work has freed must not hide what this work takes
        if self._device.type == "cuda":
            before = torch.cuda.memory_allocated()
            torch.cuda.reset_peak_memory_stats()
            yield
            self.bytes = torch.cuda.max_memory_allocated() - before
            return
        process, done = psutil.Process(), threading.Event()
        before = peak = process.memory_info().rss

        def sample() -> None:
            nonlocal peak
            while not done.wait(0.01):
                peak = max(peak, process.memory_info().rss)

        sampler = threading.Thread(target=sample)
        sampler.start()
        try:
            yield
        finally:
            done.set()
            sampler.join()
        self.bytes = max(peak, process.memory_info().rss) - before


def seconds(work: Callable[[], Any], threads: int = 0) -> float:
    """Wall time of the work; with another number of threads where one is given."""
    before = torch.get_num_threads()
    torch.set_num_threads(threads or before)
    start = time.perf_counter()
    work()
    if torch.cuda.is_available():
        torch.cuda.synchronize()
    elapsed = time.perf_counter() - start
    torch.set_num_threads(before)
    return elapsed


def deviation(reference: list[TrialResult], lanes: list[TrialResult]) -> float:
    """The largest difference of logit gaps of the same trials, up to the reference's first jump."""
    by_id = {result.trial.id: result for result in lanes}
    worst = 0.0
    for result in reference:
        end = trial_row(result)["jump_step"] or len(result.trace)
        pairs: Iterator[tuple[Measurement, Measurement]] = zip(
            result.trace[:end], by_id[result.trial.id].trace[:end], strict=True
        )
        worst = max([worst, *(abs(a.logit_gap - b.logit_gap) for a, b in pairs)])
    return worst


def bench(
    reference: str, way: Way, contexts: list[Context], counts: list[int], rounds: int
) -> dict[str, Any]:
    """One model and way: prints its table; speed-up at the best number of lanes, deviation and memory."""
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    loaded = load(reference, device=device)
    batches = {count: trials_of(loaded, reference, way, contexts, count) for count in counts}
    serial = batches[max(counts)][: len(contexts)]
    single, lanes = SingleEngine(), LanesEngine(ways=LANE_KINDS)
    loops = {
        "reference engine": lambda: list(single.run(loaded, serial)),
        "straight loop": lambda: straight_loop(loaded, serial),
    }
    threads = [0, 1] if device.type == "cpu" and loaded.identity.parameters < 1e7 else [0]
    expected = loops["reference engine"]()
    got: list[TrialResult] = list(lanes.run(loaded, batches[max(counts)]))
    worst = deviation(expected, got)
    executed = {n: n * (STEPS - 1) + min(n, len(contexts)) for n in counts}
    rates: dict[str, list[float]] = {}
    memory: dict[str, float] = {}
    for number in range(rounds):
        for name, loop in loops.items():
            for count in threads:
                peak = Peak(device)
                with peak.watch():
                    elapsed = seconds(loop, count)
                label = f"{name}, 1 thread" if count else name
                rates.setdefault(label, []).append(len(serial) * STEPS / elapsed)
                memory[label] = peak.bytes
        for count in counts:
            peak = Peak(device)
            with kept_memory.kept():  # as in a worker, where a batch follows a batch: the second one is timed
                with peak.watch():
                    list(lanes.run(loaded, batches[count]))
                elapsed = seconds(lambda count=count: list(lanes.run(loaded, batches[count])))
            rates.setdefault(f"{count} lanes", []).append(executed[count] / elapsed)
            memory[f"{count} lanes"] = max(memory.get(f"{count} lanes", 0.0), peak.bytes)
        console.print(f"[dim]{reference} {way.kind}: round {number + 1} of {rounds} done[/dim]")
    best_loop = [
        max(values) for values in zip(*(v for k, v in rates.items() if "lanes" not in k), strict=True)
    ]
    ratios = {k: [r / b for r, b in zip(v, best_loop, strict=True)] for k, v in rates.items()}
    table = Table(
        title=f"{reference}, {way.kind} ({way.method} {way.optimizer.name}), T = {STEPS}, {len(contexts)} contexts; "
        f"largest deviation of a gap before a jump {worst:.1e}",
        title_justify="left",
    )
    for column in ("what", "trial-steps / s", "times the best loop (all rounds)", "peak memory, MB"):
        table.add_column(column, justify="left" if column == "what" else "right")
    for name, values in rates.items():
        spread = f"{statistics.median(ratios[name]):.2f} ({min(ratios[name]):.2f} … {max(ratios[name]):.2f})"
        table.add_row(name, f"{statistics.median(values):.4g}", spread, f"{memory[name] / 1e6:.0f}")
    console.print(table)
    return {
        "speedup": max(statistics.median(v) for k, v in ratios.items() if "lanes" in k),
        "deviation": worst,
        "memory": memory,
        "weights": 4 * loaded.identity.parameters,
    }


def stacked_bytes_per_lane(reference: str, contexts: list[Context]) -> float:
    """What one more stacked copy takes under SGD, measured: the difference of four and two lanes."""
    loaded = load(reference, device="cuda" if torch.cuda.is_available() else "cpu")
    held = []
    for count in (2, 4):
        trials = trials_of(loaded, reference, DUAL, contexts[:1], count)
        peak = Peak(loaded.model.device)
        with peak.watch():
            train_lanes(loaded, trials, kind="stacked")
        held.append(peak.bytes)
    return (held[1] - held[0]) / 2


def device_name() -> str:
    """The device in words."""
    if torch.cuda.is_available():
        return f"{torch.cuda.get_device_name(0)}, torch {torch.__version__}"
    model = platform.processor() or platform.machine()
    for line in Path("/proc/cpuinfo").read_text().splitlines() if Path("/proc/cpuinfo").exists() else ():
        if line.startswith("model name"):
            model = line.split(":", 1)[1].strip()
            break
    return f"{model}, {torch.get_num_threads()} threads, torch {torch.__version__}"


def ceilings() -> str:
    """What this GPU gives at best, measured: bytes read and written by a copy, float32 operations of a product."""
    one, other = (torch.randn(1 << 29, device="cuda") for _ in range(2))
    left, right = (torch.randn(8192, 8192, device="cuda") for _ in range(2))
    for work in (copy := lambda: one.copy_(other), product := lambda: left @ right):
        seconds(work)
    moved = 2 * 4 * one.numel() / statistics.median(seconds(copy) for _ in range(9))
    done = 2 * 8192**3 / statistics.median(seconds(product) for _ in range(9))
    return f"a copy moves {moved / 1e12:.2f} TB/s, a float32 product does {done / 1e12:.1f} TFLOP/s"


def main() -> None:
    """Run everything; the last line is one JSON object."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--lanes", type=int, nargs="+", default=[1, 4, 16, 48])
    parser.add_argument("--only", choices=["smollm2", "zoo"])
    arguments = parser.parse_args()
    quickstart = list(load_sweep(ROOT / "sweeps/quickstart.yaml").contexts)
    zoo = list(load_contexts(ROOT / "sweeps/contexts/zoo.yaml"))[:4]
    on_gpu = torch.cuda.is_available()
    console.print(device_name(), ceilings() if on_gpu else "")
    results: dict[tuple[str, str], dict[str, Any]] = {}
    if arguments.only != "zoo":
        # Stacked copies of this model fill a CPU's memory, and it would be bound by moving them.
        for way in (DUAL, LORA_QV, STACKED) if on_gpu else (DUAL, LORA_QV):
            counts = [n for n in arguments.lanes if way is not STACKED or n <= STACKED_SMOLLM2]
            results[SMOLLM2, way.kind] = bench(SMOLLM2, way, quickstart, counts, arguments.rounds)
    if arguments.only != "smollm2":
        for model in (SMALLEST, LARGEST):
            for way in (DUAL, LORA, STACKED):
                counts = sorted({*arguments.lanes, MAX_LANES})
                results[model, way.kind] = bench(model, way, zoo, counts, max(5, arguments.rounds))
    summary: dict[str, Any] = {}
    if arguments.only != "zoo":
        dual = results[SMOLLM2, "dual"]
        most = max(arguments.lanes)
        taken = dual["weights"] + dual["memory"][f"{most} lanes"]
        stacked = most * stacked_bytes_per_lane(SMOLLM2, quickstart)
        console.print(
            f"{most} dual lanes with the weights: {taken / 1e9:.2f} GB; {most} stacked copies under SGD (weights, "
            f"gradients, activations; measured on 2 and 4): {stacked / 1e9:.1f} GB; {most} times the weights alone: "
            f"{most * dual['weights'] / 1e9:.1f} GB"
        )
        summary["smollm2_dual_speedup"] = round(dual["speedup"], 2)
        summary["smollm2_lora_speedup"] = round(results[SMOLLM2, "lora"]["speedup"], 2)
        summary[f"memory_ratio_{most}_dual"] = round(taken / stacked, 3)
    if arguments.only != "smollm2":
        summary["zoo_speedup"] = {
            kind: round(min(results[m, kind]["speedup"] for m in (SMALLEST, LARGEST)), 2)
            for kind in ("dual", "lora", "stacked")
        }
    summary["max_gap_deviation_before_jump"] = max(r["deviation"] for r in results.values())
    summary["device"] = device_name()
    print(json.dumps(summary))


if __name__ == "__main__":
    main()
