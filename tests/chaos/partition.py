"""A host whose network is cut in the middle of a run: its worker goes on, is taken for dead, and comes back."""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import psutil

from tests.chaos.cluster import Cluster
from tests.chaos.hosts import Hosts

CUT_S = 15.0
MOST_S = 400.0


def cut_off(hosts: Hosts, folder: Path, say: Callable[[str], None]) -> Path:
    """Run `folder/sweep.yaml` on two hosts, of which one is cut off for a while; the run's directory.

    Raises:
        RuntimeError: the run didn't come to its end.
    """
    cluster, out, log = Cluster(folder, {}, 2, hosts), folder / "run", folder / "driver.log"
    try:
        cluster.start()
        driver = cluster.driver(["run", str(folder / "sweep.yaml"), "--out", str(out)], log)
        _wait(lambda: any(out.glob("trials/*.parquet")), driver, log)
        hosts.plug("node-0", plugged=False)
        say("the cable of node-0 is pulled")
        with suppress(psutil.TimeoutExpired):
            driver.wait(CUT_S)
        hosts.plug("node-0", plugged=True)
        say("the cable of node-0 is back")
        if driver.wait(MOST_S) != 0:
            raise RuntimeError(f"the run failed: {log.read_text()[-3000:]}")
    finally:
        cluster.end()
    return out


def _wait(happened: Callable[[], bool], driver: psutil.Popen, log: Path) -> None:
    until = time.monotonic() + MOST_S
    while not happened():
        if time.monotonic() > until or driver.poll() is not None:
            raise RuntimeError(f"the run doesn't begin: {log.read_text()[-3000:]}")
        time.sleep(0.05)
