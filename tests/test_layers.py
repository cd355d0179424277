"""The import contracts hold, and each of them would notice a module that breaks it."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]


def lint_imports(root: Path) -> subprocess.CompletedProcess[str]:
    command = [str(Path(sys.executable).with_name("lint-imports")), "--no-cache", "--no-logo"]
    environment = os.environ | {"PYTHONPATH": str(root)}
    return subprocess.run(command, cwd=root, env=environment, capture_output=True, text=True, check=False)


@pytest.fixture(scope="module")
def copy(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The package's modules and the contracts, in a folder where a test may break them."""
    root = tmp_path_factory.mktemp("layers")
    keep_python = shutil.ignore_patterns("__pycache__", "*.safetensors", "*.json")
    shutil.copytree(ROOT / "phantom_dist", root / "phantom_dist", ignore=keep_python)
    shutil.copy(ROOT / "pyproject.toml", root)
    return root


def test_the_contracts_hold() -> None:
    result = lint_imports(ROOT)
    assert result.returncode == 0, result.stdout


@pytest.mark.parametrize(
    ("module", "line", "contract"),
    [
        ("core/intruder.py", "import phantom_dist.spec", "imports only go down"),
        ("models/intruder.py", "import phantom_dist.traces", "imports only go down"),
        ("engines/intruder.py", "import phantom_dist.scheduling", "imports only go down"),
        ("engines/intruder.py", "import phantom_dist.monitor", "imports only go down"),
        ("intruder.py", "", "imports only go down"),
        ("spec/intruder.py", "import torch", "core and spec speak without torch, Ray or Arrow"),
        ("scheduling/ledger.py", "import torch", "scheduling decides without torch, Ray or Arrow"),
        ("refinement/intruder.py", "import torch", "tables, searches and pages don't compute on tensors"),
        ("engines/intruder.py", "import ray", "only scheduling imports ray"),
        ("engines/intruder.py", "import deepspeed", "only the engines' DeepSpeed package imports deepspeed"),
        ("engines/intruder.py", "import optuna", "only refinement and law import optuna"),
        ("instruments/intruder.py", "import pyarrow", "only traces and archive import pyarrow"),
    ],
)
def test_each_contract_notices_an_intruder(copy: Path, module: str, line: str, contract: str) -> None:
    path = copy / "phantom_dist" / module
    before = path.read_text() if path.exists() else None
    path.write_text(f"{line}\n{(before or '').replace('from __future__ import annotations', '')}")
    try:
        result = lint_imports(copy)
    finally:
        path.unlink() if before is None else path.write_text(before)
    assert result.returncode == 1
    assert f"{contract} BROKEN" in " ".join(result.stdout.split())
