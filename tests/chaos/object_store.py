"""A run directory in an object store that fails now and then, and a driver that dies inside its uploads.

As a module it is the drivers' parent, `python -m tests.chaos.object_store URI KILLS SEED FOLDER`: each driver is a fork
of it, so it starts warm, and Arrow's S3 client, which survives no fork, is only ever made in the forks.
"""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
from collections import Counter
from pathlib import Path
from typing import Any

import torch

from phantom_dist.traces import Store
from tests.chaos.sweep import run_here
from tests.chaos.writes import killed_and_resumed
from tests.servers.s3 import CREDENTIALS, failing, s3_server

STEPS = ("start", "half", "end")
MOST_STEPS = 20
"""An attempt dies within so many steps of uploads; a whole run takes some hundred."""

FAULTY = 0.1
"""The share of requests that the store spoils."""


def run_in_store(folder: Path, kills: int, seed: int) -> tuple[Counter[str], dict[str, Any]]:
    """A run in a store that spoils a tenth of the requests, whose driver is killed inside uploads and resumed.

    Args:
        folder: an existing one; the run directory is copied to `folder/run` when the run is through.
        kills: how many; fewer where the run is through before.
        seed: of the moments and the faults.

    Returns:
        kills by the step of the upload that they happened in; what the store did (`requests`, `faults`).

    Raises:
        RuntimeError: the run ended in another way.
    """
    with s3_server() as bucket, failing(bucket, seed=seed, share=FAULTY) as (proxied, account):
        module = [sys.executable, "-m", "tests.chaos.object_store"]
        command = [*module, proxied.uri("run"), str(kills), str(seed), str(folder)]
        done = subprocess.run(command, env=os.environ | CREDENTIALS, capture_output=True, text=True)
        if done.returncode != 0:
            raise RuntimeError(f"the run in the store failed: {done.stderr}")
        copy = [sys.executable, "-c", COPY, bucket.uri("run"), str(folder / "run")]
        subprocess.run(copy, env=os.environ | CREDENTIALS, check=True)
        return Counter(json.loads(done.stdout)), account()


COPY = """
import sys
from phantom_dist.traces import Store
source, target = map(Store, sys.argv[1:])
for name in source.names():
    target.put(name, source.get(name))
"""


def dies_at(number: int, told: Path) -> None:
    """From now on, this process kills itself at its `number`-th step of an upload, and says in a file which it was."""
    put, count = Store.put, 0

    def step(name: str) -> bool:
        nonlocal count
        count += 1
        if count == number:
            told.write_text(name)
        return count == number

    def dying(self: Store, name: str, data: bytes) -> None:
        if step("start"):
            os.kill(os.getpid(), signal.SIGKILL)
        if step("half"):
            stream = self.filesystem.open_output_stream(self.path(name))
            stream.write(data[: len(data) // 2])
            stream.flush()
            os.kill(os.getpid(), signal.SIGKILL)
        put(self, name, data)
        if step("end"):
            os.kill(os.getpid(), signal.SIGKILL)

    Store.put = dying  # type: ignore[method-assign]


def main() -> None:
    """Kill and resume the run until it is through; print the kills by step as JSON."""
    uri, kills, seed, folder = sys.argv[1], int(sys.argv[2]), int(sys.argv[3]), Path(sys.argv[4])
    torch.set_num_threads(1)  # before the first fork: a thread pool doesn't survive one
    seen = killed_and_resumed(
        lambda: run_here(uri), dies_at, folder / "step", random.Random(seed), kills, MOST_STEPS
    )
    print(json.dumps(seen))


if __name__ == "__main__":
    main()
