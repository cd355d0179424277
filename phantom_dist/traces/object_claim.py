"""One driver at a time in an object store: a claim that is written on conditions, which the store checks.

A claim is an object `.claims/NUMBER`, created only if there is none of that number, so of several drivers that want it
one gets it. The highest number holds, and none is used twice: a claim that is given back stays, marked so, until the
next one is there. Its holder renews it every few seconds. Whoever finds one watches it by its own
clock, as clocks of hosts differ: one that changes is alive; one that stands still for `SILENCE_S` is a dead driver's,
and the next number takes over. A driver that was only slow is fenced then: its leases are over (see `leases`).

Arrow's file systems can't create on that condition; the package obstore does this one thing.
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
"""How often a holder renews its claim."""

ATTEMPTS = 6
"""How often a store is asked before its failure is taken for more than a moment's."""

FOLDER = ".claims"
GIVEN_BACK = "given_back"

T = TypeVar("T")


@contextmanager
def claim_object(uri: str, refused: Callable[[Mapping[str, Any]], Exception]) -> Iterator[None]:
    """Hold the directory at a URI.

    Args:
        uri: as pyarrow's file systems take it.
        refused: the error to raise for the living holder that is given (`host`, `pid`).

    Raises:
        StoreError: the store can't be reached, or doesn't write on conditions.
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
    """The name of the claim that is held from now on."""
    watched, since = "", time.monotonic()
    while True:
        held = _patiently(lambda: _highest(store))
        if held is not None:
            try:
                found = _patiently(functools.partial(_read, store, held))
            except FileNotFoundError:
                continue  # it was given back in between
            if watched and found.hex() != watched:
                raise refused(_holder(found))
            watched = found.hex()
            if _holder(found).get(GIVEN_BACK):
                since = -math.inf
            if lives_here(_holder(found)) is not False and time.monotonic() - since <= SILENCE_S:
                time.sleep(RENEW_S / 5)
                continue
        mine, claim = _after(held), _claim()
        try:
            _patiently(functools.partial(obstore.put, store, mine, claim, mode="create"))
        except AlreadyExistsError:
            found = _patiently(functools.partial(_read, store, mine))
            if found != claim:  # else it was ours: the answer was lost, and it was asked for again
                raise refused(_holder(found)) from None
        for older in _patiently(lambda: _claims(store)):
            if older < mine:
                _patiently(functools.partial(obstore.delete, store, older))
        return mine


def _patiently(ask: Callable[[], T]) -> T:
    """Ask again where the store fails now and then; obstore itself does so only until an answer begins."""
    for attempt in range(ATTEMPTS - 1):
        try:
            return ask()
        except (AlreadyExistsError, FileNotFoundError, NotImplementedError):
            raise
        except (BaseError, OSError) as error:
            record(RunEvent(time=time.time(), kind=EventKind.STORE_RETRIED, message=str(error)))
            time.sleep(0.1 * 2**attempt)
    return ask()


def _read(store: Any, name: str) -> bytes:
    return bytes(obstore.get(store, name).bytes())


def _renew(store: Any, name: str, ended: threading.Event) -> None:
    """Until the end, when the claim is given back; or until somebody has taken over, as the leases will tell."""
    while not ended.wait(RENEW_S):
        with suppress(BaseError, OSError):  # a store fails now and then
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
    """What says who holds it; never the same bytes twice."""
    holder = this_process() | {"renewal": uuid.uuid4().hex}
    return json.dumps(holder).encode()


def _holder(claim: bytes) -> dict[str, Any]:
    try:
        holder = json.loads(claim)
    except ValueError:
        return {}
    return holder if isinstance(holder, dict) else {}


def _store_at(uri: str) -> Any:
    """The store that pyarrow's URI means, for obstore: credentials and options of an S3 URI have other names there.

    Raises:
        InputError: a scheme that has no writes on conditions.
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
