"""Imports what commands need, and forks a process for each request; see this package's docstring."""

from __future__ import annotations

import gc
import importlib
import json
import os
import select
import shutil
import signal
import socket
import sys
from pathlib import Path

MODULES = [
    "phantom_dist.campaign.execution",
    "phantom_dist.campaign.run",
    "phantom_dist.campaign.preview",
    "phantom_dist.campaign.status",
    "phantom_dist.cli.commands",
    "phantom_dist.calibration",
    "phantom_dist.reports",
    "phantom_dist.machine",
    "phantom_dist.engines.lanes.engine",
    "phantom_dist.scheduling.worker",
    "peft",
    "optuna",
    "rich.progress",
]


def main(path: str) -> list[str] | None:
    """Serve until stdin is closed: None. In a forked process that is to run a command: its arguments."""
    for name in MODULES:
        importlib.import_module(name)
    gc.freeze()  # what is shared stays shared
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # nobody waits for the processes that wait for commands
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(path)
        listener.listen()
        print("ready", flush=True)
        while True:
            ready, _, _ = select.select([listener, sys.stdin], [], [])
            if sys.stdin in ready:
                shutil.rmtree(Path(path).parent)
                return None
            connection, _ = listener.accept()
            if os.fork() == 0:
                listener.close()
                return command_of(connection)
            connection.close()


def command_of(connection: socket.socket) -> list[str]:
    """In a forked process: fork once more for the command, and report its exit status. Returns in the latter only."""
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    head, streams, _, _ = socket.recv_fds(connection, 8, 3)
    size, request = int.from_bytes(head, "big"), b""
    while len(request) < size:
        request += connection.recv(size - len(request))
    arguments, environment, folder = json.loads(request)
    process = os.fork()
    if process == 0:
        connection.close()
        for number, stream in enumerate(streams):
            os.dup2(stream, number)
            os.close(stream)
        os.environ.clear()
        os.environ.update(environment)
        os.chdir(folder)
        return arguments
    for stream in streams:
        os.close(stream)
    ended = os.pidfd_open(process)
    ready, _, _ = select.select([connection, ended], [], [])
    if ended not in ready:  # the caller is gone
        os.kill(process, signal.SIGKILL)
    status = os.waitstatus_to_exitcode(os.waitpid(process, 0)[1])
    connection.sendall((status % 256).to_bytes(4, "big"))
    os._exit(0)


if __name__ == "__main__":
    arguments = main(sys.argv[1])
    if arguments is not None:
        sys.argv = arguments
        exec(os.environ.pop("PHANTOM_DIST_BEFORE", ""))
        importlib.import_module("phantom_dist.cli").main()
