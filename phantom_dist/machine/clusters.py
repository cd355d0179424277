"""Ray on this machine: the cluster that RAY_ADDRESS names, those that run here, and doors that stand open."""

from __future__ import annotations

import ipaddress
import os

import psutil

from phantom_dist.machine.check import Check, check, warned

DOORS = {
    "gcs_server": "GCS",
    "raylet": "raylet",
    "dashboard.py": "dashboard",
    "ray.util.client.server": "client server",
}
"""What is in the command line of each Ray process that takes orders from the network, and what it is called."""


def cluster() -> Check:
    """The cluster that `run` would join."""
    address = os.environ.get("RAY_ADDRESS")
    if not address or address == "local":
        said = "RAY_ADDRESS is not set" if not address else "RAY_ADDRESS=local"
        return check("Ray cluster", True, f"{said}: `run` starts Ray on this machine", needed=False)
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
    """Which Ray `--address auto` would join here."""
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
            f"{noted or found[0]} is noted as running, and nobody listens there",
            f"`--address auto` would try to join it: remove {ray_place.temporary_folder()}/ray_current_cluster",
        )
    others = [address for address in found if address != joined]
    also = f"; also here: {', '.join(others)}" if others else ""
    return warned(
        name,
        not others,
        f"{joined}: `--address auto` joins it{also}",
        "say which one is meant: --address HOST:PORT",
    )


def open_ports() -> Check:
    """A Ray that runs commands for whoever reaches it: it listens beyond loopback and asks for no token."""
    found = sorted({door for process in psutil.process_iter() for door in _doors(process)})
    remedy = (
        "whoever reaches these ports can run commands here: stop this Ray and start it with RAY_AUTH_MODE=token "
        "(`ray get-auth-token --generate` makes the token)"
    )
    text = f"no token asked for at {', '.join(found)}" if found else "none"
    return warned("open Ray ports", not found, text, remedy)


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
