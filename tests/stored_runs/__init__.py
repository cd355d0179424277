"""Run directories as earlier versions wrote them, kept as they are: whatever is read today must read them too.

`v1`: zoo:gpt2-a, full SGD and LoRA AdamW, T = 3, a pair that is trained and one that is refused; by version 0.1.0.
"""

from __future__ import annotations

import tarfile
from pathlib import Path

HERE = Path(__file__).parent
VERSIONS = ("v1",)


def unpacked(version: str, into: Path) -> Path:
    """The run directory of a schema version, unpacked below a folder."""
    with tarfile.open(HERE / f"{version}.tar.xz") as packed:
        packed.extractall(into, filter="data")
    return into / version
