"""`--verbose` and `--quiet`: what reaches stderr; with `--json` stdout stays one JSON object."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest

from phantom_dist.cli.commands import app
from phantom_dist.spec import load_contexts
from tests import prepared

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def sweep(tmp_path_factory) -> Path:
    file = tmp_path_factory.mktemp("sweep") / "sweep.json"
    contexts = [c.model_dump() for c in load_contexts(ROOT / "sweeps/contexts/zoo.yaml")[:1]]
    what = {"name": "tiny", "models": ["zoo:gpt2-a"], "contexts": contexts, "methods": ["full"]}
    file.write_text(json.dumps(what | {"optimizers": ["sgd"], "learning_rates": [1e-3], "steps": [2]}))
    return file


def run(sweep: Path, out: Path, *words: str) -> tuple[dict, str]:
    command = ["run", str(sweep), "--out", str(out), "--executor", "inprocess", "--json", *words]
    done = prepared.call(*command, cwd=ROOT)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout), done.stderr


def test_verbose_logs_every_event_with_its_time_and_quiet_nothing(sweep, tmp_path):
    answer, said = run(sweep, tmp_path / "verbose", "--verbose")
    assert answer["trials"]["done"] == 1
    for what in (
        r"run started on \S+, process \d+",
        r"prepared: planning",
        r"in-process is ready",
        r"in-process: probe \w+ \(1 problem of zoo:gpt2-a\), attempt 1, lease \d+ started",
        r"in-process: batch \w+ \(1 trial of zoo:gpt2-a\), attempt 1, lease \d+ done: .*training [\d.]+ s",
        r"loading zoo:gpt2-a took [\d.]+ s",
        r"run ended: complete",
    ):
        assert re.search(rf"^\d\d:\d\d:\d\d {what}", said, flags=re.MULTILINE), what
    answer, said = run(sweep, tmp_path / "quiet", "-q")
    assert answer["trials"]["done"] == 1
    assert said == ""


def test_they_exclude_each_other():
    done = subprocess.run(
        [sys.executable, "-m", "phantom_dist", "status", "x", "-q", "-v"],
        capture_output=True,
        text=True,
        cwd=ROOT,
    )
    assert done.returncode == 2
    assert "exclude each other" in " ".join(done.stderr.split())


def test_every_command_takes_both():
    from typer.main import get_command

    groups = get_command(app).commands.values()
    commands = [c for group in groups for c in getattr(group, "commands", {"": group}).values()]
    assert len(commands) > 10
    for command in commands:
        options = {option for parameter in command.params for option in parameter.opts}
        assert {"--verbose", "--quiet"} <= options, command.name
