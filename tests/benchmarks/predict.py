"""What one prediction costs on SmolLM2-135M: seconds and trial-steps a context, after loading.

    python -m tests.benchmarks.predict [CONTEXTS]      (3 contexts by default: about three minutes)

The model is loaded once; one context before is not counted. The last line is one JSON object.
"""

from __future__ import annotations

import json
import statistics
import sys
import time

from phantom_dist.contexts import SHIPPED
from phantom_dist.core.trial import Lora, Optimizer, Problem
from phantom_dist.engines import kept_memory
from phantom_dist.engines.path.probe import probe_path
from phantom_dist.law.file import read_law
from phantom_dist.law.law import Law
from phantom_dist.law.law_input import law_input
from phantom_dist.models.load import LoadedModel, load
from phantom_dist.records import probe_row
from phantom_dist.spec import load_contexts

MODEL = "gguf:smollm2-135m-instruct"
CLASSES = (("full", "sgd"), ("full", "adamw"), ("lora", "adamw"))
STEPS = (8, 32)


def main(count: int) -> None:
    """A line for each class and T, and JSON at the end."""
    law, loaded = read_law(), load(MODEL)
    with kept_memory.kept():  # as in `predict` and in a worker
        measure(law, loaded, count)


def measure(law: Law, loaded: LoadedModel, count: int) -> None:
    """The same on a loaded model."""
    contexts = load_contexts(SHIPPED)[: count + 1]
    results = []
    for method, optimizer in CLASSES:
        for steps in STEPS:
            seconds, costs = [], []
            for context in contexts:
                problem = Problem(
                    model=MODEL,
                    context=context,
                    method="lora" if method == "lora" else "full",
                    lora=Lora() if method == "lora" else None,
                    optimizer=Optimizer(name="sgd" if optimizer == "sgd" else "adamw"),
                    steps=steps,
                )
                started = time.perf_counter()
                probed = probe_path(loaded, problem)
                said = law.predict(law_input(probe_row(probed), problem))
                seconds.append(time.perf_counter() - started)
                costs.append(probed.trial_steps)
                assert said.eta_c is not None, said.reason
            counted = seconds[1:]
            entry = {
                "class": f"{method} {optimizer}",
                "steps": steps,
                "seconds": statistics.median(counted),
                "most_seconds": max(counted),
                "trial_steps": max(costs),
            }
            print(
                f"{entry['class']:11} T = {steps:3}: {entry['seconds']:5.1f} s a context "
                f"(most {entry['most_seconds']:.1f}), {entry['trial_steps']:.3g} trial-steps"
            )
            results.append(entry)
    print(json.dumps(results))


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 3)
