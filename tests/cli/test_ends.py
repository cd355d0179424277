"""How commands end: what they say when they are interrupted, that they end in silence, and the version."""

from __future__ import annotations

import json
import os
import resource
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from tests import prepared
from tests.stored_runs import unpacked

ROOT = Path(__file__).parents[2]
ENVIRONMENT = os.environ | {"OMP_NUM_THREADS": "1"}

INTERRUPTED = """
import importlib
def interrupt(*arguments, **how):
    raise KeyboardInterrupt
module = importlib.import_module({module!r})
assert hasattr(module, {name!r}), "{module} has no {name}"
setattr(module, {name!r}, interrupt)
"""


def interrupted(where: str, *words: str) -> tuple[str, dict[str, str]]:
    """What a command says on stderr and stdout that is interrupted where it calls this function."""
    module, name = where.split(":")
    done = prepared.call(*words, "--json", before=INTERRUPTED.format(module=module, name=name), cwd=ROOT)
    assert done.returncode == 130, done.stderr
    assert "Traceback" not in done.stderr
    return done.stderr.splitlines()[-1], json.loads(done.stdout)


@pytest.mark.parametrize(
    ("where", "words", "says"),
    [
        ("phantom_dist.campaign.preview:plan", "plan x.yaml", "interrupted"),
        ("phantom_dist.reports:report", "report x", "interrupted; no page was written"),
        ("phantom_dist.archive:archive_pack", "archive pack x --out y", "interrupted; nothing was written"),
        ("phantom_dist.archive:archive_verify", "archive verify x", "interrupted"),
        ("phantom_dist.campaign.status:status", "status x", "interrupted"),
        ("phantom_dist.calibration.fit:fit", "fit --out law.json", "the paths probed so far are not kept"),
        ("phantom_dist.calibration.predict:load", "predict --model zoo:gpt2-a", "with `--out FILE` each is"),
        ("phantom_dist.machine:doctor", "doctor", "interrupted"),
    ],
)
def test_an_interrupted_command_advises_nothing_that_cannot_help(where, words, says):
    """There is no directory that `resume` could take."""
    line, said = interrupted(where, *words.split())
    assert line == f"phantom-dist: {said['error']}"
    assert says in said["error"]
    assert "resume" not in line


def test_a_run_says_whether_there_is_something_to_resume(tmp_path):
    sweep = tmp_path / "s.yaml"
    context = '{id: c, text: "He spoke openly of his", target: " shame", competitor: " guilt"}'
    sweep.write_text(f"models: zoo:gpt2-a\ncontexts: [{context}]\nlearning_rates: [1e-3]\nsteps: 2\n")
    out = tmp_path / "a run"
    words = ("run", str(sweep), "--out", str(out), "--executor", "inprocess")
    line, _ = interrupted("phantom_dist.campaign.execution:plan_run", *words)
    assert line == "phantom-dist: interrupted before anything was run; nothing is stored"
    assert not out.exists()
    line, _ = interrupted("phantom_dist.campaign.execution:start_workers", *words)
    assert line.endswith(f"what was stored is kept: continue with `phantom-dist resume '{out}'`")
    assert prepared.call("resume", out, "--executor", "inprocess").returncode == 0


def test_a_command_that_is_interrupted_while_it_is_loaded_ends_as_the_others_do():
    code = (
        "import sys, importlib.abc\n"
        "class Slow(importlib.abc.MetaPathFinder):\n"
        "    def find_spec(self, name, path, target=None):\n"
        "        if name == 'phantom_dist.machine':\n"
        "            raise KeyboardInterrupt\n"
        "sys.meta_path.insert(0, Slow())\n"
        "from phantom_dist.cli import main\nsys.argv = ['phantom-dist', 'doctor', '--json']\nmain()\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=ENVIRONMENT)
    assert done.returncode == 130
    assert done.stderr == "phantom-dist: interrupted before the command began\n"
    assert json.loads(done.stdout) == {"error": "interrupted before the command began"}


def call(*words: str | Path, **how) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "phantom_dist", *map(str, words)],
        capture_output=True,
        text=True,
        env=ENVIRONMENT,
        **how,
    )


def test_archive_commands_end_in_silence(tmp_path):
    """Well, and badly: DuckDB prints a line for each of its objects that Python never freed."""
    run = unpacked("v1", tmp_path)
    packed = call("archive", "pack", run, "--out", tmp_path / "packed")
    assert packed.returncode == 0, packed.stderr
    sound = call("archive", "verify", tmp_path / "packed")
    assert sound.returncode == 0, sound.stderr
    shutil.copytree(tmp_path / "packed", tmp_path / "broken")
    (tmp_path / "broken" / "README.md").write_text("changed")
    broken = call("archive", "verify", tmp_path / "broken")
    taken = call("archive", "pack", run, "--out", tmp_path / "packed")
    assert (broken.returncode, taken.returncode) == (1, 2)
    shutil.copytree(run, tmp_path / "damaged")
    next((tmp_path / "damaged" / "trials").glob("*.parquet")).write_bytes(b"PAR1")
    damaged = call("archive", "pack", tmp_path / "damaged", "--out", tmp_path / "none")
    assert damaged.returncode == 1
    assert damaged.stderr.splitlines()[-1].startswith(
        f"phantom-dist: archive pack: {tmp_path}/damaged: a damaged or"
    )
    for done in (packed, sound, broken, taken, damaged):
        assert "nanobind" not in done.stderr
        assert "leaked" not in done.stderr
        lines = [line for line in done.stderr.splitlines() if not line.endswith("left")]
        assert all(line.startswith("phantom-dist: ") for line in lines), lines
    code = f"import phantom_dist; phantom_dist.archive_verify({str(tmp_path / 'packed')!r})"
    quiet = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=ENVIRONMENT)
    assert quiet.stderr == ""


def test_the_version(tmp_path):
    stated = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"]
    call("--version")  # compiles what was changed
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    done = call("--version", cwd=tmp_path)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    took = (
        after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    )  # whatever else this machine does
    assert (done.returncode, done.stdout, done.stderr) == (0, f"phantom-dist {stated}\n", "")
    assert took < 1.0, "nothing heavy is loaded for it"
    script = Path(sys.executable).with_name("phantom-dist")
    if script.exists():
        done = subprocess.run([script, "--version"], capture_output=True, text=True, env=ENVIRONMENT)
        assert done.stdout == f"phantom-dist {stated}\n"
