"""`phantom-dist` as a process of its own that needn't import anything: it is forked from one that has.

Importing torch, transformers and peft takes five to eight seconds of a core, more than most commands of the tests do.
A template process imports them once for each process of the tests; `program()` is a script that has it fork and run a
command with the script's arguments, environment, folder and standard streams. All else is the real thing.

Not for commands that get signals (they would reach the script), nor for tests of what is imported when.
"""

from __future__ import annotations

import functools
import os
import subprocess
import sys
import tempfile
from pathlib import Path

HERE = Path(__file__).parent
ROOT = HERE.parents[1]


@functools.cache
def program() -> Path:
    """The script `phantom-dist` of this process's template, in a folder of its own."""
    folder = Path(tempfile.mkdtemp(prefix="phantom-dist-tests-"))
    socket, script = folder / "socket", folder / "phantom-dist"
    template = subprocess.Popen(
        [sys.executable, HERE / "template.py", socket],
        cwd=ROOT,
        env=os.environ | {"OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)},
        stdin=subprocess.PIPE,  # the template ends, and removes its folder, when this process does
        stdout=subprocess.PIPE,
    )
    assert template.stdout is not None
    assert template.stdout.readline() == b"ready\n"
    script.write_text(
        f"#!{sys.executable} -IS\n{(HERE / 'client.py').read_text().replace('SOCKET', str(socket))}"
    )
    script.chmod(0o755)
    return script


def call(*arguments: str | Path, before: str = "", **how) -> subprocess.CompletedProcess[str]:
    """Run `phantom-dist` with these arguments; `before`: Python to execute first; `how` as in `subprocess.run`."""
    command, environment = [program(), *map(str, arguments)], os.environ | {"PHANTOM_DIST_BEFORE": before}
    return subprocess.run(command, capture_output=True, text=True, check=False, env=environment, **how)
