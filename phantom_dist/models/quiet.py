"""transformers keeps quiet while it works for us: stdout belongs to the command's own output."""

from __future__ import annotations

import contextlib
import sys
import warnings
from collections.abc import Iterator

from transformers.utils import logging


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """No warnings, no progress bars, nothing on stdout from transformers; its settings are restored after."""
    verbosity, bars = logging.get_verbosity(), logging.is_progress_bar_enabled()
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    try:
        # a library that is imported on the way may bind its log to what it finds as stdout
        with warnings.catch_warnings(), contextlib.redirect_stdout(sys.stderr):
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.set_verbosity(verbosity)
        if bars:
            logging.enable_progress_bar()
