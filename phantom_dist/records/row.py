"""A row of a stored table."""

from __future__ import annotations

from typing import Any

Row = dict[str, Any]
"""Values by column name; `core.quantities` declares the columns. A missing column is stored as null."""
