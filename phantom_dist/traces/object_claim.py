"""Ensures that only one driver at a time writes into an object store, through conditional writes.

A claim is an object `.claims/NUMBER` that is created only if it doesn't exist, so exactly one of several drivers gets
it. The highest number is the valid claim. No number is used twice: a claim that is given back stays, marked as such,
until the next one exists.

The driver renews its claim every few seconds. Another driver that finds a claim observes it with its own clock, because
hosts' clocks differ. A claim that changes belongs to a live driver. A claim that doesn't change for `SILENCE_S` belongs
to a dead driver, and the next number takes over. If the old driver was only slow, its leases are over then, so it can't
write any more (see `leases`).

Arrow's file systems have no conditional writes; the package obstore has.
"""

from __future__ import annotations

import functools
import json
import math
import threading
import time
import uuid
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from typing import Any, TypeVar
from urllib.parse import parse_qs, unquote, urlsplit

import obstore
from obstore.exceptions import AlreadyExistsError, BaseError
from obstore.store import from_url

from phantom_dist.core.errors import InputError, StoreError
from phantom_dist.core.events import EventKind, RunEvent, record
from phantom_dist.traces.process import SILENCE_S, lives_here, this_process

RENEW_S = 5.0
"""Interval at which a driver renews its claim (s)."""

ATTEMPTS = 6
"""How many times a request to a store is tried before its failure is final."""

FOLDER = ".claims"
GIVEN_BACK = "given_back"

T = TypeVar("T")


@contextmanager
def claim_object(uri: str, refused: Callable[[Mapping[str, Any]], Exception]) -> Iterator[None]:
    """Claim the directory at a URI during the block.

    Args:
        uri: a URI of pyarrow's file systems.
        refused: makes the error to raise if a live driver (`host`, `pid`) has the claim.

    Raises:
        StoreError: the store can't be reached, or has no conditional writes.
    """
    store = _store_at(uri)
    try:
        name = _take(store, refused)
    except (BaseError, NotImplementedError, OSError) as error:
        raise StoreError(f"{uri}: can't be claimed for this run: {error}") from error
    ended = threading.Event()
    renewing = threading.Thread(target=_renew, args=(store, name, ended), daemon=True)
    renewing.start()
    try:
        yield
    finally:
        ended.set()
        renewing.join()


def _take(store: Any, refused: Callable[[Mapping[str, Any]], Exception]) -> str:
    """Create the next claim and return its name; raise `refused` if a live driver has the current one."""
    observed, since = "", time.monotonic()
    while True:
        # While there is a claim, observe it: it changes (alive), is given back, or doesn't change (dead).
        current = _with_retries(lambda: _highest(store))
        if current is not None:
            try:
                content = _with_retries(functools.partial(_read, store, current))
            except FileNotFoundError:
                continue  # another driver has removed it in between
            if observed and content.hex() != observed:
                raise refused(_holder(content))
            observed = content.hex()
            if _holder(content).get(GIVEN_BACK):
                since = -math.inf
            if lives_here(_holder(content)) is not False and time.monotonic() - since <= SILENCE_S:
                time.sleep(RENEW_S / 5)
                continue
        mine, claim = _after(current), _claim()
        try:
            _with_retries(functools.partial(obstore.put, store, mine, claim, mode="create"))
        except AlreadyExistsError:
            content = _with_retries(functools.partial(_read, store, mine))
            if content != claim:  # else this driver created it: the answer was lost and the request repeated
                raise refused(_holder(content)) from None
        for older in _with_retries(lambda: _claims(store)):
            if older < mine:
                _with_retries(functools.partial(obstore.delete, store, older))
        return mine


def _with_retries(request: Callable[[], T]) -> T:
    """Repeat a request that fails; obstore itself retries only until an answer begins."""
    for attempt in range(ATTEMPTS - 1):
        try:
            return request()
        except (AlreadyExistsError, FileNotFoundError, NotImplementedError):
            raise
        except (BaseError, OSError) as error:
            record(RunEvent(time=time.time(), kind=EventKind.STORE_RETRIED, message=str(error)))
            time.sleep(0.1 * 2**attempt)
    return request()


def _read(store: Any, name: str) -> bytes:
    return bytes(obstore.get(store, name).bytes())


def _renew(store: Any, name: str, ended: threading.Event) -> None:
    """Renew the claim until `ended` is set, then give it back. Stop if another driver has taken over.

    This driver learns of a takeover through its leases, which are over.
    """
    while not ended.wait(RENEW_S):
        with suppress(BaseError, OSError):  # stores fail sometimes; the next renewal may succeed
            if _highest(store) != name:
                return
            obstore.put(store, name, _claim(), mode="overwrite")
    with suppress(BaseError, OSError):
        obstore.put(store, name, json.dumps({GIVEN_BACK: True}).encode(), mode="overwrite")


def _claims(store: Any) -> list[str]:
    return sorted(str(entry["path"]) for batch in obstore.list(store, FOLDER) for entry in batch)


def _highest(store: Any) -> str | None:
    return max(_claims(store), default=None)


def _after(name: str | None) -> str:
    return f"{FOLDER}/{1 if name is None else int(name.rsplit('/', 1)[-1]) + 1:012d}"


def _claim() -> bytes:
    """The content of a claim: the driver's process, and a unique id, so that every renewal differs."""
    holder = this_process() | {"renewal": uuid.uuid4().hex}
    return json.dumps(holder).encode()


def _holder(claim: bytes) -> dict[str, Any]:
    try:
        holder = json.loads(claim)
    except ValueError:
        return {}
    return holder if isinstance(holder, dict) else {}


def _store_at(uri: str) -> Any:
    """The obstore store for a URI of pyarrow, whose credentials and options have other names in obstore.

    Raises:
        InputError: a scheme without conditional writes.
    """
    parts = urlsplit(uri)
    if parts.scheme not in ("s3", "gs"):
        raise InputError(f"{uri}: allowed are local paths, s3://… and gs://….")
    options = {name: values[-1] for name, values in parse_qs(parts.query).items()}
    settings: dict[str, Any] = {}
    if parts.username:
        settings["access_key_id"] = unquote(parts.username)
        settings["secret_access_key"] = unquote(parts.password or "")
    if "region" in options:
        settings["region"] = options["region"]
    if "endpoint_override" in options:
        scheme = options.get("scheme", "https")
        settings["endpoint"] = f"{scheme}://{options['endpoint_override']}"
        settings["client_options"] = {"allow_http": scheme == "http"}
    host = parts.netloc.rpartition("@")[2]
    return from_url(f"{parts.scheme}://{host}{parts.path}", **settings)
