"""What speaking to a cluster's job server can come to: an answer, a broken connection, or an error of ours.

Ray says with a bare RuntimeError that a request failed; such ones are known by their words. Everything that is no sign
of a broken connection goes through as it is: asking again would not mend it, and nobody would see it.
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

SAID_BY_RAY = (
    "Request failed with status code",
    "WebSocket connection closed unexpectedly",
    "WebSocket error for job",
    "Version check returned",
    "Ray version",
)
"""How the RuntimeErrors of Ray's client begin that say what a server answered, or that it stopped answering."""

REFUSED = (401, 403)

ANSWER_TIMEOUT_S = 30.0
"""How long a server may take to say that it is there."""


class BrokenConnection(Exception):
    """The server can't be reached, or doesn't answer as a job server does. `forgotten`: it knows no such job."""

    def __init__(self, message: str, *, forgotten: bool = False) -> None:
        super().__init__(message)
        self.forgotten = forgotten


def check_server(address: str, headers: Mapping[str, str]) -> None:
    """Ask who is there, before Ray's client does, which waits without end and takes any JSON for an answer.

    Raises:
        BrokenConnection: nobody answers at the address, or no job server.
        InputError: the cluster refuses the token.
    """
    try:
        answer = requests.get(
            f"{address.rstrip('/')}/api/version", headers=dict(headers), timeout=ANSWER_TIMEOUT_S
        )
        if answer.status_code in REFUSED:
            raise _token_wanted(address)
        answer.raise_for_status()
        said = answer.json()
    except requests.RequestException as error:
        raise BrokenConnection(_first_line(error)) from error
    if not (isinstance(said, dict) and isinstance(said.get("ray_version"), str)):
        raise BrokenConnection("what answers there is something else")


@contextmanager
def speaking_to(address: str) -> Iterator[None]:
    """A block in which nothing but Ray's client speaks.

    Raises:
        BrokenConnection: in its place, whatever is a sign of one.
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
        if not str(error).startswith(SAID_BY_RAY):
            raise
        said = _first_line(error)
        forgotten = "status code 404" in said and "does not exist" in said
        raise BrokenConnection(said, forgotten=forgotten) from error


def _token_wanted(address: str) -> InputError:
    return InputError(
        f"--address {address}: the cluster asks for its token and was not given the right one. Put it into "
        f"RAY_AUTH_TOKEN or ~/.ray/auth_token (on the cluster's head: `ray get-auth-token`)."
    )


def _first_line(error: BaseException) -> str:
    return (str(error).strip() or type(error).__name__).splitlines()[0]
