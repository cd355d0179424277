"""Lengths of time as people write them."""

from __future__ import annotations


def duration(seconds: float) -> str:
    """Seconds in words: 42 s, 3 min 20 s, 2 h 5 min."""
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60} s"
    return f"{whole // 3600} h {whole % 3600 // 60} min"


def short_duration(seconds: float) -> str:
    """As `duration`, with tenths below ten seconds."""
    return f"{seconds:.1f} s" if seconds < 9.95 else duration(seconds)
