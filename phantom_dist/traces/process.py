"""Whether the process that wrote a name down may still live, as far as can be told from this host."""

from __future__ import annotations

import os
import socket
from collections.abc import Mapping
from typing import Any

SILENCE_S = 30.0
"""A driver on another host that has not been heard of for so long is taken for dead."""


def lives_here(holder: Mapping[str, Any]) -> bool | None:
    """Whether the process `pid` of `host` exists; None where it is another host's, or the holder names none."""
    if holder.get("host") != socket.gethostname():
        return None
    try:
        os.kill(int(holder["pid"]), 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        pass
    except (KeyError, ValueError):
        return None
    return True
