"""The README is short, and what it shows is true: its first commands, its table, the public names."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

import pytest

import phantom_dist
from phantom_dist.spec import expand, load

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text()
MOST_BYTES = 12_000


def snippets(language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", README, flags=re.DOTALL)


def test_it_is_short():
    assert len(README.encode()) <= MOST_BYTES


def test_the_first_two_commands_are_targets_of_the_makefile():
    assert README.index("```") == README.index("```console")
    commands = [line[2:].split("#")[0].split() for line in snippets("console")[0].splitlines()]
    assert commands == [["make", "quickstart"], ["make", "test"]]
    for _, target in commands:
        subprocess.run(["make", "--dry-run", target], cwd=ROOT, check=True, capture_output=True)


def test_the_table_has_a_line_for_every_problem_of_the_quickstart():
    lines = [line.split() for line in snippets("text")[0].splitlines()]
    shown = {(words[0], " ".join(words[4:6])) for words in lines if len(words) > 6 and words[2] == "/"}
    problems = expand(load(ROOT / "sweeps" / "quickstart.yaml"))
    assert shown - {("context", "method T")} == {
        (problem.context.id, f"{problem.method} {problem.optimizer.name}") for problem in problems
    }


def test_every_public_name_is_there_and_documented():
    for name in phantom_dist.__all__:
        assert getattr(phantom_dist, name) is not None
        assert name == "__version__" or getattr(phantom_dist, name).__doc__
    with pytest.raises(AttributeError, match="no attribute 'runn'"):
        phantom_dist.runn  # noqa: B018
