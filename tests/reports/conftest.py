"""A real run of a zoo model: critical rates of three contexts, and some learning rates far above them."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pyarrow as pa
import pytest

import phantom_dist
from phantom_dist.reports import RunTables, read_run
from tests.reports.runs import CONTEXTS, WILD, sweep


@pytest.fixture(scope="session")
def stored_run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The directory of the run that searched the critical rates to 1 %."""
    out = tmp_path_factory.mktemp("runs") / "tiny"
    critical = sweep(learning_rates={"critical": {"tolerance": 0.01}})
    assert phantom_dist.run(critical, out, executor="inprocess").state == "complete"
    return out


@pytest.fixture(scope="session")
def tiny_run(stored_run: Path, tmp_path_factory: pytest.TempPathFactory) -> RunTables:
    """The searches' tables with the trials at the wild rates added."""
    wild_out = tmp_path_factory.mktemp("runs") / "wild"
    phantom_dist.run(sweep(learning_rates=WILD), wild_out, executor="inprocess")
    run, wild = read_run(stored_run), read_run(wild_out)
    return replace(
        run,
        trials=pa.concat_tables([run.trials, wild.trials]),
        traces=pa.concat_tables([run.traces, wild.traces]),
    )


@pytest.fixture(scope="session")
def refused_run(tmp_path_factory: pytest.TempPathFactory) -> RunTables:
    """A run whose only context the untouched model already completes rightly, under both ways of training."""
    out = tmp_path_factory.mktemp("runs") / "refused"
    context = CONTEXTS[0]
    swapped = context.model_dump() | {"target": context.competitor, "competitor": context.target}
    asked = sweep(name="refused", contexts=[swapped], learning_rates={"critical": {"tolerance": 0.01}})
    phantom_dist.run(asked, out, executor="inprocess")
    return read_run(out)
