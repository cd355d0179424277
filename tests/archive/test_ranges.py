"""Traces are sorted range by range: the order of all rows, whatever the ranges, within little memory."""

from __future__ import annotations

import duckdb
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from phantom_dist.archive.pack import ranges

IDS = st.lists(
    st.integers(0, 2**128 - 1).map(lambda n: f"{n:032x}") | st.sampled_from(["f" * 32, "0" * 32]), max_size=60
)


def cut(ids: list[str], rows: int, folder) -> list[list[tuple[str, int]]]:
    """The rows of each range; a row is its id and its place among all."""
    with duckdb.connect() as connection:
        connection.register("incoming", pa.table({"trial_id": ids, "place": range(len(ids))}))
        return [
            list(zip(*reader.read_all().to_pydict().values(), strict=True))
            for reader in ranges.cut(connection, "incoming", rows, folder)
        ]


@given(ids=IDS, rows=st.integers(0, 40))
def test_ranges_in_order_hold_every_row_once_and_in_order(ids, rows, tmp_path_factory):
    folder = tmp_path_factory.mktemp("ranges")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(ranges, "RANGE_ROWS", 5)
        found = cut(ids, rows, folder)
    assert len(found) == 1 + rows // 5
    assert [row for part in found for row in sorted(part)] == sorted(zip(ids, range(len(ids)), strict=True))
    assert all(part == sorted(part, key=lambda row: row[1]) for part in found), (
        "a range keeps its rows' order"
    )
    assert list(folder.iterdir()) == []


def test_an_id_that_is_no_hash_is_not_lost(tmp_path, monkeypatch):
    monkeypatch.setattr(ranges, "RANGE_ROWS", 1)
    found = cut(["f" * 32, "no id", "8" * 32], 8, tmp_path)
    assert found[0] == [("no id", 1)]
    assert sorted(row for part in found for row in part) == [("8" * 32, 2), ("f" * 32, 0), ("no id", 1)]


def test_open_files_stay_few_whatever_the_number_of_rows(tmp_path):
    assert len(cut(["0" * 32], 10**9, tmp_path)) == ranges.MAX_RANGES
