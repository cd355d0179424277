"""Checks Ray: the cluster of RAY_ADDRESS, the clusters running on this machine, and ports that require no token."""

from __future__ import annotations

import ipaddress
import os

import psutil

from phantom_dist.machine.check import Check, check, warned

COMMAND_SERVERS = {
    "gcs_server": "GCS",
    "raylet": "raylet",
    "dashboard.py": "dashboard",
    "ray.util.client.server": "client server",
}
"""Ray processes that execute commands from the network: a word of their command line, and their name."""


def cluster() -> Check:
    """Whether the cluster that `run` would join can be joined."""
    address = os.environ.get("RAY_ADDRESS")
    if not address or address == "local":
        setting = "RAY_ADDRESS is not set" if not address else "RAY_ADDRESS=local"
        return check("Ray cluster", True, f"{setting}: `run` starts Ray on this machine", needed=False)
    from phantom_dist.core.errors import InputError
    from phantom_dist.scheduling.ray_cluster import RayCluster

    try:
        with RayCluster(address) as joined:
            resources = joined.resources()
    except InputError as error:
        return check("Ray cluster", False, address, remedy=f"{error} Or unset RAY_ADDRESS.")
    return check(
        "Ray cluster", True, f"{address}: {resources.get('CPU', 0):g} CPUs, {resources.get('GPU', 0):g} GPUs"
    )


def running() -> Check:
    """Which of the Ray clusters on this machine `--address auto` would join."""
    from phantom_dist.core.errors import InputError
    from phantom_dist.scheduling import ray_place

    found, name = sorted(ray_place.clusters_here()), "Ray that runs here"
    noted = ray_place.noted_cluster()
    if not found and noted is None:
        return warned(name, True, "none", "")
    try:
        joined = ray_place.check_place("auto")
    except InputError:
        return warned(
            name,
            False,
            f"{noted or found[0]} is noted as running, but nothing listens there",
            f"`--address auto` would try to join it: remove {ray_place.temporary_folder()}/ray_current_cluster",
        )
    others = [address for address in found if address != joined]
    also = f"; also here: {', '.join(others)}" if others else ""
    return warned(
        name,
        not others,
        f"{joined}: `--address auto` joins it{also}",
        "choose one with --address HOST:PORT",
    )


def open_ports() -> Check:
    """Whether a Ray on this machine executes commands for anyone: it listens beyond loopback and requires no token."""
    found = sorted({port for process in psutil.process_iter() for port in _open_ports_of(process)})
    remedy = (
        "anyone who can reach these ports can run commands here: stop this Ray and start it with RAY_AUTH_MODE=token "
        "(`ray get-auth-token --generate` makes the token)"
    )
    text = f"no token is required at {', '.join(found)}" if found else "none"
    return warned("open Ray ports", not found, text, remedy)


def _open_ports_of(process: psutil.Process) -> list[str]:
    """`dashboard 0.0.0.0:8265`, for each open port of a Ray process; empty for processes that may not be inspected."""
    try:
        first = process.cmdline()[:4]  # the program; or the interpreter, its flag and the module
        names = [name for mark, name in COMMAND_SERVERS.items() if any(word.endswith(mark) for word in first)]
        if not names or process.environ().get("RAY_AUTH_MODE", "disabled") == "token":
            return []
        addresses = [c.laddr for c in process.net_connections("tcp") if c.status == psutil.CONN_LISTEN]
    except psutil.Error:
        return []
    reachable = [a for a in addresses if not ipaddress.ip_address(a.ip).is_loopback]
    return [f"{names[0]} {f'[{a.ip}]' if ':' in a.ip else a.ip}:{a.port}" for a in reachable]
