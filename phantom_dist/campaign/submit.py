"""A run on a cluster that this machine only sends to: the sweep travels, the results stay where `out` says."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Unpack

from phantom_dist.campaign.options import JobOptions, RunOptions
from phantom_dist.campaign.status import RunStatus
from phantom_dist.core.errors import (
    INTERRUPTED,
    WRONG_INPUT,
    ClusterError,
    InputError,
    Interrupted,
    StoreError,
)
from phantom_dist.core.result import Result
from phantom_dist.spec import load, to_yaml

if TYPE_CHECKING:
    from rich.table import Table

Row = dict[str, Any]


@dataclass(frozen=True, kw_only=True, slots=True)
class SubmittedRun(Result):
    """A run on a cluster: the sweep's name, the job's id, and where the run stood when the job ended.

    `status` is None where nobody waited for the end.
    """

    run: str
    job: str
    status: RunStatus | None

    def to_json(self) -> dict[str, Any]:
        """The object of `run` with `job`; `run` and `job` alone where nobody waited."""
        return ({"run": self.run} if self.status is None else self.status.to_json()) | {"job": self.job}

    def parts(self) -> Iterable[str | Table]:
        """The run, or the job that it is."""
        return (f"run {self.run} is job {self.job}",) if self.status is None else self.status.parts()


def submit(
    sweep: Any,
    out: str | os.PathLike[str],
    *,
    address: str,
    wait: bool = True,
    show: Callable[[str], None] = lambda text: None,
    **options: Unpack[JobOptions],
) -> SubmittedRun:
    """Run a sweep as a job of a Ray cluster; sent again while it runs, it is followed again.

    Args:
        sweep: as in `run`; contexts travel with it.
        out: the run directory as the cluster sees it: an object-store URI, or an absolute path on a file system that
            all nodes share.
        address: the cluster's head, `http://HOST:8265`.
        wait: False returns when the job is there.
        show: called with each piece of the job's log.
        options: see `RunOptions`.

    Raises:
        InputError: the input as a whole is wrong, here or on the cluster.
        StoreError: results can't be stored.
        ClusterError: the job was lost.
        Interrupted: no longer followed, or the run was interrupted over there; says which.
    """
    from phantom_dist.scheduling.ray_job import RayJobs

    how = RunOptions(**options).command_line()
    spec = load(sweep)
    location = _seen_from_the_cluster(os.fspath(out))
    _check_models(spec.models)
    text = to_yaml(spec)
    jobs = RayJobs(address)
    command = [*("python", "-m", "phantom_dist", "run", "sweep.yaml", "--out", location)]
    command += ["--address", "auto", "--json", *how]
    digest = hashlib.sha256("\0".join((text, *command)).encode()).hexdigest()
    job, new = jobs.start(f"phantom-dist-{spec.name}-{digest[:12]}", command, {"sweep.yaml": text})
    show(f"job {job} {'was sent' if new else 'runs already'}\n")
    if not wait:
        return SubmittedRun(run=spec.name, job=job, status=None)
    log: list[str] = []

    def record(piece: str) -> None:
        log.append(piece)
        show(piece)

    try:
        ended = jobs.follow(job, record)
    except KeyboardInterrupt:
        raise Interrupted(
            f"no longer followed; the job {job} goes on. The same command follows it again, "
            f"`ray job stop {job} --address {address}` ends it"
        ) from None
    answer = _last_object("".join(log))
    if "run" in answer:
        return SubmittedRun(run=spec.name, job=job, status=RunStatus.from_json(answer))
    message = str(answer.get("error") or (ended.message.strip() or "Ray says nothing more").splitlines()[0])
    if ended.exit_status == WRONG_INPUT:
        raise InputError(message)
    if ended.exit_status == INTERRUPTED:
        raise Interrupted(
            "the run was interrupted over there; what it had stored is kept, and the same `submit` goes on from there"
        )
    if "error" in answer:
        raise StoreError(message)
    raise ClusterError(f"the job {job} ended without a result ({ended.status}): {message}")


def _seen_from_the_cluster(out: str) -> str:
    if "://" in out or os.path.isabs(out):
        return out
    raise InputError(
        f"--out {out}: a relative path is a folder of this machine, and the run is on the cluster. Allowed: s3://…, "
        f"gs://…, or an absolute path on a file system that all of its nodes share."
    )


def _check_models(models: tuple[str, ...]) -> None:
    for model in models:
        path = model.removeprefix("gguf:").removeprefix("peft:")
        if not os.path.isabs(path) and (path.startswith((".", "~")) or Path(path).exists()):
            raise InputError(
                f"models: {model} is a path of this machine, and the run is on the cluster. Allowed: a hub name, a "
                f"packaged or built-in model, or an absolute path on a file system that all of its nodes share."
            )


def _last_object(log: str) -> Row:
    """The job's answer: the last line of its log that is a JSON object; empty if there is none."""
    for line in reversed(log.split("\n")):
        if line.startswith("{"):
            try:
                found: Row = json.loads(line)
            except ValueError:
                continue
            return found
    return {}
