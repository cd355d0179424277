"""Files that tools and forges read: they parse, and say what the project says elsewhere."""

from __future__ import annotations

import subprocess

import pytest
from ruamel.yaml import YAML

from phantom_dist import __version__
from tests.docs.snippets import ROOT
from tests.environments import python_of

FORMS = sorted((ROOT / ".github" / "ISSUE_TEMPLATE").glob("*.yml"))


def read(name: str) -> dict:
    return YAML(typ="safe", pure=True).load((ROOT / name).read_text())


def test_the_citation_is_valid_and_of_this_version():
    cffconvert = python_of("publishing").with_name("cffconvert")
    subprocess.run(
        [cffconvert, "--validate", "--infile", ROOT / "CITATION.cff"], check=True, capture_output=True
    )
    assert read("CITATION.cff")["version"] == __version__


def test_the_hooks_are_the_commands_of_make_check():
    dry = subprocess.run(
        ["make", "--dry-run", "check"], cwd=ROOT, capture_output=True, text=True, check=True
    ).stdout
    checks = {line.split()[0] for line in dry.splitlines() if line.startswith(".venv/bin/")} - {
        ".venv/bin/python"
    }
    (local,) = read(".pre-commit-config.yaml")["repos"]
    assert local["repo"] == "local"
    assert {hook["entry"].split()[0] for hook in local["hooks"]} == checks
    assert all(hook["language"] == "system" for hook in local["hooks"])


def test_the_workflow_runs_what_runs_by_hand():
    jobs = read(".github/workflows/ci.yml")["jobs"]
    commands = {
        name: [step["run"] for step in job["steps"] if "run" in step][-1] for name, job in jobs.items()
    }
    assert commands == {"run": ".ci/run", "lowest": "make lowest"}
    subprocess.run(["make", "--dry-run", "lowest"], cwd=ROOT, capture_output=True, check=True)


@pytest.mark.parametrize("form", FORMS, ids=lambda form: form.stem)
def test_issue_forms_have_what_a_forge_needs(form):
    if form.stem == "config":
        assert set(read(str(form))) <= {"blank_issues_enabled", "contact_links"}
        return
    asked = read(str(form))
    assert {"name", "description", "body"} <= set(asked)
    fields = [field for field in asked["body"] if field["type"] != "markdown"]
    assert all(field["type"] in {"input", "textarea", "dropdown", "checkboxes"} for field in fields)
    assert all(field["attributes"]["label"] for field in fields)
    ids = [field["id"] for field in fields]
    assert len(set(ids)) == len(ids)
