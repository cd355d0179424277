"""The documents' fenced blocks, and what of them is run: commands in a shell, Python as a program, YAML as a file.

The tests run all blocks of a document in order, in one folder, as a reader would. What they replace stands here, once:

| in the document | when it is run | why |
|---|---|---|
| `sweeps/*.yaml` | files of that name with one tiny model, two contexts, a wide tolerance | minutes instead of hours |
| `gguf:smollm2-135m-instruct` after `--model` | `zoo:gpt2-a` | the same |
| `make quickstart` | the recipe's own commands, from the Makefile | the set-up is there already |
| `phantom-dist run` without `--address` | `--executor inprocess` beside it | Ray's start is tested elsewhere |
| `phantom-dist fit … --out FILE` | the shipped law, copied | a minute; `tests/campaign/test_law.py` fits |
| `.venv/bin/` | nothing: the programs of this environment | |

What needs a cluster or a cloud is in `NOT_RUN_HERE`, by its beginning, with the reason; the tests print and count it.
"""

from __future__ import annotations

import math
import os
import re
import shlex
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from tests import prepared

ROOT = Path(__file__).parents[2]

SHIPPED_LAW = ROOT / "phantom_dist" / "law" / "shipped.json"

FOLDERS = (".github", "clusters", "phantom_dist", "sweeps", "tests")

DOCUMENTS = tuple(
    sorted(
        str(path.relative_to(ROOT))
        for path in (*ROOT.glob("*.md"), *(p for folder in FOLDERS for p in (ROOT / folder).rglob("*.md")))
    )
)
"""Every document of the repository."""

RESULTS = "tests/benchmarks/results/"
"""Below it the blocks are benchmarks, which take minutes to hours: their commands must exist, and are not run here."""

NOT_RUN_HERE = {
    "make test": "this is a part of it",
    "make setup": "the set-up is there already",
    "kubectl": "no Kubernetes; the file is validated in tests/clusters",
    "export RAY_AUTH_TOKEN=$(kubectl": "no Kubernetes",
    "sbatch": "no Slurm in this test; tests/clusters/test_slurm.py sends the script to a real one",
    "tail -f phantom-dist-": "the log of the job above",
    "clusters/local.sh": "two raylets; tests/scheduling/test_joined_cluster.py starts them",
    "ray get-auth-token": "no cloud account; the files are validated in tests/clusters",
    "ray dashboard": "no cloud account",
    "pip install 'skypilot": "its own environment; tests/clusters/test_skypilot.py parses the file there",
    "export RAY_AUTH_TOKEN=$(python": "for SkyPilot's cloud",
    "sky launch": "no cloud account",
    "from phantom_dist.monitor": "it needs a training of its own; tests/monitor/test_readme.py runs it in one",
    "phantom-dist submit": "no cluster's head here; tests/scheduling/test_ray_job.py submits to a real one",
}

TINY = """
name: {name}
models: zoo:gpt2-a
contexts:
  - {{id: dread, text: "After the unfair tax, peter was filled with", target: " dread", competitor: " fear"}}
  - {{id: rage, text: "After the unfair tax, the king was filled with", target: " rage", competitor: " anger"}}
learning_rates: {{critical: {{tolerance: 0.1}}}}
steps: 4
"""


@dataclass(frozen=True)
class Block:
    """A fenced block: where it begins, its language, its text."""

    document: str
    line: int
    language: str
    text: str

    @property
    def commands(self) -> list[str]:
        """The commands of a block for the shell, comments left out."""
        if self.language not in ("console", "sh"):
            return []
        lines = [line.removeprefix("$ ") for line in self.text.splitlines()]
        return [line.split("  #")[0].strip() for line in lines if line.strip() and not line.startswith("#")]


def blocks(document: str) -> Iterator[Block]:
    """The fenced blocks of a document of the repository, in order."""
    text = (ROOT / document).read_text()
    for match in re.finditer(r"^```(\w*)\n(.*?)^```$", text, flags=re.DOTALL | re.MULTILINE):
        yield Block(document, text[: match.start()].count("\n") + 1, match[1], match[2])


def workplace(folder: Path) -> Path:
    """A folder that looks like a checkout to a reader's commands, with tiny sweeps."""
    (folder / "sweeps").mkdir(parents=True)
    (folder / "runs").mkdir()
    for file in (ROOT / "sweeps").glob("*.yaml"):
        (folder / "sweeps" / file.name).write_text(TINY.format(name=file.stem))
    (folder / "sweeps" / "contexts").symlink_to(ROOT / "sweeps" / "contexts")
    (folder / "sweeps" / "house-style").mkdir()
    (folder / "sweeps" / "house-style" / "lora.yaml").write_text(TINY.format(name="house-style-lora"))
    return folder


def reason_not_to_run(command: str) -> str | None:
    """Why a command is not run, or None."""
    return next((why for start, why in NOT_RUN_HERE.items() if command.startswith(start)), None)


def as_run_here(command: str) -> list[str]:
    """The commands that are run for a documented one; see the table above."""
    if command == "make quickstart":
        dry = subprocess.run(
            ["make", "--dry-run", "quickstart"], cwd=ROOT, capture_output=True, text=True, check=True
        )
        recipe = [line for line in dry.stdout.splitlines() if line.startswith(".venv/bin/phantom-dist")]
        assert recipe
        return [here for line in recipe for here in as_run_here(line)]
    command = command.replace(".venv/bin/", "").replace(
        "--model gguf:smollm2-135m-instruct", "--model zoo:gpt2-a"
    )
    program, action, *rest = [*shlex.split(command), ""]
    if (program, action) == ("phantom-dist", "fit"):
        return [f"cp {shlex.quote(str(SHIPPED_LAW))} {rest[rest.index('--out') + 1]}"]
    if action == "predict" and "--model" in rest and "--contexts" not in rest:
        command += " --contexts sweeps/contexts/zoo.yaml"
    if action in ("run", "resume") and not {"--address", "--executor"} & set(rest):
        command += " --executor inprocess"
    return [command]


def run(command: str, folder: Path) -> str:
    """Run a command in a shell with this environment's programs; its stdout."""
    done = subprocess.run(
        ["bash", "-euo", "pipefail", "-c", command],
        cwd=folder,
        env=environment(),
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, f"{command}: exit status {done.returncode}\n{done.stdout}\n{done.stderr}"
    return done.stdout


def run_python(text: str, folder: Path) -> None:
    """Run a snippet as a program of its own."""
    run(f"python -c {shlex.quote(text)}", folder)


def environment() -> dict[str, str]:
    """This environment's programs first, and this tree's package."""
    folders = map(str, (prepared.program().parent, Path(sys.executable).parent))
    return os.environ | {
        "PATH": os.pathsep.join([*folders, os.environ["PATH"]]),
        "PYTHONPATH": str(ROOT),
        "OMP_NUM_THREADS": "1",
        "COLUMNS": "200",
    }


def shown(expected: str, output: str) -> list[str]:
    """Lines that a document shows and the output lacks: words equal and in order, numbers within 2 %."""
    have = [line.split() for line in output.splitlines()]
    return [
        line
        for line in expected.splitlines()
        if not any(len(words) == len(line.split()) and all(map(_same, words, line.split())) for words in have)
    ]


def _same(have: str, want: str) -> bool:
    try:
        return math.isclose(float(have), float(want), rel_tol=0.02)
    except ValueError:
        return have == want
