"""The network as Ray uses it: the host's name, proxies, the cluster's token."""

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
    """Whether the host's own name has an address, and soon."""
    name = socket.gethostname()
    found: list[str | OSError] = []

    def look_up() -> None:
        try:
            found.append(str(socket.getaddrinfo(name, None)[0][4][0]))
        except OSError as error:
            found.append(error)

    thread = threading.Thread(target=look_up, daemon=True)
    thread.start()
    thread.join(NAME_TIMEOUT_S)
    answer = found[0] if found else f"no answer for {NAME_TIMEOUT_S:.0f} s"
    if found and not isinstance(answer, OSError):
        return warned("host name", True, f"{name} is {answer}", "")
    return warned(
        "host name",
        False,
        f"{name}: {getattr(answer, 'strerror', None) or answer}",
        f"Ray may not find its own machine: add a line `127.0.0.1 {name}` to /etc/hosts",
    )


def proxies() -> Check:
    """Whether a proxy would be asked for what is on this machine itself."""
    set_here = getproxies_environment()
    through = sorted({scheme for scheme in ("http", "https", "all") if scheme in set_here})
    lost = [host for host in LOOPBACK if not proxy_bypass(host)]
    if not through:
        return warned("proxies", True, "none set", "")
    return warned(
        "proxies",
        not lost,
        f"{', '.join(f'{scheme}_proxy' for scheme in through)} set, "
        + (f"also for {' and '.join(lost)}" if lost else "not for this machine"),
        "Ray's dashboard and job server on this machine can't be reached through a proxy: "
        "export no_proxy=localhost,127.0.0.1 and the cluster's addresses",
    )


def token() -> Check:
    """Whether the token that Ray asks for can be read, or made where there is none."""
    name = "Ray's token"
    if os.environ.get("RAY_AUTH_MODE", "token") == "disabled":
        return check(name, True, "RAY_AUTH_MODE=disabled: none is asked for", needed=False)
    if os.environ.get("RAY_AUTH_TOKEN"):
        return check(name, True, "in RAY_AUTH_TOKEN")
    named = os.environ.get("RAY_AUTH_TOKEN_PATH")
    file = Path(named) if named else Path.home() / ".ray" / "auth_token"
    if not file.exists():
        if named:
            remedy = "RAY_AUTH_TOKEN_PATH names a file with the token: put it there, or unset the variable"
            return check(name, False, f"{file}: no such file", remedy=remedy)
        if wrong := why_not_writable(file.parent):
            remedy = "Ray makes its token there: set HOME to a folder that can be written, or RAY_AUTH_TOKEN"
            return check(name, False, f"{file}: {wrong}", remedy=remedy)
        return check(name, True, f"none yet; Ray makes {file}")
    try:
        text = file.read_text().strip()
    except (OSError, UnicodeDecodeError) as error:
        return check(
            name, False, f"{file}: {getattr(error, 'strerror', None) or error}", remedy="make it readable"
        )
    if not text:
        remedy = "remove it, or make a token: ray get-auth-token --generate"
        return check(name, False, f"{file} is empty", remedy=remedy)
    if file.stat().st_mode & 0o077:
        return warned(name, False, f"{file} can be read by others", f"chmod 600 {file}")
    return check(name, True, f"in {file}")
