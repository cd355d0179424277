"""Checks the network as Ray uses it: the host's name, proxies, the cluster's token."""

from __future__ import annotations

import os
import socket
import threading
from pathlib import Path
from urllib.request import getproxies_environment, proxy_bypass

from phantom_dist.machine.check import Check, check, warned
from phantom_dist.machine.places import why_not_writable

NAME_TIMEOUT_S = 5.0
LOOPBACK = ("127.0.0.1", "localhost")


def host_name() -> Check:
    """Whether the host's own name resolves to an address within a few seconds."""
    name = socket.gethostname()
    answers: list[str | OSError] = []

    def look_up() -> None:
        try:
            answers.append(str(socket.getaddrinfo(name, None)[0][4][0]))
        except OSError as error:
            answers.append(error)

    thread = threading.Thread(target=look_up, daemon=True)
    thread.start()
    thread.join(NAME_TIMEOUT_S)
    answer = answers[0] if answers else f"no answer for {NAME_TIMEOUT_S:.0f} s"
    if answers and not isinstance(answer, OSError):
        return warned("host name", True, f"{name} is {answer}", "")
    return warned(
        "host name",
        False,
        f"{name}: {getattr(answer, 'strerror', None) or answer}",
        f"Ray may not find its own machine: add a line `127.0.0.1 {name}` to /etc/hosts",
    )


def proxies() -> Check:
    """Whether requests to this machine itself would go through a proxy."""
    settings = getproxies_environment()
    through = sorted({scheme for scheme in ("http", "https", "all") if scheme in settings})
    proxied = [host for host in LOOPBACK if not proxy_bypass(host)]
    if not through:
        return warned("proxies", True, "none set", "")
    return warned(
        "proxies",
        not proxied,
        f"{', '.join(f'{scheme}_proxy' for scheme in through)} set, "
        + (f"also for {' and '.join(proxied)}" if proxied else "not for this machine"),
        "Ray's dashboard and job server on this machine can't be reached through a proxy: "
        "export no_proxy=localhost,127.0.0.1 and the cluster's addresses",
    )


def token() -> Check:
    """Whether Ray's authentication token can be read, or created if there is none."""
    name = "Ray's token"
    if os.environ.get("RAY_AUTH_MODE", "token") == "disabled":
        return check(name, True, "RAY_AUTH_MODE=disabled: Ray requires none", needed=False)
    if os.environ.get("RAY_AUTH_TOKEN"):
        return check(name, True, "in RAY_AUTH_TOKEN")
    named = os.environ.get("RAY_AUTH_TOKEN_PATH")
    file = Path(named) if named else Path.home() / ".ray" / "auth_token"
    if not file.exists():
        if named:
            remedy = "RAY_AUTH_TOKEN_PATH names the token's file: create it, or unset the variable"
            return check(name, False, f"{file}: no such file", remedy=remedy)
        if wrong := why_not_writable(file.parent):
            remedy = "Ray creates its token there: set HOME to a writable folder, or set RAY_AUTH_TOKEN"
            return check(name, False, f"{file}: {wrong}", remedy=remedy)
        return check(name, True, f"none yet; Ray creates {file}")
    try:
        text = file.read_text().strip()
    except (OSError, UnicodeDecodeError) as error:
        return check(
            name, False, f"{file}: {getattr(error, 'strerror', None) or error}", remedy="make it readable"
        )
    if not text:
        remedy = "remove it, or create a token: ray get-auth-token --generate"
        return check(name, False, f"{file} is empty", remedy=remedy)
    if file.stat().st_mode & 0o077:
        return warned(name, False, f"{file} can be read by others", f"chmod 600 {file}")
    return check(name, True, f"in {file}")
