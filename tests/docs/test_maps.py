"""Maps and tables that could drift from the code: layers, packages' files, commands, keys, columns, base classes."""

from __future__ import annotations

import ast
import json
import re
import tomllib
from pathlib import Path

import pytest
from typer.main import get_command

import phantom_dist
from phantom_dist.cli.commands import app
from phantom_dist.core import plugins
from phantom_dist.core.outcome import Outcome
from phantom_dist.core.quantities import BY_NAME
from phantom_dist.models import zoo
from phantom_dist.spec import SweepSpec
from tests.docs.snippets import ROOT

PACKAGE = ROOT / "phantom_dist"

WITHOUT_MAP = {"engines/lanes/leaves", "models/zoo", "reports/figures", "spec/recipes"}
"""Packages whose docstring has no map: one leaf, one figure or one recipe a file; the zoo has a README."""


def rows(document: str, head: str) -> list[list[str]]:
    """The cells of the table with this head in a document."""
    text = (ROOT / document).read_text()
    assert text.count(f"{head}\n|-") == 1, f"{document}: {head}"
    table = text.split(f"{head}\n")[1].split("\n\n")[0].splitlines()[1:]
    return [[cell.strip() for cell in re.split(r"(?<!\\)\|", line.strip("|"))] for line in table]


def coded(cell: str) -> list[str]:
    """What stands between backticks in a cell."""
    return re.findall(r"`([^`]+)`", cell)


def layers() -> list[set[str]]:
    """The packages of each layer, top to bottom, as import-linter has them."""
    contracts = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["importlinter"]["contracts"]
    stated = next(c for c in contracts if c["type"] == "layers")["layers"]
    return [set(re.findall(r"\w+", layer)) for layer in stated if layer != "__main__"]


# -- phantom_dist/README.md: the architecture --------------------------------------------------------------------------


def drawn(text: str) -> list[set[str]]:
    """A drawing of the layers as sets of names."""
    return [set(re.findall(r"\w+", line)) for line in text.strip().splitlines()]


def test_the_layers_are_those_that_import_linter_checks():
    (block,) = re.findall(r"```text\n(.*?)```", (PACKAGE / "README.md").read_text(), flags=re.DOTALL)
    assert drawn(block) == layers()
    (block,) = re.findall(
        r"\n\n((?: {4}[\w |]+\n)+)", (phantom_dist.__doc__ or "").split("map of the layers")[1]
    )
    assert drawn(block) == layers()


def test_every_package_has_its_line_in_the_order_of_the_layers():
    named = [
        name
        for row in rows("phantom_dist/README.md", "| package | what it knows | more |")
        for name in coded(row[0])
    ]
    depth = {name: number for number, layer in enumerate(layers()) for name in layer}
    assert sorted(named) == sorted(depth)
    assert [depth[name] for name in named] == sorted(depth.values())


def test_every_extension_point_is_where_it_is_said_to_be():
    table = rows(
        "phantom_dist/README.md", "| derive from | in | registered in | entry point | conformance suite |"
    )
    groups = []
    for derived, place, registry, group, suite in table:
        (name,), (file,) = coded(derived), coded(place)
        classes = [
            n.name for n in ast.walk(ast.parse((PACKAGE / file).read_text())) if isinstance(n, ast.ClassDef)
        ]
        assert name in classes, f"{file} has no class {name}"
        match coded(registry):
            case [listed, where] if where.endswith(".py"):
                assert re.search(rf"^(def |class )?{listed}\b", (PACKAGE / where).read_text(), flags=re.M), (
                    where
                )
            case [where] if where.endswith(".py"):
                assert name in (PACKAGE / where).read_text(), where
        groups += coded(group)
        (tests,) = coded(suite)
        assert (ROOT / tests).is_file()
    assert sorted(groups) == sorted(plugins.GROUPS)


# -- the packages' own maps --------------------------------------------------------------------------------------------

PACKAGES = sorted(
    str(init.parent.relative_to(PACKAGE)) for init in PACKAGE.rglob("__init__.py") if init.parent != PACKAGE
)


def docstring(package: str) -> str:
    return ast.get_docstring(ast.parse((PACKAGE / package / "__init__.py").read_text())) or ""


def modules(package: str) -> set[str]:
    """A package's modules and packages, as its map names them."""
    folder = PACKAGE / package
    below = {f"{init.parent.name}/" for init in folder.glob("*/__init__.py")}
    return {file.stem for file in folder.glob("*.py")} - {"__init__", "__main__"} | below


@pytest.mark.parametrize("package", [p for p in PACKAGES if p not in WITHOUT_MAP])
def test_a_packages_map_names_every_file_and_no_other(package):
    lines = [line.strip("|").split("|") for line in docstring(package).splitlines() if line.startswith("|")]
    head = next(n for n, cells in enumerate(lines) if "file" in map(str.strip, cells))
    column = [cell.strip() for cell in lines[head]].index("file")
    assert {name for line in lines[head + 2 :] for name in coded(line[column])} == modules(package)


def test_packages_without_a_map_have_none():
    assert set(PACKAGES) >= WITHOUT_MAP
    assert [p for p in WITHOUT_MAP if "| file |" in docstring(p)] == []


# -- what users read ---------------------------------------------------------------------------------------------------


def test_the_table_of_commands_has_them_all():
    table = rows("sweeps/README.md", "| command | does |")
    named = [coded(row[0])[0].split() for row in table]
    commands = {
        f"{name} {below}".strip()
        for name, group in get_command(app).commands.items()
        for below in getattr(group, "commands", {"": None})
    }
    assert sorted(" ".join(words[1:3] if words[1] == "archive" else words[1:2]) for words in named) == sorted(
        commands
    )


def test_the_table_of_keys_has_every_key_of_a_sweep_file_in_order():
    table = rows("sweeps/README.md", "| key | is | default |")
    assert [coded(row[0])[0] for row in table] == list(SweepSpec.model_fields)


def test_every_shipped_sweep_has_its_line():
    named = [name for row in rows("sweeps/README.md", "| file | asks |") for name in coded(row[0])]
    shipped = (file for file in (ROOT / "sweeps").rglob("*.yaml") if file.parent.name != "contexts")
    assert sorted(named) == sorted(str(file.relative_to(ROOT)) for file in shipped)


def test_every_file_of_clusters_has_its_line():
    named = [
        n
        for row in rows("clusters/README.md", "| file | tests validate it with | really run |")
        for n in coded(row[0])
    ]
    assert sorted(named) == sorted(
        ["Dockerfile", *(f.name for f in (ROOT / "clusters").iterdir() if f.suffix in (".yaml", ".sh"))]
    )


def test_columns_that_are_named_exist():
    named = {
        n
        for row in rows("phantom_dist/instruments/README.md", "| symbol | column | formula |")
        for n in coded(row[1])
    }
    assert len(named) >= 9
    assert named - {"eta_c"} <= set(BY_NAME)


def test_outcomes_stand_in_the_order_in_which_they_are_tested():
    table = rows("phantom_dist/instruments/README.md", "| outcome | condition |")
    assert [coded(row[0])[0] for row in table] == [outcome.value for outcome in Outcome if outcome.trained]


def test_the_zoo_has_a_line_for_every_model():
    head = "| model | family | parameters | width × layers | tied | norm | positions |"
    table = rows("phantom_dist/models/zoo/README.md", head)
    families = {
        name: json.loads((zoo.folder(name) / "config.json").read_text())["model_type"] for name in zoo.names()
    }
    assert {row[0]: row[1] for row in table} == families


def test_every_benchmark_and_every_result_is_listed():
    folder = ROOT / "tests" / "benchmarks"
    table = rows("tests/benchmarks/README.md", "| command | measures | takes, on 2 cores | last results |")
    text = (folder / "README.md").read_text()
    run = " ".join(coded(row[0])[0] for row in table) + (ROOT / "Makefile").read_text()
    modules = {f"tests.benchmarks.{file.stem}" for file in folder.glob("*.py")} | {
        "tests.benchmarks.peers",
        "tests.chaos",
    }
    assert {name for name in modules if not re.search(rf"{re.escape(name)}\b", run)} == set()
    assert {Path(f).name for f in re.findall(r"results/[\w.-]+\.md", text)} == {
        f.name for f in folder.glob("results/*.md")
    }
