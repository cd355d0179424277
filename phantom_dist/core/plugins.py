"""What other packages add to this one, found by the entry points that they declare.

| group | adds | named |
|---|---|---|
| `phantom_dist.model_adapters` | a place of models: a `models.ModelAdapter` | by its references' prefix: `NAME:…` |
| `phantom_dist.instruments` | columns: an `instruments.outside.Instrument` | by the sweep's `instruments: [NAME]` |
| `phantom_dist.engine_leaves` | a module that lanes can train: an `engines.lanes.leaves.Leaf` | freely |

    [project.entry-points."phantom_dist.instruments"]
    mylab = "mylab.entropy:Entropy"

An entry point leads to a class that is made without arguments, but for leaves, which are classes. Nothing of another
package is imported before a sweep asks for it, and none takes over what works without it: own adapters and leaves are
asked first. A plug-in that is asked for and can't be loaded stops the run before it begins, for the columns that it
would have measured can't be had afterwards; one that nobody asks for disturbs nobody.
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
        """What the entry point leads to: a class derived from `kind`.

        Raises:
            InputError: it can't be imported, or is something else; the message names package and entry point.
        """
        try:
            found = importlib.metadata.EntryPoint(self.name, self.value, self.group).load()
        except PhantomDistError:
            raise
        except Exception as error:  # whatever a stranger's module raises as it is imported
            raise InputError(
                f"plug-in {self}: {self.value} can't be loaded ({type(error).__name__}: {error}). "
                f"Mend or uninstall {self.package}."
            ) from error
        if not (isinstance(found, type) and issubclass(found, kind)):
            raise InputError(
                f"plug-in {self}: {self.value} is no class derived from {kind.__module__}.{kind.__name__}."
            )
        return found


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
    """The entry point of that name.

    Raises:
        InputError: there is none, or there are two.
    """
    everyone = installed(group)
    found = [plugin for plugin in everyone if plugin.name == name]
    if not found:
        known = [plugin.name for plugin in everyone]
        raise InputError(
            f"{name!r}: no installed package adds that to {group}."
            + (did_you_mean(name, known) if known else " None adds anything to it.")
        )
    refuse_twins(found)
    return found[0]


def refuse_twins(plugins: Iterable[Plugin]) -> None:
    """Refuse two plug-ins of one group and name.

    Raises:
        InputError: there are two; the message names both.
    """
    seen: dict[tuple[str, str], Plugin] = {}
    for plugin in plugins:
        twin = seen.setdefault((plugin.group, plugin.name), plugin)
        if twin is not plugin:
            raise InputError(
                f"two plug-ins have one name: {twin}, and {plugin}. Uninstall one of the packages."
            )


def used_by(models: Iterable[str], instruments: Iterable[str]) -> tuple[Plugin, ...]:
    """The plug-ins that a sweep's results may depend on: those that it names, and every leaf."""
    prefixes, names = {model.partition(":")[0] for model in models if ":" in model}, set(instruments)
    return (
        *(plugin for plugin in installed(ADAPTERS) if plugin.name in prefixes),
        *(plugin for plugin in installed(INSTRUMENTS) if plugin.name in names),
        *installed(LEAVES),
    )


def check_here(needed: Iterable[Plugin]) -> None:
    """Check that this process has the plug-ins of the one that began the run, in their versions.

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
