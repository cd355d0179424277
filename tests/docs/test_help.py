"""`--help` reads like a manual, costs nothing, and the tab key finishes words in bash, zsh and fish."""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys

import pytest
from typer.main import get_command

from phantom_dist.cli.commands import app
from tests.docs.snippets import ROOT, environment

COMMANDS = {
    f"{name} {below}".strip(): command
    for name, group in get_command(app).commands.items()
    for below, command in getattr(group, "commands", {"": group}).items()
}
SHELLS = ("bash", "zsh", "fish")


def phantom_dist(*words: str, **more: str) -> str:
    code = "import sys; sys.argv[0] = 'phantom-dist'; from phantom_dist.cli import main; main()"
    done = subprocess.run(
        [sys.executable, "-c", code, *words],
        cwd=ROOT,
        env=environment() | more,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_the_manual_names_groups_statuses_and_variables():
    shown = phantom_dist("--help")
    for words in (
        "Run a sweep",
        "Show results",
        "Publish results",
        "Predict without a sweep",
        "Exit status:",
        "Environment:",
    ):
        assert words in shown
    for variable in ("RAY_ADDRESS", "RAY_AUTH_TOKEN", "PHANTOM_DIST_CACHE", "HF_HOME"):
        assert variable in shown
    for status in (0, 1, 2, 130):
        assert re.search(rf"^\s*{status}  \w", shown, flags=re.MULTILINE)
    assert "$ phantom-dist run sweeps/quickstart.yaml --out runs/quickstart" in shown


@pytest.mark.parametrize("name", sorted(COMMANDS))
def test_every_command_has_one_line_of_purpose_and_an_example(name):
    command = COMMANDS[name]
    purpose = (command.help or "").split("\n\n")[0]
    assert purpose.endswith(".")
    assert len(purpose) <= 66, "it stands on one line of the list"
    options = {option for parameter in command.params for option in parameter.opts}
    examples = [line for line in (command.epilog or "").splitlines() if line.startswith("$ ")]
    assert examples
    for line in examples:
        program, *words = shlex.split(line.removeprefix("$ "))
        called, rest = words[: len(name.split())], words[len(name.split()) :]
        assert (program, " ".join(called)) == ("phantom-dist", name)
        assert {word for word in rest if word.startswith("--")} <= options
        assert all((ROOT / word).exists() for word in rest if word.startswith("sweeps/"))


def test_help_waits_for_nothing_heavy():
    """Neither help nor a press of the tab key imports what takes a second."""
    code = (
        "import sys\nfrom phantom_dist.cli import main\nsys.argv = ['phantom-dist', '--help']\ntry:\n    main()\n"
        "except SystemExit:\n    pass\nprint(*sorted(sys.modules), file=sys.stderr)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, env=environment(), capture_output=True, text=True, check=True
    )
    loaded = set(done.stderr.split())
    assert "phantom_dist.cli.commands" in loaded
    assert not loaded & {"torch", "ray", "pyarrow", "pydantic", "transformers", "optuna", "altair", "numpy"}


def offered(shell: str, line: str) -> str:
    """What a shell is told to offer after this line."""
    words = {
        "COMP_WORDS": line,
        "COMP_CWORD": str(len(line.split(" ")) - 1),
        "_TYPER_COMPLETE_ARGS": line,
        "_TYPER_COMPLETE_FISH_ACTION": "get-args",
    }
    return phantom_dist(_PHANTOM_DIST_COMPLETE=f"complete_{shell}", **words)


@pytest.mark.parametrize("shell", SHELLS)
def test_completion_scripts_are_what_the_shell_can_read(shell):
    script = phantom_dist(_PHANTOM_DIST_COMPLETE=f"source_{shell}")
    assert "phantom-dist" in script
    if shell == "bash":
        subprocess.run(["bash", "-n"], input=script, text=True, check=True)


@pytest.mark.parametrize("shell", SHELLS)
def test_commands_files_models_and_choices_are_completed(shell):
    assert "resume" in offered(shell, "phantom-dist res")
    assert "sweeps/quickstart.yaml" in offered(shell, "phantom-dist run sweeps/qu")
    zoo = offered(shell, "phantom-dist predict --model zoo:gpt").replace(
        "\\", ""
    )  # zsh wants its colons escaped
    assert "zoo:gpt2-a" in zoo
    assert "zoo:llama-a" not in zoo
    assert "inprocess" in offered(shell, "phantom-dist run x --executor in")


def test_install_completion_writes_where_the_shell_looks(tmp_path):
    phantom_dist(
        "--install-completion",
        "bash",
        HOME=str(tmp_path),
        SHELL="/bin/bash",
        _TYPER_COMPLETE_TEST_DISABLE_SHELL_DETECTION="1",
    )
    written = [file for file in tmp_path.rglob("*") if file.is_file() and "phantom" in file.read_text()]
    assert written


def test_bash_itself_completes(tmp_path):
    """The script in a real bash: the function that it defines, asked as bash would."""
    (tmp_path / "completion").write_text(phantom_dist(_PHANTOM_DIST_COMPLETE="source_bash"))
    program = tmp_path / "phantom-dist"
    program.write_text(
        f"#!{sys.executable}\nimport sys\nsys.argv[0] = 'phantom-dist'\nfrom phantom_dist.cli import main\nmain()\n"
    )
    program.chmod(0o755)
    ask = (
        f". {tmp_path}/completion; COMP_WORDS=(phantom-dist sta); COMP_CWORD=1; "
        "_phantom_dist_completion phantom-dist sta phantom-dist; echo ${COMPREPLY[@]}"
    )
    path = f"{tmp_path}{os.pathsep}{os.environ['PATH']}"
    done = subprocess.run(
        ["bash", "-c", ask], env=environment() | {"PATH": path}, capture_output=True, text=True, check=True
    )
    assert done.stdout.split() == ["status"]
