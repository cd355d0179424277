"""The address of the Ray that a run uses."""

from __future__ import annotations

import os


def chosen_address(given: str | None) -> str:
    """The given address, else that of RAY_ADDRESS, else `local`, which starts a Ray for this run."""
    return given or os.environ.get("RAY_ADDRESS") or "local"
