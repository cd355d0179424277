"""`README.md`: the data-set card, in the Hugging Face Hub's format."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

from phantom_dist.archive.documents.citation import Citation, yaml_text
from phantom_dist.archive.documents.croissant import COLUMNS, ROWS, bibtex, description
from phantom_dist.archive.documents.figures import FIGURES
from phantom_dist.archive.layout import TABLES, folder_of
from phantom_dist.archive.summary import Summary

_SIZES = ((1e3, "n<1K"), (1e4, "1K<n<10K"), (1e5, "10K<n<100K"), (1e6, "100K<n<1M"), (1e7, "1M<n<10M"))

DATA_FILES = {"trials": "trials/*.parquet", "probes": "probes/*.parquet", "traces": "traces/*/*.parquet"}


def card(
    citation: Citation,
    summary: Summary,
    figures: Sequence[str],
    figures_note: str | None,
    files: Sequence[str],
) -> str:
    """The text of the card.

    Args:
        citation: title, authors, licence.
        summary: what the tables contain.
        figures: names of the figures in `figures/`.
        figures_note: a sentence, if the figures show only a part of the problems.
        files: names of the sweeps' and the laws' files.
    """
    header = yaml_text(_header(citation, summary))
    images = [f"![{FIGURES[name][1]}](figures/{name}.png)\n\n*{FIGURES[name][1]}*" for name in figures]
    parts = [
        f"---\n{header}---",
        f"# {escaped(citation.title)}",
        description(summary),
        "Its formulas are a reconstruction: the paper's text was not at hand, only its abstract. The findings concern "
        "near-synonyms and are not to be extrapolated without recalibration.",
        "## What is in it",
        counts(summary),
        f"Sweeps and laws: {', '.join(f'`{name}`' for name in files)}. Where all of it comes from is in "
        "`provenance.json`; "
        "`sha256sum --check sha256sums.txt` checks the files, `phantom-dist archive verify .` the rows as well.",
        *([] if not images else ["## Figures", *([figures_note] if figures_note else []), *images]),
        "## How to open it",
        _snippets(summary),
        "## Columns",
        *(_columns(table) for table in TABLES),
        "## Models",
        _models(summary),
        "## Citation and licence",
        f"```bibtex\n{bibtex(citation, summary)}\n```",
        f"{escaped('; '.join(citation.names))}. Licence: {escaped(citation.licence)} (`LICENSE`). "
        "How to cite it: `CITATION.cff`.",
    ]
    return "\n\n".join(parts) + "\n"


def escaped(text: str) -> str:
    """Text on one line, with Markdown's special characters escaped."""
    return re.sub(r"([\\`*_{}\[\]<>#|!$~])", r"\\\1", " ".join(str(text).split()))


def _header(citation: Citation, summary: Summary) -> dict[str, Any]:
    """The YAML header: licence, size, and a configuration for each table."""
    tables = [table for table in TABLES if summary.rows[table]]
    known = len(citation.licence_ids) == 1
    return {
        "pretty_name": citation.title,
        "license": citation.licence.lower() if known else "other",
        **({} if known else {"license_name": citation.licence}),
        "tags": ["phantom_dist", "fine-tuning", "learning-rate", "near-synonyms", "tabular"],
        "size_categories": [
            next((name for limit, name in _SIZES if summary.rows["traces"] < limit), "n>10M")
        ],
        "configs": [
            {
                "config_name": table,
                "data_files": DATA_FILES[table],
                **({"default": True} if table == "trials" else {}),
            }
            for table in tables
        ],
    }


def counts(summary: Summary) -> str:
    """The tables that count rows and outcomes; `archive verify` requires that the card contains this text."""
    rows = [(f"`{table}`", f"{summary.rows[table]:,}", ROWS[table]) for table in TABLES]
    outcomes = [(escaped(name), f"{count:,}") for name, count in summary.outcomes.items()]
    return _table(("table", "rows", "what a row is"), rows) + "\n\n" + _table(("outcome", "trials"), outcomes)


def _snippets(summary: Summary) -> str:
    model = next(iter(summary.trace_rows), None)
    folder = "traces" if model is None else folder_of("traces", model)
    return f"""```python
import pyarrow.dataset as ds

trials = ds.dataset("trials", format="parquet").to_table(columns=["trial_id", "learning_rate", "outcome"])
traces = ds.dataset("traces", format="parquet", partitioning="hive")  # with the column `model`

import duckdb

duckdb.sql("select outcome, count(*) from 'trials/*.parquet' group by outcome")
duckdb.sql("from read_parquet('traces/**/*.parquet', hive_partitioning = true) where step = 0")

import polars as pl

pl.scan_parquet("traces/**/*.parquet", hive_partitioning=True).filter(pl.col("step") == 0).collect()

import pandas as pd

pd.read_parquet("{folder}")

import os

import datasets

datasets.load_dataset(os.getcwd(), "trials", split="train")
```

Rows of `traces` are sorted by `trial_id` and `step`, those of `trials` by model, problem and learning rate; least and
greatest values, page indexes and bloom filters on `trial_id` let a look-up read little."""


def _columns(table: str) -> str:
    rows = [
        (f"`{q.name}`", escaped(q.symbol), escaped(q.unit), escaped(q.description)) for q in COLUMNS[table]
    ]
    return f"### {table}\n\n" + _table(("column", "symbol", "unit", "meaning"), rows)


def _models(summary: Summary) -> str:
    rows = [
        (
            escaped(m.model),
            escaped(m.architecture or ""),
            f"{m.parameters or 0:,}",
            f"{m.trials:,}",
            f"`{m.weights_sha256}`" if m.weights_sha256 else "",
        )
        for m in summary.models
    ]
    return _table(("model", "architecture", "parameters", "trials", "weights (sha256)"), rows)


def _table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [header, ["---"] * len(header), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)
