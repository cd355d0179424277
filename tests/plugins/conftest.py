"""The example package, built and installed as another laboratory would."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest

from phantom_dist.engines.lanes import leaves
from tests.packaging.wheels import built, installed_into

EXAMPLE = Path(__file__).parent / "example_package"


@pytest.fixture(scope="session")
def example(tmp_path_factory) -> Path:
    """The folder that holds the installed example."""
    folder = tmp_path_factory.mktemp("mylab")
    (wheel,) = built(EXAMPLE, folder / "build", "--wheel").iterdir()
    return installed_into(folder / "site", wheel)


@pytest.fixture
def mylab(example, tmp_path_factory, monkeypatch) -> Path:
    """The example can be found by this process and its children."""
    monkeypatch.setenv("MYLAB_CACHE", str(tmp_path_factory.mktemp("cache")))
    on_path(monkeypatch, example)
    yield example
    forget()


@pytest.fixture
def package(tmp_path, monkeypatch):
    """Make a package with some entry points, as it lies where it is installed."""

    def make(name: str, version: str = "1.0", *, code: str = "", **points: str) -> None:
        site = tmp_path / f"site-{name}"
        metadata = site / f"{name}-{version}.dist-info"
        metadata.mkdir(parents=True)
        (metadata / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n")
        sections = [f"[phantom_dist.{group}]\n{line}\n" for group, line in points.items()]
        (metadata / "entry_points.txt").write_text("\n".join(sections))
        (site / f"{name}.py").write_text(code)
        on_path(monkeypatch, site)

    yield make
    forget()


def on_path(monkeypatch, folder: Path) -> None:
    """Before everything else, for this process and those that it starts."""
    monkeypatch.syspath_prepend(str(folder))
    monkeypatch.setenv("PYTHONPATH", str(folder), prepend=os.pathsep)
    forget()


def forget() -> None:
    """Leaves of other packages are looked up once in a process."""
    leaves._plugin_leaves.cache_clear()
    for name in ("broken", "liar", "twin"):
        sys.modules.pop(name, None)
