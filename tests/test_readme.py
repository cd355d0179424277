"""What the README shows is true: its commands, files, links, snippets and names."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

import phantom_dist
from phantom_dist.core.quantities import BY_NAME
from phantom_dist.spec import from_yaml, load_contexts

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text()


def snippets(language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", README, flags=re.DOTALL)


def test_the_first_two_commands_are_targets_of_the_makefile():
    commands = [line[2:].split("#")[0].split() for line in snippets("console")[0].splitlines()]
    assert commands == [["make", "quickstart"], ["make", "test"]]
    for _, target in commands:
        subprocess.run(["make", "--dry-run", target], cwd=ROOT, check=True, capture_output=True)


def test_the_sweep_and_the_contexts_parse(tmp_path):
    sweep, contexts = snippets("yaml")
    (tmp_path / "contexts.yaml").write_text(contexts)
    assert len(load_contexts(tmp_path / "contexts.yaml")) == 2
    spec = from_yaml(sweep, folder=ROOT / "sweeps")
    assert len(spec.methods) == 2


@pytest.mark.parametrize("target", sorted(set(re.findall(r"\]\(((?!http)[^)#]+)\)", README))))
def test_links_lead_somewhere(target):
    assert (ROOT / target).exists()


def test_files_that_are_named_exist():
    for name in set(re.findall(r"`((?:sweeps|clusters|phantom_dist)/[\w./-]+)`", README)):
        assert (ROOT / name).exists(), name


def test_columns_that_are_named_exist():
    table = README.split("| symbol | column | formula |")[1].split("\n\n")[0]
    named = re.findall(
        r"`(\w+)`", "\n".join(line.split("|")[2] for line in table.splitlines() if line.startswith("|"))
    )
    assert len(named) >= 9
    assert set(named) - {"eta_c"} <= set(BY_NAME)


def test_commands_that_are_named_exist():
    named = set(re.findall(r"`phantom-dist (\w+)", README))
    assert {"plan", "run", "resume", "status", "report", "doctor"} <= named
    shown = subprocess.run(
        [sys.executable, "-m", "phantom_dist", "--help"], capture_output=True, text=True, check=True
    )
    assert all(command in shown.stdout for command in named)


def test_every_public_name_is_there_and_documented():
    for name in phantom_dist.__all__:
        assert getattr(phantom_dist, name) is not None
        assert name == "__version__" or getattr(phantom_dist, name).__doc__
    with pytest.raises(AttributeError, match="no attribute 'runn'"):
        phantom_dist.runn  # noqa: B018
