"""Several hosts on one machine: network namespaces on a bridge, whose cables can be pulled. Needs root."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Sequence


class Hosts:
    """Hosts by name, with addresses in 10.77.0.0/24 that nobody else sees. Raises OSError where they can't be made."""

    def __init__(self, names: Sequence[str]) -> None:
        if os.geteuid() != 0 or shutil.which("ip") is None:
            raise OSError("network namespaces need root and iproute2")
        self._prefix = f"pd{os.getpid() % 10000}"
        self._switch = f"{self._prefix}-switch"
        self._names = list(names)
        try:
            self._make()
        except subprocess.CalledProcessError as error:
            self.close()
            raise OSError(error.stderr.decode().strip()) from error

    def _make(self) -> None:
        _ip("netns", "add", self._switch)
        _ip("-n", self._switch, "link", "add", "bridge", "type", "bridge")
        _ip("-n", self._switch, "link", "set", "bridge", "up")
        for number, name in enumerate(self._names, start=1):
            space, cable = self._space(name), f"cable{number}"
            _ip("netns", "add", space)
            _ip("-n", space, "link", "set", "lo", "up")
            _ip("-n", space, "link", "add", "eth0", "type", "veth", "peer", "name", cable)
            _ip("-n", space, "link", "set", cable, "netns", self._switch)
            _ip("-n", space, "addr", "add", f"{self.address(name)}/24", "dev", "eth0")
            _ip("-n", space, "link", "set", "eth0", "up")
            _ip("-n", self._switch, "link", "set", cable, "master", "bridge", "up")

    def _space(self, name: str) -> str:
        return f"{self._prefix}-{name}"

    def address(self, name: str) -> str:
        """The host's address."""
        return f"10.77.0.{self._names.index(name) + 1}"

    def command(self, name: str) -> list[str]:
        """What a command has to begin with to run on the host."""
        return ["ip", "netns", "exec", self._space(name)]

    def plug(self, name: str, *, plugged: bool) -> None:
        """Pull the host's cable, or put it back."""
        cable = f"cable{self._names.index(name) + 1}"
        _ip("-n", self._switch, "link", "set", cable, "up" if plugged else "down")

    def close(self) -> None:
        """Remove them. Processes in them must have ended."""
        for space in (*map(self._space, self._names), self._switch):
            subprocess.run(["ip", "netns", "delete", space], capture_output=True, check=False)


def _ip(*arguments: str) -> None:
    subprocess.run(["ip", *arguments], check=True, capture_output=True, timeout=30)
