"""A machine of its own in Linux namespaces: started as process 1 there, it links its network to a peer's and waits.

    machine.py NAME ADDRESS DESCRIPTOR

DESCRIPTOR is one end of a socket pair; whatever this machine's network card (a TAP device) sends goes out there, and
the other way round. When the process is killed, the kernel ends everything that runs in the machine.
"""

from __future__ import annotations

import fcntl
import os
import select
import signal
import socket
import struct
import subprocess
import sys

TUNSETIFF, IFF_TAP, IFF_NO_PI = 0x400454CA, 0x0002, 0x1000
LARGEST_FRAME = 65536


def network_card(address: str) -> int:
    """A file descriptor from which frames are read that are sent in this machine's network."""
    card = os.open("/dev/net/tun", os.O_RDWR)
    fcntl.ioctl(card, TUNSETIFF, struct.pack("16sH", b"node", IFF_TAP | IFF_NO_PI))
    for command in (
        "link set lo up",
        f"addr add {address}/24 dev node",
        "link set node up",
        "route add default dev node",
    ):
        subprocess.run(["ip", *command.split()], check=True)
    return card


def own_folders() -> None:
    """What daemons put under fixed names, munge's socket and Ray's sessions, is this machine's alone."""
    for folder in ("/run/munge", "/tmp/ray"):
        os.makedirs(folder, exist_ok=True)
        subprocess.run(["mount", "-t", "tmpfs", "tmpfs", folder], check=True)


def relay(card: int, cable: socket.socket) -> None:
    """Frames from the card into the cable and back, until the other end is gone."""
    while True:
        ready, _, _ = select.select([card, cable], [], [])
        if card in ready:
            cable.send(os.read(card, LARGEST_FRAME))
        if cable in ready:
            frame = cable.recv(LARGEST_FRAME)
            if not frame:
                return
            os.write(card, frame)


def main() -> None:
    name, address, descriptor = sys.argv[1], sys.argv[2], int(sys.argv[3])
    socket.sethostname(name)
    own_folders()
    card = network_card(address)
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # process 1 inherits orphans; nobody waits for them
    print("up", flush=True)
    relay(card, socket.socket(fileno=descriptor))


if __name__ == "__main__":
    main()
