"""The Dockerfile: linted by hadolint, and what can be exercised of it without an engine."""

from __future__ import annotations

import json
import re
import subprocess
import sys
import venv
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
TEXT = (ROOT / "Dockerfile").read_text()


def hadolint(file: Path) -> subprocess.CompletedProcess[str]:
    command = [Path(sys.executable).with_name("hadolint"), "--no-color", file]
    return subprocess.run(command, capture_output=True, text=True)


def test_hadolint_finds_nothing():
    done = hadolint(ROOT / "Dockerfile")
    assert done.returncode == 0, done.stdout


def test_hadolint_would_notice_an_image_without_a_version(tmp_path):
    (tmp_path / "Dockerfile").write_text("FROM python\nRUN cd /x\n")
    done = hadolint(tmp_path / "Dockerfile")
    assert done.returncode != 0
    assert "DL3006" in done.stdout


def test_both_images_run_without_root_and_say_how_they_are():
    runtime = TEXT.split(" AS runtime\n")[1]
    assert re.search(r"^USER 1000$", runtime, re.MULTILINE)
    assert "USER root" not in TEXT
    # doctor itself ends with 0, whatever it finds.
    (check,) = re.findall(r"^HEALTHCHECK .*CMD (\[.*\])$", runtime, re.MULTILINE)
    shell, flag, line = json.loads(check)
    for ok, status in ((True, 0), (False, 1)):
        said = json.dumps({"ok": ok, "checks": [{"name": "python", "ok": True}]})
        stubbed = line.replace("phantom-dist doctor --json", f"echo '{said}'")
        assert stubbed != line
        assert subprocess.run([shell, flag, stubbed], check=False).returncode == status
    assert re.findall(r"^FROM runtime AS (\w+)$", TEXT, re.MULTILINE) == ["cuda", "cpu"]


def test_no_secret_and_nothing_unpinned_gets_in():
    assert not re.search(r"(?i)(token|secret|password|api_key)\s*=", TEXT)
    for line in re.findall(r"pip install .*", TEXT):
        assert "--constraint constraints.txt" in line or "--require-hashes" in line, line
    copied = [words.split() for words in re.findall(r"^COPY (?!--from)(.*)$", TEXT, re.MULTILINE)]
    assert all(word != "." for words in copied for word in words[:-1]), "only what is named is copied"


@pytest.mark.slow
def test_its_install_steps_resolve_in_a_fresh_environment(tmp_path):
    """As far as it goes without an engine: pip resolves, in an empty environment, what the image would install."""
    venv.create(tmp_path / "venv", with_pip=True)
    pip = [tmp_path / "venv/bin/python", "-m", "pip", "install", "--dry-run", "--quiet"]
    steps = [
        re.sub(r"\$\{EXTRA_INDEX[^ ]*( \S+)?\} ?", "", line) for line in re.findall(r"pip install (.*)", TEXT)
    ]
    assert len(steps) == 3
    for step in steps:
        words = [word.strip("'") for word in step.split()]
        done = subprocess.run([*pip, *words], cwd=ROOT, capture_output=True, text=True, timeout=280)
        assert done.returncode == 0, f"{step}: {done.stderr[-1000:]}"
