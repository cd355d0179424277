"""A row of a stored table."""

from __future__ import annotations

from typing import Any

Row = dict[str, Any]
"""Values by column; `core.quantities` declares the columns. A column that is left out is stored as null."""
