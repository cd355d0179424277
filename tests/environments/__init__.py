"""Virtual environments for tools that don't go with the package's own pins, made once and kept under build/.

Each has a file of pins here. The clouds' own libraries want another python-dateutil than the one that is tested with
the package, the validators of archives another jsonschema, and SkyPilot brings a hundred packages that nothing else
needs.
"""

from __future__ import annotations

import hashlib
import subprocess
import sys
from pathlib import Path

import pytest
from filelock import FileLock

HERE = Path(__file__).parent
BUILD = HERE.parents[1] / "build" / "environments"


def python_of(name: str) -> Path:
    """The interpreter of the environment that `NAME.txt` pins; the test is skipped where it can't be installed."""
    pins = HERE / f"{name}.txt"
    folder = BUILD / f"{name}-{hashlib.sha256(pins.read_bytes()).hexdigest()[:12]}"
    python, complete = folder / "bin" / "python", folder / ".complete"
    BUILD.mkdir(parents=True, exist_ok=True)
    with FileLock(f"{folder}.lock"):  # tests run side by side
        if not complete.exists():
            try:
                _install(folder, pins)
            except (subprocess.SubprocessError, OSError) as error:
                reason = getattr(error, "stderr", None) or str(error)
                pytest.skip(f"the environment {name} can't be installed here: {str(reason).strip()[-300:]}")
            complete.touch()
    return python


def _install(folder: Path, pins: Path) -> None:
    """With this environment's pip, and without compiling what is never imported: half the time of a venv of its own."""
    subprocess.run(
        [sys.executable, "-m", "venv", "--clear", "--without-pip", folder], check=True, capture_output=True
    )
    into = [sys.executable, "-m", "pip", "--python", folder / "bin" / "python", "install"]
    subprocess.run(
        [*into, "--quiet", "--no-deps", "--no-compile", "--requirement", pins],
        check=True,
        capture_output=True,
        text=True,
        timeout=500,
    )


def names() -> list[str]:
    """Every environment that has a file of pins here."""
    return sorted(pins.stem for pins in HERE.glob("*.txt"))
