"""A command as a Ray job: sent to a cluster's head, its log followed until it ends.

The job's name follows from what is run, so whoever sends the same again while it runs follows the job that is there.
The head's job server is spoken to over HTTP; this file and `ray_executor` are the only ones that import ray.
"""

from __future__ import annotations

import asyncio
import os
import shlex
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any
from urllib.parse import urlsplit

import aiohttp
from ray.exceptions import AuthenticationError
from ray.job_submission import JobSubmissionClient

from phantom_dist.core.errors import ClusterError, InputError

PATIENCE_S = 300.0
"""How long a head that doesn't answer is asked again, before the job is left to itself."""

BROKEN = (aiohttp.ClientError, OSError, RuntimeError)
"""What a connection that breaks looks like: of the log's stream, of a request, or as Ray puts it."""


@dataclass(frozen=True, slots=True)
class Ended:
    """How a job ended. `status`: Ray's word; `exit_status`: of its command, None where it never had one."""

    status: str
    exit_status: int | None
    message: str


class RayJobs:
    """The jobs of a cluster.

    Args:
        address: the head's job server, `http://HOST:8265`.

    Raises:
        InputError: not such an address, nobody answers there, or the cluster refuses the token.
    """

    def __init__(self, address: str) -> None:
        self._address = address
        parts = urlsplit(address)
        if parts.scheme not in ("http", "https") or not parts.hostname:
            # Ray would import a module that is named like any other scheme.
            raise InputError(
                f"--address {address}: `submit` speaks to the job server of a cluster's head. "
                f"Allowed: http://HOST:8265 or https://HOST."
            )
        try:
            with _only(address):
                self._client = JobSubmissionClient(address, headers=_token_header())
        except AuthenticationError:
            raise InputError(
                f"--address {address}: the cluster asks for its token and was not given the right one. Put it into "
                f"RAY_AUTH_TOKEN or ~/.ray/auth_token (on the cluster's head: `ray get-auth-token`)."
            ) from None
        except BROKEN as error:
            first_line = (str(error) or type(error).__name__).splitlines()[0]
            raise InputError(
                f"--address {address}: no job server of a Ray cluster answers there ({first_line}). Is the cluster up, "
                f"and the tunnel to it open?"
            ) from None

    def start(self, name: str, words: Sequence[str], files: Mapping[str, str]) -> tuple[str, bool]:
        """Start a command unless one of that name runs already: the job's id, and True if it is new.

        Args:
            name: the job's name; an id that an ended job has used gets a number.
            words: the command.
            files: texts that lie in the command's working directory, by their names.

        Raises:
            ClusterError: the cluster doesn't take the job.
        """
        try:
            running, fresh = self._look_up(name)
            if running is not None:
                return running, False
            with TemporaryDirectory() as folder:
                for file, text in files.items():
                    Path(folder, file).write_text(text, encoding="utf-8")
                self._client.submit_job(
                    entrypoint=shlex.join(words), submission_id=fresh, runtime_env={"working_dir": folder}
                )
        except BROKEN as error:
            raise ClusterError(f"{self._address} doesn't take the job {name}: {error}") from None
        return fresh, True

    def follow(self, job: str, show: Callable[[str], None]) -> Ended:
        """Show a job's log as it grows, each character once, until the job has ended.

        Raises:
            ClusterError: the head has not answered for `PATIENCE_S`; the job may go on.
        """
        seen, answered = 0, time.monotonic()

        async def read() -> None:
            nonlocal seen, answered
            position = 0  # each stream begins with the log's beginning
            async for text in self._client.tail_job_logs(job):
                answered = time.monotonic()
                position += len(text)
                if position > seen:
                    show(text[seen - position :])
                    seen = position

        while True:
            try:
                asyncio.run(read())
                details = self._client.get_job_info(job)
                answered = time.monotonic()
                if details.status.is_terminal():
                    return Ended(str(details.status), details.driver_exit_code, details.message or "")
            except BROKEN as error:
                if time.monotonic() - answered > PATIENCE_S:
                    raise ClusterError(
                        f"{self._address} no longer answers ({error}). If the cluster is alive, so is the job {job}: "
                        f"the same `submit` follows it again."
                    ) from None
            time.sleep(1.0)

    def _look_up(self, name: str) -> tuple[str | None, str]:
        """The job of that name that has not ended, and the next id that is free."""
        ids: dict[str, bool] = {}
        for details in self._client.list_jobs():
            if details.submission_id and details.submission_id.partition(".")[0] == name:
                ids[details.submission_id] = details.status.is_terminal()
        running = next((job for job, ended in ids.items() if not ended), None)
        return running, f"{name}.{len(ids) + 1}" if ids else name


@contextmanager
def _only(address: str) -> Any:
    """Ray prefers what these variables name to the address that it is given."""
    names = ("RAY_API_SERVER_ADDRESS", "RAY_ADDRESS")
    before = {name: os.environ.pop(name, None) for name in names}
    try:
        yield
    finally:
        os.environ.update({name: value for name, value in before.items() if value is not None})


def _token_header() -> dict[str, str]:
    """The header with the cluster's token, from where Ray keeps it; empty if there is none."""
    if os.environ.get("RAY_AUTH_MODE", "token") == "disabled":
        return {}
    token = os.environ.get("RAY_AUTH_TOKEN", "")
    file = Path(os.environ.get("RAY_AUTH_TOKEN_PATH") or Path.home() / ".ray" / "auth_token")
    if not token and file.is_file():
        token = file.read_text()
    return {"Authorization": f"Bearer {token.strip()}"} if token.strip() else {}
