"""The memory model against resident memory (a GPU's: allocated memory), measured in processes of their own."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

MEASURE = """
import json, sys, threading, time
import psutil, torch
from phantom_dist.core.measurement import Trial
from phantom_dist.engines.lanes.engine import LanesEngine
from tests.engines.problems import CONTEXTS, DEVICE, load, problem
from phantom_dist.engines.probe import probe
from phantom_dist.engines.lanes.support import kinds_of
from phantom_dist.engines.lanes.footprint import lane_bytes

torch.set_num_threads(1)
model, method, optimizer = sys.argv[1:]
loaded = load(model)
asked = problem(method, optimizer, context=list(CONTEXTS.values())[0], steps=8).model_copy(update={"model": model})
measured = probe(loaded, asked)
kind, tokens = kinds_of(asked)[0], len(measured.tokens.prompt)
engine, predicted = LanesEngine(ways=(kind,)), lane_bytes(kind, asked, loaded.size, tokens)
trials = [Trial(measured=measured, learning_rate=1e-4 * (lane + 1)) for lane in range(48)]
list(engine.run(loaded, trials[:1]))
if DEVICE == "cuda":
    before = torch.cuda.memory_allocated()
    torch.cuda.reset_peak_memory_stats()
    list(engine.run(loaded, trials))
    peak = torch.cuda.max_memory_allocated()
    print(json.dumps([(peak - before) / 48, predicted]))
    sys.exit()
process, peak, done = psutil.Process(), 0, False
def sample():
    global peak
    while not done:
        peak = max(peak, process.memory_info().rss)
        time.sleep(0.001)
before = process.memory_info().rss
sampler = threading.Thread(target=sample)
sampler.start()
list(engine.run(loaded, trials))
done = True
sampler.join()
print(json.dumps([(peak - before) / 48, predicted]))
"""


@pytest.mark.parametrize(
    ("model", "method", "optimizer"),
    [
        ("zoo:llama-b", "full", "adamw"),
        ("zoo:llama-b", "full", "sgd"),
        ("zoo:gpt2-b", "full", "adamw"),
        ("zoo:smollm3-a", "full", "sgd"),
    ],
)
def test_the_prediction_holds_what_a_lane_takes(model, method, optimizer):
    """Between 1/1.25 and 3 times the measured memory: enough, but not wasteful."""
    command = [sys.executable, "-c", MEASURE, model, method, optimizer]
    result = subprocess.run(command, capture_output=True, text=True, check=True)
    measured, predicted = json.loads(result.stdout.splitlines()[-1])
    print(f"{model} {method} {optimizer}: measured {measured / 1e6:.3f} MB, predicted {predicted / 1e6:.3f}")
    assert measured / 1.15 <= predicted <= 3 * measured
