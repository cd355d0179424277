"""Promises of SECURITY.md that no other test holds: files are data, names stay inside, Ray asks for its token."""

from __future__ import annotations

import json
import os
import pickle
import subprocess
import sys
from pathlib import Path

import pytest

import phantom_dist
from phantom_dist.core.errors import InputError, StoreError
from phantom_dist.law.file import read_law
from phantom_dist.spec import from_yaml
from phantom_dist.traces import RunDirectory, Store, directory_and_sweeps

pytestmark = pytest.mark.ray

OUTSIDE = ["../x", "a/../../x", "/etc/x", "a//x", "..", ".", "", "a/./x", "x\0y", "../run-2/x"]


class Bomb:
    """Unpickling it makes a file."""

    def __init__(self, mark: Path) -> None:
        self.mark = mark

    def __reduce__(self):
        return (Path.touch, (self.mark,))


@pytest.fixture
def bomb(tmp_path) -> tuple[bytes, Path]:
    """A pickle, and the file that is there once somebody has loaded it."""
    mark = tmp_path / "loaded"
    data = pickle.dumps(Bomb(mark))
    pickle.loads(data)
    assert mark.exists(), "the bomb works"
    mark.unlink()
    return data, mark


@pytest.mark.parametrize("name", OUTSIDE)
def test_no_name_leads_out_of_the_directory(name, tmp_path):
    store = Store(tmp_path / "run")
    for use in (lambda: store.put(name, b"1"), lambda: store.get(name), lambda: store.delete(name)):
        with pytest.raises(StoreError, match="is not the name of a file in it"):
            use()
    assert list(tmp_path.rglob("*")) == []


@pytest.mark.parametrize(
    "model", ["../../x", "/etc/passwd", "..", "%2e%2e/x", "x\0y", "a=b/c", "gguf:../x.gguf"]
)
def test_no_model_name_leads_out_of_the_traces(model, tmp_path):
    store = Store(tmp_path / "run")
    RunDirectory(store).write_batch("0" * 16, [], {model: []})
    made = sorted(path.relative_to(tmp_path).as_posix() for path in tmp_path.rglob("*.parquet"))
    assert [path.count("/") for path in made] == [3, 2], made
    assert [path.split("/")[:2] for path in made] == [["run", "traces"], ["run", "trials"]]


@pytest.mark.parametrize("name", ["../x", "a/b", "/etc/x", "%2e%2e", "x\0y", ".."])
def test_a_sweeps_name_and_its_contexts_ids_are_no_paths(name):
    context = {"id": "c", "text": "He spoke of his", "target": " shame", "competitor": " guilt"}
    sweep = {"name": "s", "models": "zoo:gpt2-a", "contexts": [context], "learning_rates": [1e-3]}
    for wrong in (sweep | {"name": name}, sweep | {"contexts": [context | {"id": name}]}):
        with pytest.raises(InputError):
            phantom_dist.plan(wrong)


def test_a_stored_sweep_names_no_file_of_ours(tmp_path):
    """Its contexts' file would be read here, and what it holds could show in a message."""
    secret = tmp_path / "secret.yaml"
    secret.write_text("password: hunter2\n")
    for text in ("../secret.yaml", str(secret)):
        folder = tmp_path / "run"
        folder.mkdir(exist_ok=True)
        (folder / "plan.parquet").touch()
        (folder / "sweep.yaml").write_text(f"name: s\nmodels: zoo:gpt2-a\ncontexts: {text}\n")
        for read in (
            phantom_dist.status,
            directory_and_sweeps,
            lambda it: phantom_dist.open_run(it).studies(),
        ):
            with pytest.raises(InputError, match="a stored sweep contains its contexts") as error:
                read(folder)
            assert "hunter2" not in str(error.value)


def test_files_of_strangers_are_data(bomb, tmp_path):
    data, mark = bomb
    law = tmp_path / "law.json"
    law.write_bytes(data)
    with pytest.raises((InputError, UnicodeDecodeError)):
        read_law(law)
    sweep = tmp_path / "sweep.yaml"
    sweep.write_bytes(data)
    with pytest.raises(InputError):
        phantom_dist.plan(sweep)
    run = Store(tmp_path / "run")
    for name in ("plan.parquet", "trials/x.parquet", "state.json"):
        run.put(name, data)
    run.put("sweep.yaml", b"name: x\n")
    directory = RunDirectory(run)
    with pytest.raises(StoreError, match="damaged or foreign"):
        directory.trials()
    with pytest.raises(InputError):
        phantom_dist.status(tmp_path / "run")
    directory.read_state()
    assert not mark.exists()


@pytest.mark.parametrize(
    "tag", ["!!python/object/apply:os.system ['true']", "!!python/name:os.system", "!x {}"]
)
def test_a_sweep_file_makes_no_objects(tag):
    with pytest.raises(InputError):
        from_yaml(f"name: {tag}\nmodels: zoo:gpt2-a\n")


STARTED_HERE = """
import json, os, subprocess, sys, ray
from phantom_dist.scheduling.ray_cluster import RayCluster
RayCluster("local").connect()
address = ray.get_runtime_context().gcs_address
code = f"import ray; ray.init(address='{address}'); print(ray.cluster_resources())"
def join(**more):
    command = [sys.executable, "-c", code]
    return subprocess.run(command, env=os.environ | more, capture_output=True, timeout=90).returncode
print(json.dumps([join(), join(RAY_AUTH_TOKEN="0" * 64), join(RAY_AUTH_MODE="disabled")]))
ray.shutdown()
"""


@pytest.mark.slow
def test_a_ray_that_is_started_here_refuses_whoever_lacks_the_token(tmp_path):
    environment = {name: value for name, value in os.environ.items() if not name.startswith("RAY_")}
    environment |= {"HOME": str(tmp_path), "RAY_USAGE_STATS_ENABLED": "0"}
    done = subprocess.run(
        [sys.executable, "-c", STARTED_HERE], env=environment, capture_output=True, text=True
    )
    with_token, wrong_token, without = json.loads(done.stdout.splitlines()[-1])
    assert with_token == 0, done.stderr
    assert wrong_token != 0
    assert without != 0
