"""What goes where: with `--json` stdout is one JSON object and nothing else; logs and progress go to stderr.

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

from phantom_dist.cli.doing import Announcer
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
    """The result of a command whose text is its own: JSON and text, as they are printed."""

    json: dict[str, Any]
    text: str

    def to_json(self) -> dict[str, Any]:
        """What `--json` prints."""
        return self.json

    def parts(self) -> Iterable[str]:
        """What is printed without it."""
        return (self.text,)


def answer(
    work: Callable[[], Answer],
    *,
    as_json: bool,
    failed: Callable[[Answer], object] = lambda result: False,
    json_of: Callable[[Answer], dict[str, Any]] = lambda result: result.to_json(),
    interrupted: str = "interrupted",
) -> NoReturn:
    """Do a command's work, print its result, exit with its status.

    While the work is done, whatever a library prints to stdout lands on stderr.

    Args:
        work: gives the result.
        as_json: print `json_of(result)` instead of its text.
        failed: true where the exit status is 1 although there is a result.
        interrupted: the message where the work's own (`core.errors.Interrupted`) doesn't name what Ctrl-C has left.
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
    print(json.dumps(to_json(json_of(result))) if as_json else str(result), file=stdout, flush=True)
    sys.exit(FAILED if failed(result) else DONE)


def interrupted_early(*, as_json: bool) -> NoReturn:
    """Ctrl-C while a command was still being loaded: nothing was begun."""
    _fail(sys.stdout, "interrupted before anything was begun", INTERRUPTED, as_json)


def _divert_stdout() -> Any:
    """A stream on the real stdout; file descriptor 1 then leads to stderr, for Python and C alike."""
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
    """The value with what JSON has no word for made plain: non-finite numbers become null, times ISO strings."""
    if isinstance(value, dict):
        return {key: to_json(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [to_json(item) for item in value]
    if isinstance(value, float) and not math.isfinite(value):
        return None
    if isinstance(value, datetime):
        return value.isoformat()
    return value
