"""The process and host of a worker."""

from __future__ import annotations

import os
import socket
from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True, slots=True)
class Place:
    """A process on a host. `node`: Ray's id of the node; empty without Ray."""

    host: str
    process: int
    node: str = ""


def this_place(node: str = "") -> Place:
    """The place of this process."""
    return Place(host=socket.gethostname(), process=os.getpid(), node=node)
