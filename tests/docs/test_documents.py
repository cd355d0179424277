"""All documents are run: every block in order; and every command that stands within a sentence exists."""

from __future__ import annotations

import importlib.util
import re
import shlex
import shutil
import subprocess
from pathlib import Path

import pytest
from typer.main import get_command

from phantom_dist.cli.commands import app
from phantom_dist.core.errors import InputError
from phantom_dist.spec import from_yaml, load_contexts
from tests.docs.snippets import (
    DOCUMENTS,
    NOT_RUN_HERE,
    RESULTS,
    ROOT,
    Block,
    as_run_here,
    blocks,
    reason_not_to_run,
    run,
    run_python,
    shown,
    workplace,
)

RUN = tuple(
    d for d in DOCUMENTS if not d.startswith(RESULTS) and any(b.language != "text" for b in blocks(d))
)
FROM_NOTHING = ("README.md", "sweeps/TUTORIAL.md")
"""They make all that they use; the other documents use what `make quickstart` left in `runs/quickstart`."""

SHOWS_ITS_OUTPUT = "sweeps/TUTORIAL.md"
"""The text blocks elsewhere show no output, or that of a larger model."""

RUN_OR_READ = {"console", "sh", "python", "yaml", "text"}


@pytest.fixture(scope="module")
def quickstarted(tmp_path_factory) -> Path:
    """A checkout in which `make quickstart` was run."""
    folder = workplace(tmp_path_factory.mktemp("quickstarted") / "checkout")
    for command in as_run_here("make quickstart"):
        run(command, folder)
    return folder


@pytest.fixture
def checkout(document, tmp_path, request) -> Path:
    """A checkout as a document's reader has it."""
    if document in FROM_NOTHING:
        return workplace(tmp_path / "checkout")
    made = request.getfixturevalue("quickstarted")
    return Path(shutil.copytree(made, tmp_path / "checkout", symlinks=True))


@pytest.mark.slow
@pytest.mark.parametrize(
    "document", [pytest.param(d, marks=pytest.mark.ray if d == "README.md" else ()) for d in RUN]
)
def test_every_block_is_run(document, checkout):
    ran, left = [], []
    output = ""
    for block in blocks(document):
        where = f"{block.document}:{block.line}"
        assert block.language in RUN_OR_READ, f"{where}: a block without a language that is run or read"
        for command in block.commands:
            reason = reason_not_to_run(command)
            if reason:
                left.append(f"{where}: {command}: {reason}")
                continue
            for here in as_run_here(command):
                output = run(here, checkout)
                ran.append(f"{where}: {here}")
        match block.language:
            case "python" if reason_not_to_run(block.text):
                left.append(f"{where}: Python: {reason_not_to_run(block.text)}")
            case "python":
                run_python(block.text, checkout)
                ran.append(f"{where}: Python")
            case "yaml":
                read_yaml(block, checkout)
                ran.append(f"{where}: YAML")
            case "text" if document == SHOWS_ITS_OUTPUT:
                assert shown(block.text, output) == [], where
    assert ran or left
    print(f"\n{document}: {len(ran)} run")
    print(f"{document}: {len(left)} not run here", *left, sep="\n  ")


def read_yaml(block: Block, folder) -> None:
    """A block whose first line names a file becomes that file; one that doesn't must be a sweep or contexts."""
    name = re.match(r"# ([\w./-]+\.yaml)\n", block.text)
    if name:
        (folder / name[1]).write_text(block.text)
    elif block.text.startswith("- "):
        (folder / "contexts.yaml").write_text(block.text)
        assert load_contexts(folder / "contexts.yaml")
    else:
        assert from_yaml(block.text, folder=ROOT / "sweeps").methods


def test_what_is_not_run_is_still_written_somewhere():
    """A reason that no command needs any more is taken out."""
    commands = [c for d in RUN for b in blocks(d) for c in (b.commands or [b.text])]
    assert [start for start in NOT_RUN_HERE if not any(c.startswith(start) for c in commands)] == []


def inline(prefix: str) -> list[str]:
    """Commands in the running text and the tables of all documents, and in the blocks that are not run."""
    found = []
    for document in DOCUMENTS:
        text = re.sub(r"^```.*?^```$", "", (ROOT / document).read_text(), flags=re.DOTALL | re.M)
        found += re.findall(rf"`({prefix}[^`]*)`", text)
        if document.startswith(RESULTS):
            found += [c for b in blocks(document) for c in b.commands if re.match(prefix, c)]
    return sorted({" ".join(command.split()) for command in found})


@pytest.mark.parametrize("command", inline("phantom-dist "))
def test_commands_within_sentences_have_these_options(command):
    words = command.replace("[", " ").replace("]", " ").replace("|", " ").split()[1:]
    if words[0].startswith("--"):  # of the program itself
        assert words[0] in run("phantom-dist --help", ROOT)
        return
    command = get_command(app).commands[words[0]]
    command = getattr(command, "commands", {}).get(words[1] if len(words) > 1 else "", command)
    options = {name for parameter in command.params for name in parameter.opts} | {"--help"}
    assert {word for word in words if word.startswith("--")} <= options


@pytest.mark.parametrize("command", inline("make "))
def test_targets_within_sentences_exist(command):
    subprocess.run([*shlex.split(command), "--dry-run"], cwd=ROOT, check=True, capture_output=True)


@pytest.mark.parametrize("command", inline(r"(?:[A-Z_]+=\w+ )?(?:\.venv/bin/)?python -m "))
def test_modules_within_sentences_exist(command):
    words = shlex.split(command)
    module = words[words.index("-m") + 1]
    assert importlib.util.find_spec(module)
    assert all((ROOT / word).exists() for word in words if word.startswith("tests/"))


def test_every_block_of_the_results_is_a_command_that_exists():
    known = {
        c
        for prefix in ("phantom-dist ", "make ", r"(?:[A-Z_]+=\w+ )?\.venv/bin/python -m ")
        for c in inline(prefix)
    }
    for document in DOCUMENTS:
        if document.startswith(RESULTS):
            assert {c for b in blocks(document) for c in b.commands} <= known, document


def test_a_wrong_number_in_a_shown_table_would_be_noticed():
    output = " zoo  shame  0.00063359  2\n zoo  rage  none  0\n"
    assert shown("zoo shame 0.00064 2", output) == []
    assert shown("zoo shame 0.0007 2", output) == ["zoo shame 0.0007 2"]
    assert shown("zoo rage none", output) == ["zoo rage none"]


def test_a_broken_command_would_be_noticed(tmp_path):
    with pytest.raises(AssertionError, match="exit status 2"):
        run("phantom-dist plan x.yaml --jsn", tmp_path)
    with pytest.raises(InputError):
        read_yaml(Block("x", 1, "yaml", "models: 3\n"), tmp_path)
