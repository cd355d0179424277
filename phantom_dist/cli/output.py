"""What goes where: with `--json`, stdout is one JSON object and nothing else; logs and progress go to stderr.

Exit status: 0 done, whatever the trials' outcomes; 1 some trials ended in `error`, an archive is not sound, results
can't be stored, or a cluster lost the run; 2 the input as a whole is wrong; 130 interrupted.
"""

from __future__ import annotations

import json
import math
import os
import sys
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from datetime import datetime
from typing import Any, NoReturn, TypeVar

from phantom_dist.cli.current_work import Announcer
from phantom_dist.core.activity import watching
from phantom_dist.core.errors import (
    DONE,
    FAILED,
    INTERRUPTED,
    WRONG_INPUT,
    ClusterError,
    InputError,
    Interrupted,
    StoreError,
)
from phantom_dist.core.result import Result

Answer = TypeVar("Answer", bound=Result)


@dataclass(frozen=True, slots=True)
class Printed(Result):
    """The result of a command that has no result type of its own: the JSON and the text to print."""

    json: dict[str, Any]
    text: str

    def to_json(self) -> dict[str, Any]:
        """What `--json` prints."""
        return self.json

    def parts(self) -> Iterable[str]:
        """What is printed without `--json`."""
        return (self.text,)


def answer(
    work: Callable[[], Answer],
    *,
    as_json: bool,
    failed: Callable[[Answer], object] = lambda result: False,
    interrupted: str = "interrupted",
) -> NoReturn:
    """Do a command's work, print its result, and exit with its status.

    Meanwhile everything that a library prints to stdout goes to stderr.

    Args:
        work: returns the result.
        as_json: print the result's JSON instead of its text.
        failed: tells from the result whether the exit status is 1.
        interrupted: the message after Ctrl-C, unless the work raises `core.errors.Interrupted` with its own message.
    """
    stdout = _divert_stdout()
    try:
        with watching(Announcer()):
            result = work()
    except InputError as error:
        _fail(stdout, str(error), WRONG_INPUT, as_json)
    except (StoreError, ClusterError) as error:
        _fail(stdout, str(error), FAILED, as_json)
    except KeyboardInterrupt as error:
        message = str(error) if isinstance(error, Interrupted) else interrupted
        _fail(stdout, message, INTERRUPTED, as_json)
    print(json.dumps(to_json(result.to_json())) if as_json else str(result), file=stdout, flush=True)
    sys.exit(FAILED if failed(result) else DONE)


def interrupted_early(*, as_json: bool) -> NoReturn:
    """End a command that was interrupted while it was still being imported."""
    _fail(sys.stdout, "interrupted before the command began", INTERRUPTED, as_json)


def _divert_stdout() -> Any:
    """Redirect file descriptor 1 to stderr, for Python and C alike; return a stream to the real stdout."""
    sys.stdout.flush()
    real = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)
    return real


def _fail(stdout: Any, message: str, code: int, as_json: bool) -> NoReturn:
    print(f"phantom-dist: {message}", file=sys.stderr)
    if as_json:
        print(json.dumps({"error": message}), file=stdout, flush=True)
    sys.exit(code)


def to_json(value: Any) -> Any:
    """The value with JSON types only: non-finite numbers become null, times become ISO strings."""
    if isinstance(value, dict):
        return {key: to_json(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [to_json(item) for item in value]
    if isinstance(value, float) and not math.isfinite(value):
        return None
    if isinstance(value, datetime):
        return value.isoformat()
    return value
