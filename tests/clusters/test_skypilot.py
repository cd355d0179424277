"""The SkyPilot file, read by SkyPilot itself."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from tests.environments import python_of

FILE = Path(__file__).parents[2] / "clusters" / "skypilot.yaml"
READ = """
import sys
import sky
from sky.utils import yaml_utils
config = yaml_utils.read_yaml(sys.argv[1])
task = sky.Task.from_yaml_config(config, env_overrides={"OUT": "s3://bucket/run"},
                                 secrets_overrides={"RAY_AUTH_TOKEN": "secret"})
print(task.num_nodes, sorted(task.secrets), all(r.use_spot and not r.ports for r in task.resources))
"""


def read(file: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run([python_of("skypilot"), "-c", READ, file], capture_output=True, text=True)


@pytest.mark.slow
def test_skypilot_takes_the_file(tmp_path):
    done = read(FILE)
    assert done.returncode == 0, done.stderr[-2000:]
    assert done.stdout.split("\n")[-2] == "2 ['RAY_AUTH_TOKEN'] True"
    broken = tmp_path / "broken.yaml"
    broken.write_text(FILE.read_text().replace("use_spot", "use_spots"))
    assert "use_spots" in read(broken).stderr


def test_its_commands_are_sound_shell(tmp_path):
    """`run` and `setup` are scripts in a string; shellcheck reads them as such."""
    content = yaml.safe_load(FILE.read_text())
    for part in ("setup", "run"):
        (tmp_path / part).write_text("#!/bin/bash\n" + content[part])
        command = [Path(sys.executable).with_name("shellcheck"), tmp_path / part]
        done = subprocess.run(command, capture_output=True, text=True)
        assert done.returncode == 0, done.stdout
    assert "RAY_AUTH_MODE=token" in content["run"].split("ray start")[0]
