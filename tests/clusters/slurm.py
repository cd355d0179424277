"""A real Slurm of two machines: munged and slurmd on both, slurmctld on the first; all of it ends with the block."""

from __future__ import annotations

import os
import re
import secrets
import shutil
import subprocess
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from tests.clusters.machines import Machine, two_machines, what_is_missing

PROGRAMS = ("munged", "slurmctld", "slurmd", "sbatch", "sinfo")

CONFIGURATION = """
ClusterName=test
SlurmctldHost=node-1
SlurmUser=root
AuthType=auth/munge
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/spool-%n
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/slurmd-%n.pid
SlurmctldLogFile={folder}/slurmctld.log
SlurmdLogFile={folder}/slurmd-%n.log
SlurmdParameters=config_overrides
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
SelectType=select/cons_tres
SelectTypeParameters=CR_Core
MpiDefault=none
ReturnToService=2
NodeName=node-[1-2] CPUs=1 State=UNKNOWN
PartitionName=all Nodes=ALL Default=YES State=UP
"""


def why_not_here() -> str:
    """Why Slurm can't run on this machine; empty if it can."""
    missing = [program for program in PROGRAMS if shutil.which(program, path=_PATH) is None]
    if missing:
        return f"not installed: {', '.join(missing)} (Debian: slurmctld slurmd slurm-client munge)"
    return what_is_missing()


_PATH = f"{os.environ['PATH']}:/usr/sbin:/sbin"


@dataclass(frozen=True)
class Slurm:
    """A cluster that takes jobs."""

    folder: Path
    head: Machine

    def run(self, *words: str | Path, env: dict[str, str] | None = None, cwd: Path | None = None) -> str:
        """What a command on the first machine prints, of both streams."""
        done = subprocess.run(
            self.head.command(*words, cwd=cwd or self.folder),
            env=os.environ | {"SLURM_CONF": str(self.folder / "slurm.conf")} | (env or {}),
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=240,
        )
        if done.returncode:
            raise AssertionError(f"{words} ended with {done.returncode}: {done.stdout}\n{self.logs()}")
        return done.stdout

    def batch(self, *words: str | Path, env: dict[str, str], cwd: Path) -> str:
        """Send a batch job and wait for its end; what Slurm says then (`sbatch --wait` asks ever less)."""
        job = self.run("sbatch", "--parsable", *words, env=env, cwd=cwd).strip()
        deadline = time.monotonic() + 300
        while re.search(
            "JobState=(PENDING|RUNNING|COMPLETING)", said := self.run("scontrol", "show", "job", job)
        ):
            assert time.monotonic() < deadline, said + self.logs()
            time.sleep(1.0)
        return said

    def logs(self) -> str:
        """The ends of all daemons' logs."""
        return "\n".join(
            f"{log.name}: {log.read_text()[-1500:]}" for log in sorted(self.folder.glob("*.log"))
        )


@contextmanager
def slurm(folder: Path) -> Iterator[Slurm]:
    """A Slurm cluster whose files lie in `folder`; its two nodes have one CPU each."""
    (folder / "state").mkdir(parents=True)
    (folder / "slurm.conf").write_text(CONFIGURATION.format(folder=folder))
    key = folder / "munge.key"
    key.touch(mode=0o600)
    key.write_bytes(secrets.token_bytes(128))
    with ExitStack() as stack:
        machines = stack.enter_context(two_machines(folder))
        for machine in machines:
            log = stack.enter_context((folder / f"daemons-{machine.name}.log").open("w"))
            state = folder / f"munge-{machine.name}"
            state.mkdir(mode=0o700)
            _start(
                machine,
                folder,
                log,
                "munged",
                "--foreground",
                "--force",
                f"--key-file={key}",
                *_munge_files(state),
            )
        for machine in machines:
            log = stack.enter_context((folder / f"start-{machine.name}.log").open("w"))
            if machine is machines[0]:
                _start(machine, folder, log, "slurmctld", "-D")
            _start(machine, folder, log, "slurmd", "-D")
        cluster = Slurm(folder, machines[0])
        deadline = time.monotonic() + 60
        while not _all_idle(cluster):
            assert time.monotonic() < deadline, cluster.logs()
            time.sleep(0.5)
        yield cluster


def _all_idle(cluster: Slurm) -> bool:
    try:
        return cluster.run("sinfo", "--noheader", "--states=idle", "--format=%D").split() == ["2"]
    except AssertionError:  # the controller doesn't listen yet
        return False


def _munge_files(state: Path) -> list[str]:
    return [f"--{kind}-file={state / kind}" for kind in ("pid", "log", "seed")]


def _start(machine: Machine, folder: Path, log: IO[str], *words: str) -> None:
    """Start a daemon there; it ends with its machine."""
    environment = os.environ | {"PATH": _PATH, "SLURM_CONF": str(folder / "slurm.conf")}
    subprocess.Popen(machine.command(*words), env=environment, stdout=log, stderr=log, start_new_session=True)
