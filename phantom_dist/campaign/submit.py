"""Runs a sweep as a job on a remote cluster: the sweep is sent there, the results are stored at `out`."""

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
from phantom_dist.data.of_sweep import with_data
from phantom_dist.spec import CONTEXTS, SweepSpec, load, to_yaml

if TYPE_CHECKING:
    from rich.table import Table

Row = dict[str, Any]


@dataclass(frozen=True, kw_only=True, slots=True)
class SubmittedRun(Result):
    """A run on a cluster: the sweep's name, the job's id, and the run's status when the job ended.

    `status` is None if the caller didn't wait for the end.
    """

    run: str
    job: str
    status: RunStatus | None

    def to_json(self) -> dict[str, Any]:
        """The JSON object of `run` with `job`; only `run` and `job` if the caller didn't wait."""
        return ({"run": self.run} if self.status is None else self.status.to_json()) | {"job": self.job}

    def parts(self) -> Iterable[str | Table]:
        """The run's status, or the job's id."""
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
    """Run a sweep as a job of a Ray cluster; submitted again while it runs, the running job is followed.

    Args:
        sweep: as in `run`; its contexts and its training data are sent along.
        out: the run directory as the cluster sees it: an object-store URI, or an absolute path on a file system that
            all nodes share.
        address: the cluster's head, `http://HOST:8265`.
        wait: False returns as soon as the job is submitted.
        show: called with each piece of the job's log.
        options: see `RunOptions`.

    Raises:
        InputError: the input as a whole is wrong, here or on the cluster.
        StoreError: results can't be stored.
        ClusterError: the job was lost.
        Interrupted: the job is no longer followed, or the run was interrupted on the cluster; the message says which.
    """
    from phantom_dist.scheduling.ray_job import RayJobs

    run_options = RunOptions(**options).command_line()
    spec = load(sweep)
    location = _seen_from_the_cluster(os.fspath(out))
    _check_models(spec.models)
    files = _files(spec)
    text = "\0".join(files.values())
    jobs = RayJobs(address)
    command = [*("python", "-m", "phantom_dist", "run", "sweep.yaml", "--out", location)]
    command += ["--address", "auto", "--json", *run_options]
    digest = hashlib.sha256("\0".join((text, *command)).encode()).hexdigest()
    job, new = jobs.start(f"phantom-dist-{spec.name}-{digest[:12]}", command, files)
    show(f"job {job} {'was submitted' if new else 'runs already'}\n")
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
            f"no longer followed; the job {job} still runs. The same command follows it again, "
            f"`ray job stop {job} --address {address}` ends it"
        ) from None
    answer = last_object("".join(log))
    if "run" in answer:
        return SubmittedRun(run=spec.name, job=job, status=RunStatus.from_json(answer))
    message = str(answer.get("error") or (ended.message.strip() or "Ray gives no reason").splitlines()[0])
    if ended.exit_status == WRONG_INPUT:
        raise InputError(message)
    if ended.exit_status == INTERRUPTED:
        raise Interrupted(
            "the run was interrupted on the cluster; what it has stored is kept, and the same `submit` continues it"
        )
    if "error" in answer:
        raise StoreError(message)
    raise ClusterError(f"the job {job} ended without a result ({ended.status}): {message}")


def _files(spec: SweepSpec) -> dict[str, str]:
    """What the job needs: the sweep, and its training data beside it."""
    if spec.training is None or spec.training.data == CONTEXTS:
        return {"sweep.yaml": to_yaml(spec)}
    data = with_data(spec).data
    if data is None:
        raise InputError("submit: a stored sweep names no data file; submit the sweep file itself")
    there = spec.training.model_copy(update={"data": "data.jsonl"})
    return {
        "sweep.yaml": to_yaml(spec.model_copy(update={"training": there})),
        "data.jsonl": "".join(f"{example}\n" for example in data),
    }


def _seen_from_the_cluster(out: str) -> str:
    if "://" in out or os.path.isabs(out):
        return out
    raise InputError(
        f"--out {out}: a relative path is a folder of this machine, but the run is on the cluster. Allowed: s3://…, "
        f"gs://…, or an absolute path on a file system that all of its nodes share."
    )


def _check_models(models: tuple[str, ...]) -> None:
    for model in models:
        path = model.removeprefix("gguf:").removeprefix("peft:")
        if not os.path.isabs(path) and (path.startswith((".", "~")) or Path(path).exists()):
            raise InputError(
                f"models: {model} is a path of this machine, but the run is on the cluster. Allowed: a hub name, a "
                f"packaged or built-in model, or an absolute path on a file system that all of its nodes share."
            )


def last_object(log: str) -> Row:
    """The job's result: the last line of its log that is a JSON object; empty if there is none."""
    for line in reversed(log.split("\n")):
        if line.startswith("{"):
            try:
                result: Row = json.loads(line)
            except ValueError:
                continue
            return result
    return {}
