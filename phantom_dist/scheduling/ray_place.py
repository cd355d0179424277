"""Where Ray puts its files on this machine, and which cluster `auto` means here: both by Ray's own rules."""

from __future__ import annotations

import datetime
import os
import socket
import sys

from ray._common.utils import get_default_ray_temp_dir
from ray._private import services

from phantom_dist.core.errors import InputError

CONNECT_TIMEOUT_S = 10.0
"""How long a cluster's head may take to answer a connection."""

SOCKET_BYTES = 103 if sys.platform == "darwin" else 107
"""The kernel's limit for the path of a Unix socket."""


def temporary_folder() -> str:
    """The folder below which Ray makes one for each session."""
    return str(get_default_ray_temp_dir())


def socket_bytes(folder: str, process: int) -> int:
    """How long the path of Ray's longest socket below a temporary folder is, in bytes, for a Ray of that process."""
    moment = datetime.datetime.now().strftime("%Y-%m-%d_%H-%M-%S_%f")
    session = f"session_{moment}_{process}"
    return len(os.fsencode(os.path.join(folder, session, "sockets", "plasma_store")))


def too_long(process: int | None = None) -> str:
    """What is wrong with the temporary folder's length, and what to do, in one sentence; empty if nothing is.

    Args:
        process: the id of the process that would start Ray, which is part of the paths; None for this one.
    """
    folder = temporary_folder()
    excess = socket_bytes(folder, os.getpid() if process is None else process) - SOCKET_BYTES
    if excess <= 0:
        return ""
    named = next((name for name in ("RAY_TMPDIR", "TMPDIR") if name in os.environ), "TMPDIR")
    short = len(os.fsencode(folder)) - len("/ray") - excess
    return (
        f"{named}={os.environ.get(named, '')} is too long for Ray, whose sockets lie below it with paths of up to "
        f"{SOCKET_BYTES} bytes, the system's limit; set RAY_TMPDIR, which goes before TMPDIR, to a folder whose path "
        f"has at most {short} bytes (RAY_TMPDIR=/tmp)"
    )


def clusters_here() -> frozenset[str]:
    """The addresses of the clusters whose processes run on this machine."""
    services.find_gcs_addresses.cache_clear()
    return frozenset(services.find_gcs_addresses())


def noted_cluster() -> str | None:
    """The address that the last `ray start` left for later commands; the cluster may have ended since."""
    noted = services.find_bootstrap_address(None)
    return str(noted) if noted else None


def check_place(address: str) -> str:
    """Look where Ray would be started or joined, without doing it: what to give `ray.init` as its address.

    Args:
        address: `local`, `auto`, `HOST:PORT` or `ray://HOST:PORT`.

    Raises:
        InputError: Ray can't be started here, or nobody listens at the address; `ray.init` itself would leave files
            behind, or go on trying for minutes.
    """
    if address == "local":
        if wrong := too_long():
            raise InputError(f"Ray can't be started on this machine: {wrong}.")
        return address
    try:
        found = _cluster_of_this_machine() if address == "auto" else address
        host, _, port = found.removeprefix("ray://").rpartition(":")
        if not port.isdigit():
            raise ValueError("the address has no port")
        try:
            socket.create_connection((host.strip("[]"), int(port)), timeout=CONNECT_TIMEOUT_S).close()
        except OSError as error:
            raise ConnectionError(f"{found}: {error.strerror or error}") from None
    except (ConnectionError, ValueError, OverflowError) as error:
        raise not_joined(address, error) from None
    return found


def not_joined(address: str, error: Exception, *, listens: bool = False) -> InputError:
    """Why no cluster was joined, where it was looked for, and what else there is; `listens`: somebody is there."""
    named = f"RAY_ADDRESS={address}" if os.environ.get("RAY_ADDRESS") == address else f"--address {address}"
    first_line = (str(error).strip() or type(error).__name__).splitlines()[0]
    others = ["`local` starts one on this machine"]
    others += ["`auto` joins the one that runs here"] * (address != "auto")
    asks = listens and os.environ.get("RAY_AUTH_MODE") != "token"
    hint = " A cluster that asks for its token is joined with RAY_AUTH_MODE=token." if asks else ""
    return InputError(
        f"{named}: no Ray cluster could be joined there ({first_line}).{hint} Allowed: {', '.join(others)}, "
        f"ray://HOST:10001 or HOST:6379 another."
    )


def not_started(error: Exception) -> InputError:
    """Why Ray could not be started here, and what else there is."""
    first_line = (str(error).strip() or type(error).__name__).splitlines()[0]
    return InputError(
        f"Ray can't be started on this machine ({first_line}); `phantom-dist doctor` looks for what it needs, and "
        "`--executor inprocess` goes without it."
    )


def _cluster_of_this_machine() -> str:
    """The one that RAY_ADDRESS names, else the one that `ray start` noted, else one whose processes run here."""
    services.find_gcs_addresses.cache_clear()
    try:
        found = str(services.get_ray_address_from_environment("auto", None))
    except ConnectionError:
        noted = f"{temporary_folder()}/ray_current_cluster"
        raise ConnectionError(f"no Ray runs on this machine, nor is one noted in {noted}") from None
    if found == "local":
        raise ConnectionError("RAY_ADDRESS=local stands against it")
    return found
