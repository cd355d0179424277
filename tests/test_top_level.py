"""The top level of the repository: few names, pinned versions, and set-up that names no package index."""

from __future__ import annotations

import re
import subprocess
import tomllib
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).parents[1]

FIXED = {"phantom_dist", "clusters", "sweeps", "tests", "Dockerfile", "pyproject.toml", "README.md"}
EXPECTED_BY_TOOLS = {
    "Makefile",
    "constraints.txt",
    "constraints-model.txt",
    "constraints-gemma.txt",
    "LICENSE",
    "CONTRIBUTING.md",
    "CHANGELOG.md",
    "SECURITY.md",
    "CITATION.cff",
    ".pre-commit-config.yaml",
    ".ci",
    ".github",
    ".gitignore",
    ".dockerignore",
}
MADE_HERE = {
    ".git",
    ".venv",
    ".mypy_cache",
    ".ruff_cache",
    ".pytest_cache",
    ".hypothesis",
    ".import_linter_cache",
    ".vscode",
    ".idea",
    "runs",
    "build",
    "dist",
}
SET_UP = [
    "Makefile",
    "constraints.txt",
    "constraints-model.txt",
    "constraints-gemma.txt",
    "pyproject.toml",
    ".ci/run",
    "Dockerfile",
]


def pins() -> dict[str, str]:
    lines = (ROOT / "constraints.txt").read_text().splitlines()
    pinned = [line.split("==") for line in lines if line and not line.startswith("#")]
    return {canonicalize_name(name): version for name, version in pinned}


def test_the_top_level_holds_the_fixed_names_and_what_tools_expect() -> None:
    names = {path.name for path in ROOT.iterdir()}
    assert names >= FIXED | EXPECTED_BY_TOOLS
    assert names <= FIXED | EXPECTED_BY_TOOLS | MADE_HERE


def test_every_dependency_is_pinned_to_a_version_in_its_range() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    extras = project["optional-dependencies"]
    requirements = [
        Requirement(text) for text in [*project["dependencies"], *extras["dev"], *extras["deepspeed"]]
    ]
    pinned = pins()
    for requirement in requirements:
        if requirement.name == project["name"]:
            continue
        version = pinned[canonicalize_name(requirement.name)]
        assert version in requirement.specifier, f"{requirement} against {version}"


def test_torch_is_pinned_so_that_a_cpu_build_fits() -> None:
    assert pins()["torch"] == "2.13.0"


@pytest.mark.parametrize("name", SET_UP)
def test_set_up_names_no_package_index(name: str) -> None:
    text = (ROOT / name).read_text()
    assert not re.search(r"https?://|(?<!extra-)index-url|find-links|trusted-host|\+cpu|\+cu\d", text)


def test_make_lists_its_targets() -> None:
    listed = subprocess.run(["make", "help"], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    targets = {line.split()[1] for line in listed.splitlines()}
    assert targets >= {"quickstart", "test", "check", "zoo"}


@pytest.mark.parametrize("script", [".ci/run", "clusters/local.sh"])
def test_scripts_parse_and_can_be_started(script: str) -> None:
    assert (ROOT / script).stat().st_mode & 0o111
    subprocess.run(["bash", "-n", script], cwd=ROOT, check=True)
