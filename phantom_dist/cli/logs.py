"""`--verbose` and `--quiet`, which every command has, and what they let through to stderr.

| | events and activities of phantom_dist | other libraries | progress |
|---|---|---|---|
| `--quiet` | errors | none | none |
| neither | warnings: tasks that failed, were lost, split or given up | none | the live view |
| `--verbose` | all, with the time | warnings | the live view |
"""

from __future__ import annotations

import functools
import inspect
import logging
import os
import sys
import warnings
from collections.abc import Callable
from typing import Annotated, Any

import typer

OTHERS = ("transformers", "DeepSpeed", "torch", "huggingface_hub")
"""Libraries whose own loggers print warnings to stderr regardless of the root logger."""

NO_BARS = "TQDM_DISABLE"
"""tqdm reads this variable on import. No setting of transformers turns off the progress bar of its dequantisation."""

Verbose = Annotated[
    bool, typer.Option("--verbose", "-v", help="log all events, and warnings of other libraries, on stderr")
]
Quiet = Annotated[bool, typer.Option("--quiet", "-q", help="no progress and no warnings on stderr")]


class Commands(typer.Typer):
    """A Typer application that adds `--verbose` and `--quiet` to every command; the functions don't declare them."""

    def command(  # type: ignore[override]
        self, *args: Any, **kwargs: Any
    ) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
        """As `Typer.command`."""
        register = super().command(*args, **kwargs)

        def registered(function: Callable[..., Any]) -> Callable[..., Any]:
            register(_with_options(function))
            return function

        return registered


def _with_options(function: Callable[..., Any]) -> Callable[..., Any]:
    signature = inspect.signature(function, eval_str=True)

    @functools.wraps(function)
    def called(verbose: bool, quiet: bool, **given: Any) -> Any:
        if verbose and quiet:
            raise typer.BadParameter("--quiet and --verbose exclude each other.")
        if verbose:
            _show(logging.INFO, "%(asctime)s %(message)s", others=True)
        if quiet:
            _show(logging.ERROR, "phantom-dist: %(message)s", others=False)
        return function(**given)

    options = {"verbose": Verbose, "quiet": Quiet}
    more = [
        inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=False, annotation=hint)
        for name, hint in options.items()
    ]
    parameters = [*signature.parameters.values(), *more]
    called.__signature__ = signature.replace(parameters=parameters)  # type: ignore[attr-defined]
    called.__annotations__ = {parameter.name: parameter.annotation for parameter in parameters}
    return called


def show_warnings() -> None:
    """Configure logging for a command without `--verbose` and `--quiet`."""
    _show(logging.WARNING, "phantom-dist: %(message)s", others=False)


def is_quiet() -> bool:
    """Whether `--quiet` was given."""
    return logging.getLogger("phantom_dist").level > logging.WARNING


class _ToStderr(logging.Handler):
    """Writes to the current `sys.stderr`, because the live view replaces it."""

    def emit(self, record: logging.LogRecord) -> None:
        print(self.format(record), file=sys.stderr, flush=True)


def _show(level: int, form: str, *, others: bool) -> None:
    handler = _ToStderr()
    handler.setFormatter(logging.Formatter(form, "%H:%M:%S"))
    ours, root = logging.getLogger("phantom_dist"), logging.getLogger()
    ours.handlers = [handler]
    ours.setLevel(level)
    ours.propagate = False
    if others:
        root.handlers = [handler]
        warnings.resetwarnings()
        os.environ.pop(NO_BARS, None)
    else:
        os.environ[NO_BARS] = "1"
        # Without any handler, Python's last-resort handler would print the libraries' warnings.
        root.handlers = [logging.NullHandler()]
        warnings.simplefilter("ignore")
    for name in OTHERS:
        logging.getLogger(name).setLevel(logging.WARNING if others else logging.ERROR)
