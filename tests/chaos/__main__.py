"""`make chaos`: kill and stop everything, many times; the last line is one JSON object.

python -m tests.chaos [KILLS [SEED]]        300 kills unless told otherwise
"""

from __future__ import annotations

import json
import shutil
import sys
import tempfile
import time
from pathlib import Path

import pytest
import torch

from tests.chaos.explained import unexplained
from tests.chaos.hosts import Hosts
from tests.chaos.object_store import run_in_store
from tests.chaos.partition import cut_off
from tests.chaos.storm import Storm, Toll
from tests.chaos.sweep import Verdict, judge, run_here, sweep, train_here, training_sweep
from tests.chaos.writes import forked, kill_writes, on_full_disk, with_clock

IN_PROCESS_SHARE = 0.2
"""Of the kills, those in a run without Ray, which hit every step of a write in turn."""

STORE_SHARE = 0.05
"""Of the kills, those of a driver whose directory is in an object store that fails now and then."""

KILLS_OF_A_RUN = 10


class Chaos:
    """Scenarios one after another, and what is left after each."""

    def __init__(self, folder: Path, seed: int) -> None:
        self._folder, self._seed = folder, seed
        self._began = time.monotonic()
        self._verdicts: list[Verdict] = []
        self._scenarios = self._skipped = 0
        self._kills = self._in_writes = self._unexplained = 0
        self._toll = Toll()
        self.undisturbed, self.undisturbed_set = folder / "undisturbed", folder / "undisturbed-set"
        for run, out in ((run_here, self.undisturbed), (train_here, self.undisturbed_set)):
            if forked(lambda run=run, out=out: run(out)) != 0:
                raise RuntimeError("the undisturbed run failed")

    def say(self, text: str) -> None:
        """One line with the time since the start."""
        print(f"{time.monotonic() - self._began:7.0f} s  {text}", flush=True)

    def _judge(self, name: str, out: Path, undisturbed: Path | None = None) -> None:
        verdict = judge(out, undisturbed or self.undisturbed)
        self._verdicts.append(verdict)
        self.say(f"{name}: {verdict}")

    def in_process(self, kills: int) -> None:
        """Kills at every step of a write, a clock that jumps, a disk that is full."""
        self._scenarios += 4
        folder = self._folder / "writes"
        folder.mkdir()
        steps = kill_writes(
            run_here, folder, kills - kills // 2, self._seed, lambda out: self._judge("kills in writes", out)
        )
        steps += kill_writes(
            train_here,
            self._made(folder / "set"),
            kills // 2,
            self._seed,
            lambda out: self._judge("kills in writes of a training set", out, self.undisturbed_set),
        )
        self._kills += steps.total()
        self._in_writes += steps.total()
        clock = self._folder / "clock"
        if with_clock(run_here, clock, self._seed) != 0:
            raise RuntimeError("the run whose clock jumps failed")
        self._judge("a clock that jumps", clock)
        disk = self._folder / "disk"
        full, after = on_full_disk(run_here, disk, room=300_000)
        if full == 0 or after != 0:
            raise RuntimeError(f"on the full disk a run ended with status {full}, afterwards with {after}")
        self._judge("a full disk", disk)

    def _made(self, folder: Path) -> Path:
        folder.mkdir()
        return folder

    def object_store(self, kills: int) -> None:
        """A driver killed inside uploads to a store that fails now and then, where an S3 server can be installed."""
        folder = self._folder / "store"
        folder.mkdir()
        try:
            steps, said = run_in_store(folder, kills, self._seed)
        except pytest.skip.Exception as skipped:
            self._skipped += 1
            self.say(f"SKIPPED: an object store: {skipped}")
            return
        self._scenarios += 1
        self._kills += steps.total()
        self._in_writes += steps.total()
        self._judge(
            f"an object store with faults {said['faults']} in {said['requests']} requests", folder / "run"
        )

    def storms(self, kills: int) -> None:
        """Runs on Ray, until there were so many kills."""
        number = 0
        while self._kills < kills:
            number += 1
            self._scenarios += 1
            folder = self._folder / f"storm-{number}"
            folder.mkdir()
            of_set = number % 3 == 0
            (folder / "sweep.yaml").write_text(json.dumps(training_sweep() if of_set else sweep()))
            storm = Storm(folder, folder / "sweep.yaml", nodes=2, seed=self._seed + number)
            out = storm.through("run", min(KILLS_OF_A_RUN, kills - self._kills), self.say)
            self._judge(f"storm {number}", out, self.undisturbed_set if of_set else None)
            open_questions = unexplained(out, storm.toll.hits)
            self._unexplained += len(open_questions)
            for question in open_questions:
                self.say(f"the timeline doesn't explain: {question}")
            if open_questions:
                kept = Path(f"build/chaos-seed-{self._seed}-storm-{number}-events.jsonl")
                kept.parent.mkdir(exist_ok=True)
                shutil.copy(out / "events.jsonl", kept)
                self.say(f"its events: {kept}")
            self._kills += storm.toll.kills
            self._in_writes += storm.toll.steps.total()
            self._toll.kinds += storm.toll.kinds
            self._toll.steps += storm.toll.steps
            self._toll.starts += storm.toll.starts
            shutil.rmtree(folder)

    def hosts(self) -> None:
        """A host that is cut off and comes back, where there can be hosts."""
        try:
            hosts = Hosts(("head", "node-0", "node-1"))
        except OSError as error:
            self._skipped += 1
            self.say(f"SKIPPED: hosts of network namespaces can't be made here: {error}")
            return
        self._scenarios += 1
        folder = self._folder / "hosts"
        folder.mkdir()
        (folder / "sweep.yaml").write_text(json.dumps(sweep()))
        try:
            self._judge("a host cut off", cut_off(hosts, folder, self.say))
        finally:
            hosts.close()

    def summary(self) -> dict[str, object]:
        """What happened and what is wrong."""
        self.say(f"on Ray, {self._toll.starts} starts of a driver: {dict(self._toll.kinds)}")
        self.say(f"workers that died inside a write, by step: {dict(self._toll.steps)}")
        return {
            "kills": self._kills,
            "kills_during_a_write": self._in_writes,
            "scenarios": self._scenarios,
            "skipped": self._skipped,
            "lost": sum(v.lost for v in self._verdicts),
            "duplicated": sum(v.duplicated for v in self._verdicts),
            "torn": sum(v.torn for v in self._verdicts),
            "unexplained": self._unexplained,
            "digest_equal": all(v.digest_equal for v in self._verdicts),
        }


def main() -> None:
    """Run all scenarios in a temporary folder."""
    kills, seed = (*map(int, sys.argv[1:]), *(300, 0)[len(sys.argv) - 1 :])
    torch.set_num_threads(1)  # before the first fork: a thread pool doesn't survive one
    with tempfile.TemporaryDirectory(prefix="chaos-") as folder:
        chaos = Chaos(Path(folder), seed)
        chaos.in_process(int(IN_PROCESS_SHARE * kills))
        chaos.object_store(int(STORE_SHARE * kills))
        chaos.hosts()
        chaos.storms(kills)
        print(json.dumps(chaos.summary()), flush=True)


if __name__ == "__main__":
    main()
