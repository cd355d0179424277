"""A Ray head of its own on loopback, with its job server; it asks for a token that only this test knows."""

from __future__ import annotations

import os
import secrets
import shutil
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

from tests.servers.ports import free_ports

ROOT = Path(__file__).parents[2]


@dataclass(frozen=True)
class Head:
    """Where it listens, and the environment of somebody who may use it."""

    address: str
    dashboard: str
    token: str
    environment: dict[str, str]


@contextmanager
def ray_head(
    more: Mapping[str, str] | None = None,
    *,
    host: str = "127.0.0.1",
    mode: str = "token",
    cpus: int = 1,
    own_tmpdir: bool = False,
) -> Iterator[Head]:
    """Start a head, end it and nothing else.

    Args:
        more: environment variables of its workers and jobs.
        host: the address that the dashboard listens on.
        mode: Ray's RAY_AUTH_MODE.
        cpus: CPUs that it offers.
        own_tmpdir: where its files lie is said by TMPDIR, and not by an option.
    """
    port, dashboard, client, agent = free_ports(4)
    token = secrets.token_hex(32)
    environment = os.environ | {
        "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
        "PYTHONPATH": str(ROOT),
        "OMP_NUM_THREADS": "1",
        "RAY_AUTH_MODE": mode,
        "RAY_AUTH_TOKEN": token,
        "RAY_USAGE_STATS_ENABLED": "0",
        **(more or {}),
    }
    environment.pop("RAY_ADDRESS", None)
    command = [
        "ray",
        "start",
        "--head",
        "--block",
        "--node-ip-address=127.0.0.1",
        f"--num-cpus={cpus}",
        "--num-gpus=0",
    ]
    command += [f"--port={port}", f"--dashboard-host={host}", f"--dashboard-port={dashboard}"]
    command += [f"--ray-client-server-port={client}", f"--dashboard-agent-listen-port={agent}"]
    with ExitStack() as stack:
        folder = tempfile.mkdtemp(prefix="ray-", dir="/tmp")  # short, for sockets lie in it
        stack.callback(shutil.rmtree, folder, ignore_errors=True)
        log = stack.enter_context(Path(folder, "start.log").open("w+"))
        process = subprocess.Popen(
            command if own_tmpdir else [*command, f"--temp-dir={folder}"],
            env=environment | ({"TMPDIR": folder} if own_tmpdir else {}),
            stdout=log,
            stderr=log,
            start_new_session=True,
        )
        stack.callback(process.wait)
        stack.callback(process.terminate)
        url = f"http://127.0.0.1:{dashboard}"
        deadline = time.monotonic() + 120
        while not _takes_jobs(url, token):
            log.seek(0)
            assert process.poll() is None, log.read()
            assert time.monotonic() < deadline, log.read()
            time.sleep(0.5)
        yield Head(f"127.0.0.1:{port}", url, token, environment)


def _takes_jobs(url: str, token: str) -> bool:
    request = urllib.request.Request(f"{url}/api/jobs/", headers={"Authorization": f"Bearer {token}"})
    try:
        with urllib.request.urlopen(request, timeout=5) as answer:
            return bool(answer.status == 200)
    except (OSError, urllib.error.URLError):
        return False
