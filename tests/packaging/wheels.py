"""Wheels of a source tree, built as a publisher would, and environments in which they are all there is of it."""

from __future__ import annotations

import shutil
import subprocess
import sys
import sysconfig
from pathlib import Path

from tests.environments import python_of

NOT_SOURCE = shutil.ignore_patterns("__pycache__", ".*", "build", "dist", "runs", "*.egg-info")


def built(source: Path, out: Path, *kinds: str) -> Path:
    """Build a copy of a source tree into an empty folder: `--sdist`, `--wheel`; both, the wheel from the sdist."""
    copy = shutil.copytree(source, out / "source", ignore=NOT_SOURCE)
    command = [
        python_of("packaging"),
        "-m",
        "build",
        "--no-isolation",
        *kinds,
        "--outdir",
        out / "dist",
        copy,
    ]
    done = subprocess.run([str(word) for word in command], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-2000:]
    return out / "dist"


def installed_into(folder: Path, wheel: Path) -> Path:
    """Install a wheel, and nothing that it needs, into a folder for PYTHONPATH."""
    install = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--target", folder, wheel]
    subprocess.run([str(word) for word in install], check=True, capture_output=True)
    return folder


def environment_with(folder: Path, wheel: Path) -> Path:
    """A virtual environment with the wheel installed, and for what it needs the packages of this one; its `bin`.

    This environment's packages are listed in a .pth file. What is installed editable here is not: such a package is
    reached through a .pth file of its own, and those count only in an environment's own folder.
    """
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", folder], check=True, capture_output=True)
    into = [sys.executable, "-m", "pip", "--python", folder / "bin" / "python", "install"]
    install = [*into, "--quiet", "--no-deps", wheel]
    subprocess.run([str(word) for word in install], check=True, capture_output=True)
    (packages,) = folder.glob("lib/python*/site-packages")
    (packages / "what-it-needs.pth").write_text(sysconfig.get_path("purelib") + "\n")
    return folder / "bin"
