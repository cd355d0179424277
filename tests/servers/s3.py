"""An S3 server (moto) on loopback, and a bucket in it; optionally one that fails now and then."""

from __future__ import annotations

import http.client
import json
import re
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.environments import python_of

CREDENTIALS = {
    "AWS_ACCESS_KEY_ID": "test",
    "AWS_SECRET_ACCESS_KEY": "test",
    "AWS_EC2_METADATA_DISABLED": "true",
}
BUCKET = "bucket"
HERE = Path(__file__).parent


@dataclass(frozen=True)
class Bucket:
    """A bucket's address: of the server itself, or of a proxy in front of it."""

    port: int

    def uri(self, name: str) -> str:
        """The URI of a folder in it, as pyarrow's file systems take it."""
        return f"s3://{BUCKET}/{name}?scheme=http&endpoint_override=127.0.0.1:{self.port}&region=us-east-1"


@contextmanager
def s3_server() -> Iterator[Bucket]:
    """A server of its own with an empty bucket."""
    with _server(python_of("clouds"), HERE / "run_moto.py") as (bucket, _):
        _make_bucket(bucket)
        yield bucket


@contextmanager
def failing(
    bucket: Bucket, *, seed: int, share: float
) -> Iterator[tuple[Bucket, Callable[[], dict[str, Any]]]]:
    """The bucket behind a proxy that spoils a share of the requests; the function ends it and says what it did."""
    with _server(sys.executable, HERE / "faults.py", bucket.port, seed, share) as (proxied, process):

        def account() -> dict[str, Any]:
            said: dict[str, Any] = json.loads(process.communicate(timeout=30)[0])
            return said

        yield proxied, account


@contextmanager
def _server(*command: object) -> Iterator[tuple[Bucket, subprocess.Popen[str]]]:
    """A process that prints `port N` when it listens."""
    with tempfile.TemporaryFile("w+") as log:
        process = subprocess.Popen(
            [str(word) for word in command],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=log,
            text=True,
        )
        with process:
            try:
                assert process.stdout is not None
                found = re.fullmatch(r"port (\d+)\n", process.stdout.readline())
                log.seek(0)
                assert found, log.read()
                yield Bucket(int(found[1])), process
            finally:
                process.kill()


def _make_bucket(bucket: Bucket) -> None:
    connection = http.client.HTTPConnection("127.0.0.1", bucket.port, timeout=30)
    signed = {"Authorization": "AWS4-HMAC-SHA256 Credential=test/20260101/us-east-1/s3/aws4_request"}
    connection.request("PUT", f"/{BUCKET}", headers=signed)
    assert connection.getresponse().status == 200
    connection.close()
