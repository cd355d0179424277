"""`README.md`: the data-set card, in the form that the Hugging Face Hub reads."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

from phantom_dist.archive.about import About, yaml_text
from phantom_dist.archive.croissant import COLUMNS, ROWS, citation, description
from phantom_dist.archive.figures import FIGURES
from phantom_dist.archive.layout import TABLES, folder_of

_SIZES = ((1e3, "n<1K"), (1e4, "1K<n<10K"), (1e5, "10K<n<100K"), (1e6, "100K<n<1M"), (1e7, "1M<n<10M"))

DATA_FILES = {"trials": "trials/*.parquet", "probes": "probes/*.parquet", "traces": "traces/*/*.parquet"}


def card(
    said: About,
    provenance: Mapping[str, Any],
    drawn: Sequence[str],
    part_drawn: str | None,
    sweeps: Sequence[str],
) -> str:
    """The text of the card.

    Args:
        said: title, authors, licence.
        provenance: the contents of `provenance.json`.
        drawn: names of the figures.
        part_drawn: a sentence where these show a part only.
        sweeps: names of the sweeps' files.
    """
    facts = provenance["data"]
    head = yaml_text(_head(said, facts))
    pictures = [f"![{FIGURES[name][1]}](figures/{name}.png)\n\n*{FIGURES[name][1]}*" for name in drawn]
    files = [f"`{name}`" for name in (*sweeps, *provenance["laws"])]
    parts = [
        f"---\n{head}---",
        f"# {plain(said.title)}",
        description(facts),
        "Its formulas are a reconstruction: the paper's text was not at hand, only its abstract. The findings concern "
        "near-synonyms and are not to be extrapolated without recalibration.",
        "## What is in it",
        counts(facts),
        f"Sweeps and laws: {', '.join(files)}. Where all of it comes from is in `provenance.json`; "
        "`sha256sum --check sha256sums.txt` checks the files, `phantom-dist archive verify .` the rows as well.",
        *([] if not pictures else ["## Figures", *([part_drawn] if part_drawn else []), *pictures]),
        "## How to open it",
        _snippets(facts),
        "## Columns",
        *(_columns(table) for table in TABLES),
        "## Models",
        _models(facts),
        "## Citation and licence",
        f"```bibtex\n{citation(said, facts)}\n```",
        f"{plain('; '.join(said.names))}. Licence: {plain(said.licence)} (`LICENSE`). How to cite it: `CITATION.cff`.",
    ]
    return "\n\n".join(parts) + "\n"


def plain(text: str) -> str:
    """Text that somebody wrote, so that Markdown shows it as it is."""
    return re.sub(r"([\\`*_{}\[\]<>#|!$~])", r"\\\1", " ".join(str(text).split()))


def _head(said: About, facts: Mapping[str, Any]) -> dict[str, Any]:
    """The header: licence, size, and a configuration for each table."""
    tables = [table for table in TABLES if facts["rows"][table]]
    known = len(said.licence_ids) == 1
    return {
        "pretty_name": said.title,
        "license": said.licence.lower() if known else "other",
        **({} if known else {"license_name": said.licence}),
        "tags": ["phantom_dist", "fine-tuning", "learning-rate", "near-synonyms", "tabular"],
        "size_categories": [next((w for n, w in _SIZES if facts["rows"]["traces"] < n), "n>10M")],
        "configs": [
            {
                "config_name": table,
                "data_files": DATA_FILES[table],
                **({"default": True} if table == "trials" else {}),
            }
            for table in tables
        ],
    }


def counts(facts: Mapping[str, Any]) -> str:
    """The tables that count rows and outcomes; `archive verify` looks for them in the card."""
    rows = [(f"`{table}`", f"{facts['rows'][table]:,}", ROWS[table]) for table in TABLES]
    outcomes = [(plain(name), f"{count:,}") for name, count in facts["outcomes"].items()]
    return _table(("table", "rows", "what a row is"), rows) + "\n\n" + _table(("outcome", "trials"), outcomes)


def _snippets(facts: Mapping[str, Any]) -> str:
    model = next(iter(facts["trace_rows"]), None)
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
    rows = [(f"`{q.name}`", plain(q.symbol), plain(q.unit), plain(q.description)) for q in COLUMNS[table]]
    return f"### {table}\n\n" + _table(("column", "symbol", "unit", "meaning"), rows)


def _models(facts: Mapping[str, Any]) -> str:
    rows = [
        (
            plain(m["model"]),
            plain(m["architecture"] or ""),
            f"{m['parameters'] or 0:,}",
            f"{m['trials']:,}",
            f"`{m['weights_sha256']}`" if m["weights_sha256"] else "",
        )
        for m in facts["models"]
    ]
    return _table(("model", "architecture", "parameters", "trials", "weights (sha256)"), rows)


def _table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)
