"""Ray's temporary folder on this machine, and the cluster that `auto` means here, both by Ray's own rules."""

from __future__ import annotations

import datetime
import os
import socket
import sys

from ray._common.utils import get_default_ray_temp_dir
from ray._private import services

from phantom_dist.core.errors import InputError

CONNECT_TIMEOUT_S = 10.0
"""How long a cluster's head may take to accept a connection."""

SOCKET_BYTES = 103 if sys.platform == "darwin" else 107
"""The kernel's limit for the path of a Unix socket, in bytes."""


def temporary_folder() -> str:
    """The folder in which Ray creates a folder for each session."""
    return str(get_default_ray_temp_dir())


def socket_bytes(folder: str, process: int) -> int:
    """Length in bytes of the longest socket path below a temporary folder, for a Ray started by this process id."""
    moment = datetime.datetime.now().strftime("%Y-%m-%d_%H-%M-%S_%f")
    session = f"session_{moment}_{process}"
    return len(os.fsencode(os.path.join(folder, session, "sockets", "plasma_store")))


def too_long(process: int | None = None) -> str:
    """A sentence that says that the temporary folder's path is too long and what to do; empty if it is not.

    Args:
        process: id of the process that would start Ray, which is part of the paths; None for this one.
    """
    folder = temporary_folder()
    excess = socket_bytes(folder, os.getpid() if process is None else process) - SOCKET_BYTES
    if excess <= 0:
        return ""
    named = next((name for name in ("RAY_TMPDIR", "TMPDIR") if name in os.environ), "TMPDIR")
    short = len(os.fsencode(folder)) - len("/ray") - excess
    return (
        f"{named}={os.environ.get(named, '')} is too long for Ray: the paths of its sockets below it would exceed the "
        f"system's limit of {SOCKET_BYTES} bytes; set RAY_TMPDIR, which takes precedence over TMPDIR, to a folder "
        f"whose path has at most {short} bytes (RAY_TMPDIR=/tmp)"
    )


def clusters_here() -> frozenset[str]:
    """The addresses of the clusters whose processes run on this machine."""
    services.find_gcs_addresses.cache_clear()
    return frozenset(services.find_gcs_addresses())


def noted_cluster() -> str | None:
    """The address that the last `ray start` recorded; its cluster may have ended since."""
    noted = services.find_bootstrap_address(None)
    return str(noted) if noted else None


def check_place(address: str) -> str:
    """Check that Ray can be started or joined, without doing it; the address to pass to `ray.init`.

    Args:
        address: `local`, `auto`, `HOST:PORT` or `ray://HOST:PORT`.

    Raises:
        InputError: Ray can't be started here, or nothing listens at the address. `ray.init` itself would leave files
            behind, or retry for minutes.
    """
    if address == "local":
        if wrong := too_long():
            raise InputError(f"Ray can't be started on this machine: {wrong}.")
        return address
    try:
        resolved = _cluster_of_this_machine() if address == "auto" else address
        host, _, port = resolved.removeprefix("ray://").rpartition(":")
        if not port.isdigit():
            raise ValueError("the address has no port")
        try:
            socket.create_connection((host.strip("[]"), int(port)), timeout=CONNECT_TIMEOUT_S).close()
        except OSError as error:
            raise ConnectionError(f"{resolved}: {error.strerror or error}") from None
    except (ConnectionError, ValueError, OverflowError) as error:
        raise not_joined(address, error) from None
    return resolved


def not_joined(address: str, error: Exception, *, listens: bool = False) -> InputError:
    """The error that no cluster could be joined at an address; `listens`: the address accepted a connection."""
    named = f"RAY_ADDRESS={address}" if os.environ.get("RAY_ADDRESS") == address else f"--address {address}"
    first_line = (str(error).strip() or type(error).__name__).splitlines()[0]
    others = ["`local` starts one on this machine"]
    others += ["`auto` joins the one that runs here"] * (address != "auto")
    without_token = listens and os.environ.get("RAY_AUTH_MODE") != "token"
    hint = " A cluster that requires its token is joined with RAY_AUTH_MODE=token." if without_token else ""
    return InputError(
        f"{named}: no Ray cluster could be joined there ({first_line}).{hint} Allowed: {', '.join(others)}, "
        f"ray://HOST:10001 or HOST:6379 another."
    )


def not_started(error: Exception) -> InputError:
    """The error that Ray could not be started here."""
    first_line = (str(error).strip() or type(error).__name__).splitlines()[0]
    return InputError(
        f"Ray can't be started on this machine ({first_line}); `phantom-dist doctor` checks what it needs, and "
        "`--executor inprocess` runs without it."
    )


def _cluster_of_this_machine() -> str:
    """The cluster of RAY_ADDRESS, else that of the last `ray start` if it runs, else the one that runs here.

    Ray itself would also try to join a recorded cluster that has ended while others run.
    """
    named = os.environ.get("RAY_ADDRESS", "")
    if named == "local":
        raise ConnectionError("RAY_ADDRESS=local excludes it")
    if named not in ("", "auto"):
        return named
    noted, running = noted_cluster(), clusters_here()
    if noted is not None and (noted in running or not running):
        return noted
    if len(running) == 1:
        return next(iter(running))
    file = f"{temporary_folder()}/ray_current_cluster"
    if running:
        raise ConnectionError(
            f"{len(running)} Rays run on this machine, {', '.join(sorted(running))}, and {file} names none of them; "
            "pass the address of one"
        )
    raise ConnectionError(f"no Ray runs on this machine, and {file} names none")
