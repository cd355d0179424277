"""What is published works outside the clone: a wheel and a source distribution hold all that the commands need."""

from __future__ import annotations

import json
import os
import re
import subprocess
import tarfile
import tomllib
import zipfile
from pathlib import Path

import pytest

from phantom_dist import __version__
from tests.environments import python_of
from tests.packaging.wheels import built, environment_with

ROOT = Path(__file__).parents[2]
LARGEST = 9e6  # bytes; most of it are the weights of the zoo
CONTEXTS = """
- {id: c, text: "After abandoning his oldest friend, he spoke openly of his", target: " shame", competitor: " guilt"}
"""
SWEEP = """
name: outside
models: zoo:gpt2-a
contexts: contexts.yaml
learning_rates: {critical: {tolerance: 0.1}}
steps: 2
"""


@pytest.fixture(scope="module")
def dist(tmp_path_factory) -> Path:
    return built(ROOT, tmp_path_factory.mktemp("build"))


@pytest.fixture(scope="module")
def wheel(dist) -> Path:
    return dist / f"phantom_dist-{__version__}-py3-none-any.whl"


@pytest.fixture(scope="module")
def names(wheel) -> list[str]:
    with zipfile.ZipFile(wheel) as opened:
        return [info.filename for info in opened.infolist()]


def test_it_holds_what_the_package_reads_at_run_time(names):
    tracked = subprocess.run(
        ["git", "ls-files", "phantom_dist"], cwd=ROOT, check=True, capture_output=True, text=True
    ).stdout.split()
    assert set(tracked) <= set(names)
    for needed in (
        "law/shipped.json",
        "spec/sweep.schema.json",
        "contexts/near_synonyms.yaml",
        "reports/template.html",
        "models/zoo/weights/gpt2-a/model.safetensors",
        "py.typed",
    ):
        assert f"phantom_dist/{needed}" in names


def test_it_holds_nothing_else_and_is_small(wheel, names):
    extra = [name for name in names if not re.match(rf"phantom_dist(-{__version__}\.dist-info)?/", name)]
    assert extra == []
    assert not [name for name in names if re.search(r"__pycache__|\.pyc$|/tests?/|/runs/|\.orig$|~$", name)]
    print(f"{wheel.name}: {wheel.stat().st_size / 1e6:.1f} MB")
    assert wheel.stat().st_size < LARGEST


def test_the_source_distribution_holds_the_package_and_its_tests(dist):
    sdist = dist / f"phantom_dist-{__version__}.tar.gz"
    with tarfile.open(sdist) as opened:
        inside = {name.split("/", 1)[-1] for name in opened.getnames()}
    assert {"pyproject.toml", "README.md", "LICENSE", "phantom_dist/__init__.py"} <= inside
    assert not [name for name in inside if re.match(r"runs/|build/|dist/|\.venv|\.git/", name)]


def test_its_metadata_is_what_an_index_takes(dist, wheel):
    check = [str(python_of("packaging")), "-m", "twine", "check", "--strict", *map(str, dist.iterdir())]
    done = subprocess.run(check, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout
    assert done.stdout.count("PASSED") == 2
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    assert project["version"] == __version__
    with zipfile.ZipFile(wheel) as opened:
        metadata = opened.read(f"phantom_dist-{__version__}.dist-info/METADATA").decode()
    assert "License-Expression: Apache-2.0" in metadata
    assert "Description-Content-Type: text/markdown" in metadata


@pytest.mark.slow
def test_it_works_in_an_empty_environment(wheel, tmp_path):
    """From an empty folder, with the wheel as the only phantom_dist there is."""
    commands, empty = environment_with(tmp_path / "environment", wheel), tmp_path / "empty"
    empty.mkdir()
    (empty / "sweep.yaml").write_text(SWEEP)
    (empty / "contexts.yaml").write_text(CONTEXTS)
    environment = {k: v for k, v in os.environ.items() if not k.startswith(("PYTHON", "VIRTUAL_ENV"))}

    def call(*words: str) -> str:
        done = subprocess.run(
            [str(commands / words[0]), *words[1:]],
            cwd=empty,
            env=environment | {"OMP_NUM_THREADS": "1"},
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        return done.stdout

    where = call("python", "-c", "import phantom_dist; print(phantom_dist.__file__)").strip()
    assert Path(where).is_relative_to(tmp_path)
    assert json.loads(call("phantom-dist", "plan", "sweep.yaml", "--json"))["problems"] == 1
    run = ("phantom-dist", "run", "sweep.yaml", "--out", "out", "--executor", "inprocess", "--json")
    result = json.loads(call(*run))
    assert result["state"] == "complete"
    assert result["critical_rates"][0]["eta_c"] is not None
    assert call("phantom-dist", "report", "out", "--out", "page.html")
    assert (empty / "page.html").stat().st_size > 100_000
    predict = ("phantom-dist", "predict", "--model", "zoo:gpt2-a", "--contexts", "contexts.yaml", "--json")
    assert json.loads(call(*predict))["predictions"][0]["eta_c"] is not None
    doctor = json.loads(call("phantom-dist", "doctor", "--json"))
    assert {check["name"] for check in doctor["checks"]} >= {"python", "torch"}
