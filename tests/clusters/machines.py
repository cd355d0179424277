"""Two machines on this one: namespaces for names, processes, network and mounts, with a cable between them."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

MACHINE = Path(__file__).with_name("machine.py")


def what_is_missing() -> str:
    """Why there can be no such machines here; empty if there can."""
    if os.geteuid() != 0:
        return "only root may make namespaces"
    if not os.path.exists("/dev/net/tun"):
        return "the kernel has no /dev/net/tun"
    missing = [program for program in ("unshare", "nsenter", "ip") if shutil.which(program) is None]
    return f"not installed: {', '.join(missing)}" if missing else ""


@dataclass(frozen=True)
class Machine:
    """One machine; its files are this one's but for /run/munge and /tmp/ray."""

    name: str
    address: str
    first: int
    """Its process 1, by its id out here."""

    def command(self, *words: str | Path, cwd: Path = Path("/")) -> list[str]:
        """The command that runs the words there, in the folder `cwd`."""
        namespaces = ("--uts", "--pid", "--net", "--mount", "--ipc")
        return ["nsenter", "--target", str(self.first), *namespaces, f"--wd={cwd}", *map(str, words)]


@contextmanager
def two_machines(folder: Path) -> Iterator[tuple[Machine, Machine]]:
    """`node-1` and `node-2`, who know each other by name; whatever runs on them ends with the block."""
    addresses = {"node-1": "10.77.0.1", "node-2": "10.77.0.2"}
    hosts = folder / "hosts"
    hosts.write_text("127.0.0.1 localhost\n" + "".join(f"{a} {name}\n" for name, a in addresses.items()))
    machines: list[Machine] = []
    with ExitStack() as stack:
        cable = [stack.enter_context(end) for end in socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)]
        for (name, address), end in zip(addresses.items(), cable, strict=True):
            process = subprocess.Popen(
                [
                    *("unshare", "--uts", "--pid", "--net", "--mount", "--ipc", "--fork", "--kill-child"),
                    *("--mount-proc", sys.executable, str(MACHINE), name, address, str(end.fileno())),
                ],
                pass_fds=[end.fileno()],
                stdout=subprocess.PIPE,
                text=True,
            )
            stack.callback(process.wait)
            stack.callback(process.kill)
            assert process.stdout is not None
            stack.callback(process.stdout.close)
            assert process.stdout.readline() == "up\n", f"{name} doesn't start"
            children = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()
            machines.append(Machine(name, address, int(children[0])))
            subprocess.run(machines[-1].command("mount", "--bind", hosts, "/etc/hosts"), check=True)
        yield machines[0], machines[1]
