"""Real runs of a zoo model, and the archive that they make."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

import phantom_dist
from phantom_dist.spec import load_contexts

CONTEXTS = load_contexts(Path(__file__).parents[2] / "sweeps/contexts/zoo.yaml")


def sweep(name: str, rates: Any, contexts: Sequence[Any] | None = None) -> dict[str, Any]:
    return {
        "name": name,
        "models": ["zoo:gpt2-a"],
        "contexts": [c.model_dump() for c in contexts or CONTEXTS[:3]],
        "methods": [
            {"full": {"optimizers": ["sgd"]}},
            {"lora": {"rank": 4, "alpha": 8, "optimizers": ["adamw"]}},
        ],
        "learning_rates": rates,
        "steps": [8],
    }


@pytest.fixture(scope="session")
def runs(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """Searches under both methods; rates up to where training leaves the finite numbers; a pair that is refused."""
    folder = tmp_path_factory.mktemp("runs")
    known = CONTEXTS[0].model_copy(
        update={"target": CONTEXTS[0].competitor, "competitor": CONTEXTS[0].target}
    )
    sweeps = (
        sweep("tiny", {"critical": {"tolerance": 0.01}}),
        sweep("wild", [0.03, 0.3, 3.0, 3000.0]),
        sweep("refused", {"critical": {"tolerance": 0.01}}, [known]),
    )
    for asked in sweeps:
        phantom_dist.run(asked, folder / asked["name"], executor="inprocess")
    return [folder / asked["name"] for asked in sweeps]


@pytest.fixture(scope="session")
def packed(runs: list[Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """All of them as one archive. Not to be changed: `archive` is a copy."""
    out = tmp_path_factory.mktemp("archives") / "packed"
    phantom_dist.archive_pack(runs, out, authors=["Group of the tests"])
    return out


@pytest.fixture
def archive(packed: Path, tmp_path: Path) -> Path:
    """A copy that a test may damage."""
    return Path(shutil.copytree(packed, tmp_path / "archive"))
