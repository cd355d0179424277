"""Plug-ins: classes of other packages, found through their entry points.

| group | adds a class of | used by |
|---|---|---|
| `phantom_dist.model_adapters` | `models.ModelAdapter`: a source of models | model references `NAME:…` |
| `phantom_dist.instruments` | `instruments.plugin_instruments.Instrument`: columns | a sweep's `instruments: [NAME]` |
| `phantom_dist.engine_leaves` | `engines.lanes.leaves.Leaf`: a module that lanes can train | lanes; any name |

    [project.entry-points."phantom_dist.instruments"]
    mylab = "mylab.entropy:Entropy"

An entry point refers to a class, which is instantiated without arguments; leaves are used as classes. No plug-in is
imported before a sweep uses it, and built-in adapters and leaves take precedence over plug-ins. A plug-in that a sweep
uses and that can't be loaded stops the run before it starts, because its columns can't be measured afterwards. A broken
plug-in that no sweep uses has no effect.
"""

from __future__ import annotations

import importlib.metadata
import socket
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from phantom_dist.core.errors import InputError, PhantomDistError, did_you_mean

ADAPTERS = "phantom_dist.model_adapters"
INSTRUMENTS = "phantom_dist.instruments"
LEAVES = "phantom_dist.engine_leaves"
GROUPS = (ADAPTERS, INSTRUMENTS, LEAVES)


@dataclass(frozen=True, order=True, slots=True)
class Plugin:
    """An entry point of an installed package: `value` is `module:attribute`."""

    group: str
    name: str
    package: str
    version: str
    value: str

    def __str__(self) -> str:
        return f"{self.group} {self.name!r} of the package {self.package} {self.version}"

    def load(self, kind: type) -> Any:
        """Import the class of the entry point, which must derive from `kind`.

        Raises:
            InputError: it can't be imported, or is not such a class; the message names package and entry point.
        """
        try:
            loaded = importlib.metadata.EntryPoint(self.name, self.value, self.group).load()
        except PhantomDistError:
            raise
        except Exception as error:  # importing another package's module may raise anything
            raise InputError(
                f"plug-in {self}: {self.value} can't be loaded ({type(error).__name__}: {error}). "
                f"Fix or uninstall {self.package}."
            ) from error
        if not (isinstance(loaded, type) and issubclass(loaded, kind)):
            raise InputError(
                f"plug-in {self}: {self.value} is not a class derived from {kind.__module__}.{kind.__name__}."
            )
        return loaded


def installed(group: str) -> tuple[Plugin, ...]:
    """The entry points of a group, sorted by name."""
    return tuple(
        sorted(
            {
                Plugin(point.group, point.name, point.dist.name, point.dist.version, point.value)
                for point in importlib.metadata.entry_points(group=group)
                if point.dist is not None
            }
        )
    )


def named(group: str, name: str) -> Plugin:
    """The entry point with this name.

    Raises:
        InputError: there is none, or there are two.
    """
    candidates = installed(group)
    matches = [plugin for plugin in candidates if plugin.name == name]
    if not matches:
        known = [plugin.name for plugin in candidates]
        raise InputError(
            f"{name!r}: no installed package has an entry point of this name in {group}."
            + (did_you_mean(name, known) if known else " No installed package has any entry point there.")
        )
    refuse_twins(matches)
    return matches[0]


def refuse_twins(plugins: Iterable[Plugin]) -> None:
    """Refuse two plug-ins with the same group and name.

    Raises:
        InputError: there are two; the message names both.
    """
    seen: dict[tuple[str, str], Plugin] = {}
    for plugin in plugins:
        twin = seen.setdefault((plugin.group, plugin.name), plugin)
        if twin is not plugin:
            raise InputError(
                f"two plug-ins have the same name: {twin}, and {plugin}. Uninstall one of the packages."
            )


def used_by(models: Iterable[str], instruments: Iterable[str]) -> tuple[Plugin, ...]:
    """The plug-ins on which a sweep's results may depend: those that it names, and every leaf."""
    prefixes, names = {model.partition(":")[0] for model in models if ":" in model}, set(instruments)
    return (
        *(plugin for plugin in installed(ADAPTERS) if plugin.name in prefixes),
        *(plugin for plugin in installed(INSTRUMENTS) if plugin.name in names),
        *installed(LEAVES),
    )


def check_here(needed: Iterable[Plugin]) -> None:
    """Check that the plug-ins of the driver are installed here, in the same versions.

    Raises:
        InputError: one is missing; the message names this host and the package.
    """
    here = {plugin for group in GROUPS for plugin in installed(group)}
    for plugin in needed:
        if plugin not in here:
            raise InputError(
                f"a worker on {socket.gethostname()} lacks the plug-in {plugin}. "
                f"Install {plugin.package}=={plugin.version} on every node of the cluster."
            )
