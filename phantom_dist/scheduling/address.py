"""Which Ray a run goes to."""

from __future__ import annotations

import os


def chosen_address(given: str | None) -> str:
    """The address that was given, else the one that RAY_ADDRESS names, else `local`: a Ray of the run's own."""
    return given or os.environ.get("RAY_ADDRESS") or "local"
