"""A model that was described before is described without torch, until one of its files changes."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from phantom_dist.core.errors import InputError
from phantom_dist.models import kept_metadata, zoo
from phantom_dist.models.description import describe, is_ready

ROOT = Path(__file__).parents[2]
HEAVY = ("torch", "transformers", "peft", "ray")


@pytest.fixture
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("PHANTOM_DIST_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


@pytest.fixture
def folder(tmp_path, cache):
    return Path(shutil.copytree(zoo.folder("llama-a"), tmp_path / "model"))


def in_a_new_process(code: str) -> list[str]:
    """The heavy libraries that are imported at the end of this code."""
    report = f"{code}\nimport sys, json; print(json.dumps([m for m in {HEAVY!r} if m in sys.modules]))"
    done = subprocess.run(
        [sys.executable, "-c", report], check=True, capture_output=True, text=True, cwd=ROOT
    )
    return json.loads(done.stdout.splitlines()[-1])


def test_the_second_description_equals_the_first_and_needs_no_torch(folder):
    texts = ["mary was filled with", "john"]
    assert not is_ready(str(folder))
    first = describe(str(folder), texts=texts)
    assert is_ready(str(folder))
    assert describe(str(folder), texts=texts) == first
    assert first.tokens.are_counted
    imported = in_a_new_process(
        f"from phantom_dist.models.description import describe\nassert describe({str(folder)!r}, texts={texts!r}).title"
    )
    assert imported == []


def edited(folder: Path) -> None:
    config = json.loads((folder / "config.json").read_text())
    layers = config["num_hidden_layers"] - 1
    (folder / "config.json").write_text(json.dumps(config | {"num_hidden_layers": layers}))


@pytest.mark.parametrize(
    "change",
    [
        edited,
        lambda folder: os.utime(folder / "model.safetensors", (1, 1)),
        lambda folder: (folder / "new.txt").write_text(""),
        lambda folder: (folder / "tokenizer.json").rename(folder / "other.json"),
    ],
    ids=["configuration", "touched weights", "new file", "renamed file"],
)
def test_a_changed_folder_is_described_anew(folder, change):
    first = describe(str(folder))
    change(folder)
    assert kept_metadata.read(str(folder)) is None
    if change is edited:
        assert describe(str(folder)).layers == first.layers - 1


def test_a_model_that_is_gone_is_missed_and_a_damaged_entry_is_ignored(folder, cache):
    described = describe(str(folder))
    for entry in (cache / "metadata").iterdir():
        entry.write_text(entry.read_text()[:50])
    assert describe(str(folder)) == described
    shutil.rmtree(folder)
    with pytest.raises(InputError):
        describe(str(folder))


def test_a_relative_path_means_another_folder_elsewhere(folder, tmp_path, monkeypatch):
    other = tmp_path / "elsewhere"
    shutil.copytree(zoo.folder("gpt2-a"), other / "model")
    monkeypatch.chdir(tmp_path)
    here = describe("./model")
    monkeypatch.chdir(other)
    assert describe("./model").architecture != here.architecture


def test_the_oldest_descriptions_go(folder, cache, monkeypatch):
    monkeypatch.setattr(kept_metadata, "MOST", 2)
    for name in ("gpt2-a", "llama-b", "opt-a"):
        describe(f"zoo:{name}")
    assert [is_ready(f"zoo:{name}") for name in ("gpt2-a", "llama-b", "opt-a")] == [False, True, True]


def test_with_permissions_nothing_is_kept(folder):
    describe(str(folder), allow_pickle=True)
    assert not is_ready(str(folder))


def test_without_a_writable_cache_a_model_is_described_each_time(folder, monkeypatch):
    monkeypatch.setenv("PHANTOM_DIST_CACHE", "/dev/null/nowhere")
    assert describe(str(folder)) == describe(str(folder))


def test_a_plan_and_a_driver_import_no_torch(cache):
    """Of models that were described before: then a plan takes less than a second, and workers start beside a driver."""
    plan = "import phantom_dist\nphantom_dist.plan('sweeps/zoo.yaml').to_json()"
    first, second = in_a_new_process(plan), in_a_new_process(plan)
    assert "torch" in first
    assert second == []
    driver = "import phantom_dist.campaign.execution, phantom_dist.scheduling.ray_executor"
    assert in_a_new_process(driver) == ["ray"]
