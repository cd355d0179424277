"""Runs a command as a Ray job: submits it to a cluster's head and follows its log until it ends.

The job's name is derived from the command, so submitting the same command again follows the job that already runs.
The head's job server is called over HTTP; `job_server` tells a broken connection from other errors.
"""

from __future__ import annotations

import os
import shlex
import time
from asyncio import AbstractEventLoop
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any
from urllib.parse import urlsplit

from ray.job_submission import JobSubmissionClient

from phantom_dist.core.errors import ClusterError, InputError
from phantom_dist.scheduling.event_loop import event_loop, items
from phantom_dist.scheduling.job_server import BrokenConnection, check_server, speaking_to

PATIENCE_S = 300.0
"""How long requests to a head that doesn't answer are retried. After that the job is no longer followed."""


@dataclass(frozen=True, slots=True)
class Ended:
    """How a job ended. `status`: Ray's name for it; `exit_status`: of the command, None if it has none."""

    status: str
    exit_status: int | None
    message: str


class RayJobs:
    """The jobs of a cluster.

    Args:
        address: the head's job server, `http://HOST:8265`.

    Raises:
        InputError: not such an address, no job server answers there, or the cluster refuses the token.
    """

    def __init__(self, address: str) -> None:
        self._address = address
        parts = urlsplit(address)
        if parts.scheme not in ("http", "https") or not parts.hostname:
            # For any other scheme, Ray would import a module of that name.
            raise InputError(
                f"--address {address}: `submit` needs the address of a cluster's job server. "
                f"Allowed: http://HOST:8265 or https://HOST."
            )
        headers = _token_header()
        try:
            check_server(address, headers)
            with _without_ray_addresses(), speaking_to(address):
                self.client = JobSubmissionClient(address, headers=headers)
        except BrokenConnection as error:
            raise InputError(
                f"--address {address}: no job server of a Ray cluster answers there ({error}). Is the cluster up, "
                f"and the tunnel to it open?"
            ) from None

    def start(self, name: str, words: Sequence[str], files: Mapping[str, str]) -> tuple[str, bool]:
        """Submit a command, unless a job of this name runs already: the job's id, and True if it is new.

        Args:
            name: the job's name; its id gets a number if an ended job has used the name as its id.
            words: the command.
            files: text files to put into the command's working directory, by name.

        Raises:
            ClusterError: the cluster doesn't accept the job.
        """
        try:
            running, free = self._look_up(name)
            if running is not None:
                return running, False
            with TemporaryDirectory() as folder:
                for file, text in files.items():
                    Path(folder, file).write_text(text, encoding="utf-8")
                with speaking_to(self._address):
                    self.client.submit_job(
                        entrypoint=shlex.join(words), submission_id=free, runtime_env={"working_dir": folder}
                    )
        except BrokenConnection as error:
            raise ClusterError(f"{self._address} doesn't accept the job {name}: {error}") from None
        return free, True

    def follow(self, job: str, show: Callable[[str], None]) -> Ended:
        """Show a job's log as it grows, each character once, until the job has ended.

        Raises:
            ClusterError: the head has not answered for `PATIENCE_S` (the job may still run), or doesn't know the job.
        """
        seen, answered = 0, time.monotonic()
        with event_loop() as loop:
            while True:
                try:
                    position = 0  # each stream starts at the beginning of the log
                    for text in self._log(loop, job):
                        answered = time.monotonic()
                        position += len(text)
                        if position > seen:
                            show(text[seen - position :])
                            seen = position
                    details = self._details(job)
                    answered = time.monotonic()
                    if details.status.is_terminal():
                        return Ended(str(details.status), details.driver_exit_code, details.message or "")
                except BrokenConnection as error:
                    self._check_known(job)
                    if time.monotonic() - answered > PATIENCE_S:
                        raise ClusterError(
                            f"{self._address} no longer answers ({error}). If the cluster is alive, so is the job "
                            f"{job}: the same `submit` follows it again."
                        ) from None
                time.sleep(1.0)

    def _log(self, loop: AbstractEventLoop, job: str) -> Iterator[str]:
        """The pieces of the log from its beginning until the server ends the stream."""
        pieces = items(loop, self.client.tail_job_logs(job))
        while True:
            with speaking_to(self._address):
                piece = next(pieces, None)
            if piece is None:
                return
            yield piece

    def _details(self, job: str) -> Any:
        with speaking_to(self._address):
            return self.client.get_job_info(job)

    def _check_known(self, job: str) -> None:
        """Raise ClusterError if the head answers but doesn't know the job, because it was restarted."""
        try:
            self._details(job)
        except BrokenConnection as error:
            if error.forgotten:
                raise ClusterError(
                    f"{self._address} knows no job {job}: the cluster's head was restarted. What the run has stored is "
                    f"kept; the same `submit` continues from there."
                ) from None

    def _look_up(self, name: str) -> tuple[str | None, str]:
        """The job of this name that has not ended, and the next free id."""
        ids: dict[str, bool] = {}
        with speaking_to(self._address):
            jobs = self.client.list_jobs()
        for details in jobs:
            if details.submission_id and details.submission_id.partition(".")[0] == name:
                ids[details.submission_id] = details.status.is_terminal()
        running = next((job for job, ended in ids.items() if not ended), None)
        return running, f"{name}.{len(ids) + 1}" if ids else name


@contextmanager
def _without_ray_addresses() -> Iterator[None]:
    """Hide the variables that Ray would prefer to the given address."""
    names = ("RAY_API_SERVER_ADDRESS", "RAY_ADDRESS")
    before = {name: os.environ.pop(name, None) for name in names}
    try:
        yield
    finally:
        os.environ.update({name: value for name, value in before.items() if value is not None})


def _token_header() -> dict[str, str]:
    """The header with the cluster's token, read from where Ray keeps it; empty if there is none."""
    if os.environ.get("RAY_AUTH_MODE", "token") == "disabled":
        return {}
    token = os.environ.get("RAY_AUTH_TOKEN", "")
    file = Path(os.environ.get("RAY_AUTH_TOKEN_PATH") or Path.home() / ".ray" / "auth_token")
    if not token and file.is_file():
        token = file.read_text()
    return {"Authorization": f"Bearer {token.strip()}"} if token.strip() else {}
