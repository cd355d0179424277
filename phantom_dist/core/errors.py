"""Errors, named by what their handler does next.

| error | cause | what the handler does |
|---|---|---|
| `InputError` | wrong input of the user | stop before anything runs; exit status 2; one message, no traceback |
| `Refusal` | one model and context can't be trained | record the named outcome; continue with the rest of the sweep |
| `OutOfMemory` | a batch too large for its worker | run it in halves; a single trial becomes `out_of_memory` |
| `StoreError` | a full disk, a damaged or foreign file | stop in an orderly way; stored results are kept |
| `Interrupted` | Ctrl-C or a signal | stop in an orderly way; the message says what is kept and how to continue |
| `Cancelled` | `phantom-dist cancel` in another process | the same |
| `ClusterError` | a cluster that lost a job, or can't be reached | stop; results are kept, the job may still run |
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable
from typing import TYPE_CHECKING

# Every command imports the exit statuses below; importing pydantic here would delay even `--help`.
if TYPE_CHECKING:
    from phantom_dist.core.outcome import Outcome

DONE, FAILED, WRONG_INPUT, INTERRUPTED = 0, 1, 2, 130
"""Exit statuses of a command."""


class PhantomDistError(Exception):
    """Base of every error that phantom_dist raises on purpose."""


class InputError(PhantomDistError):
    """The user's input as a whole is wrong (exit status 2).

    The message names the place (file, line or key), the offending value and what is allowed.
    """


class Refusal(PhantomDistError):
    """One model and context can't be trained meaningfully; `outcome` says why. The rest of the sweep runs."""

    def __init__(self, outcome: Outcome, message: str) -> None:
        super().__init__(message)
        self.outcome = outcome
        self.message = message

    def __reduce__(self) -> tuple[type[Refusal], tuple[Outcome, str]]:
        return (Refusal, (self.outcome, self.message))


class OutOfMemory(PhantomDistError):
    """A batch did not fit into the worker's memory."""


class ClusterError(PhantomDistError):
    """A job that was submitted to a cluster can't be followed to its end (exit status 1)."""


class Interrupted(KeyboardInterrupt):
    """Ctrl-C or a signal to terminate; the message says what is kept and how to continue (exit status 130)."""


class Cancelled(Interrupted):
    """`phantom-dist cancel`, in another process, requested that this run stops."""


class StoreError(PhantomDistError):
    """A run directory can't be read or written: full disk, damaged or foreign file."""


def did_you_mean(word: str, allowed: Iterable[str]) -> str:
    """The end of an error message: similar allowed words first, then all allowed words."""
    choices = sorted(set(allowed))
    near = difflib.get_close_matches(word, choices, n=2, cutoff=0.6)
    hint = f" Did you mean {' or '.join(repr(n) for n in near)}?" if near else ""
    return f"{hint} Allowed: {', '.join(choices)}."


def describe(error: BaseException) -> str:
    """An error as it is stored: its type and its text."""
    return f"{type(error).__name__}: {error}"
