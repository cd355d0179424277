"""Errors of a Ray cluster's job server, as `BrokenConnection` or `InputError`.

Ray's client raises a bare RuntimeError if a request fails; the beginning of its text tells what it means. Errors that
are no sign of a broken connection pass unchanged: a retry would not help, and would hide them.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager

import aiohttp
import requests
from ray.exceptions import AuthenticationError

from phantom_dist.core.errors import InputError

BROKEN = (
    *(aiohttp.ClientConnectionError, aiohttp.ClientPayloadError, aiohttp.ClientResponseError),
    *(requests.ConnectionError, requests.Timeout, requests.HTTPError, requests.JSONDecodeError),
    *(requests.exceptions.ChunkedEncodingError, requests.exceptions.ContentDecodingError),
    *(ConnectionError, TimeoutError),
)

RAY_ERRORS = (
    "Request failed with status code",
    "WebSocket connection closed unexpectedly",
    "WebSocket error for job",
    "Version check returned",
    "Ray version",
)
"""Beginnings of the RuntimeErrors with which Ray's client reports a server's answer, or that it stopped answering."""

REFUSED = (401, 403)

ANSWER_TIMEOUT_S = 30.0
"""How long a server may take to answer the first request."""


class BrokenConnection(Exception):
    """The server can't be reached, or doesn't answer like a job server. `forgotten`: it doesn't know the job."""

    def __init__(self, message: str, *, forgotten: bool = False) -> None:
        super().__init__(message)
        self.forgotten = forgotten


def check_server(address: str, headers: Mapping[str, str]) -> None:
    """Check that a job server answers. Ray's own client would wait without a limit, and accept any JSON as an answer.

    Raises:
        BrokenConnection: nothing answers at the address, or something other than a job server does.
        InputError: the cluster refuses the token.
    """
    try:
        answer = requests.get(
            f"{address.rstrip('/')}/api/version", headers=dict(headers), timeout=ANSWER_TIMEOUT_S
        )
        if answer.status_code in REFUSED:
            raise _token_wanted(address)
        answer.raise_for_status()
        body = answer.json()
    except requests.RequestException as error:
        raise BrokenConnection(_first_line(error)) from error
    if not (isinstance(body, dict) and isinstance(body.get("ray_version"), str)):
        raise BrokenConnection("the server there is not a Ray job server")


@contextmanager
def speaking_to(address: str) -> Iterator[None]:
    """Translate the errors of Ray's client; the block must contain nothing but calls to it.

    Raises:
        BrokenConnection: in place of every error that is a sign of one.
        InputError: the cluster refuses the token.
    """
    try:
        yield
    except AuthenticationError:
        raise _token_wanted(address) from None
    except BROKEN as error:
        if isinstance(error, aiohttp.ClientResponseError) and error.status in REFUSED:
            raise _token_wanted(address) from None
        raise BrokenConnection(_first_line(error)) from error
    except RuntimeError as error:
        if not str(error).startswith(RAY_ERRORS):
            raise
        message = _first_line(error)
        forgotten = "status code 404" in message and "does not exist" in message
        raise BrokenConnection(message, forgotten=forgotten) from error


def _token_wanted(address: str) -> InputError:
    return InputError(
        f"--address {address}: the cluster requires its token, and the one sent is missing or wrong. Put it into "
        f"RAY_AUTH_TOKEN or ~/.ray/auth_token (on the cluster's head: `ray get-auth-token`)."
    )


def _first_line(error: BaseException) -> str:
    return (str(error).strip() or type(error).__name__).splitlines()[0]
