"""Tables as Arrow, Polars or pandas. All three distinguish null from NaN."""

from __future__ import annotations

import importlib
from collections.abc import Iterable, Mapping
from typing import Any, Literal, get_args

import pyarrow as pa
import pyarrow.dataset as ds

from phantom_dist.core.errors import InputError, did_you_mean
from phantom_dist.core.quantities import CRITICAL_RATE_COLUMNS
from phantom_dist.traces.schema import schema_of

Format = Literal["arrow", "polars", "pandas"]


def read_as(form: Format, dataset: ds.Dataset, **equal: Any) -> Any:
    """The rows of a dataset whose columns have the given values; a list allows any of its values, None allows all.

    Returns:
        `arrow`: a `pyarrow.Table`. `polars`: a `polars.LazyFrame`, which reads nothing until it is collected, and then
        only what it needs. `pandas`: a `pandas.DataFrame` with Arrow dtypes.

    Raises:
        InputError: the form is not allowed, or its package is not installed.
    """
    for column, value in equal.items():
        if value is not None:
            values = [value] if isinstance(value, str) else list(value)
            dataset = dataset.filter(
                ds.field(column).isin(pa.array(values, dataset.schema.field(column).type))
            )
    match form:
        case "arrow":
            return dataset.to_table()
        case "polars":
            return _package(form).scan_pyarrow_dataset(dataset)
        case "pandas":
            return dataset.to_table().to_pandas(types_mapper=_package(form).ArrowDtype)
    raise InputError(f"as_={form!r}: there is no such form.{did_you_mean(form, get_args(Format))}")


def critical_rates_dataset(rows: Iterable[Mapping[str, Any]]) -> ds.Dataset:
    """The critical rates that `status` lists, as a table with units in its metadata."""
    return ds.dataset(pa.Table.from_pylist(list(rows), schema_of("critical_rates", CRITICAL_RATE_COLUMNS)))


def _package(name: str) -> Any:
    try:
        return importlib.import_module(name)
    except ImportError:
        raise InputError(f"as_={name!r} needs the package {name}: pip install {name}") from None
