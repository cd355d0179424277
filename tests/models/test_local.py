from __future__ import annotations

from pathlib import Path

import pytest

from . import tiny
from .conformance import ModelAdapterConformance


class TestTiedFolder(ModelAdapterConformance):
    @pytest.fixture
    def reference(self, tmp_path: Path) -> str:
        return str(tiny.write_folder(tmp_path / "tiny-gpt2"))


class TestUntiedShardedFolder(ModelAdapterConformance):
    @pytest.fixture
    def reference(self, tmp_path: Path) -> str:
        folder = tiny.write_folder(tmp_path / "tiny-llama", tiny.llama(), max_shard_size="40KB")
        assert len(list(folder.glob("*.safetensors"))) > 1
        return str(folder)


class TestFolderWithAPaddedReadout(ModelAdapterConformance):
    """As in Pythia, the readout matrix has more rows than the tokenizer has tokens."""

    @pytest.fixture
    def reference(self, tmp_path: Path) -> str:
        return str(tiny.write_folder(tmp_path / "tiny-pythia", tiny.gpt_neox()))
