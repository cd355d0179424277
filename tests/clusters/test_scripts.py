"""Every shell script of the repository, by shellcheck."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]
SCRIPTS = [*sorted((ROOT / "clusters").glob("*.sh")), ROOT / ".ci" / "run"]


def shellcheck(*paths: Path) -> subprocess.CompletedProcess[str]:
    command = [Path(sys.executable).with_name("shellcheck"), *paths]
    return subprocess.run(command, capture_output=True, text=True)


def test_the_scripts_are_sound():
    assert {script.name for script in SCRIPTS} >= {"local.sh", "slurm.sh", "run"}
    done = shellcheck(*SCRIPTS)
    assert done.returncode == 0, done.stdout


def test_shellcheck_would_notice_a_bare_variable(tmp_path):
    (tmp_path / "bad.sh").write_text("#!/bin/bash\nrm -r $1/x\n")
    assert "SC2086" in shellcheck(tmp_path / "bad.sh").stdout
