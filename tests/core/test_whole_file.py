"""A file appears whole or not at all, and nothing is left beside it."""

from __future__ import annotations

import pytest

from phantom_dist.core.whole_file import write_whole


def test_a_file_is_replaced_and_nothing_is_left_beside_it(tmp_path):
    file, staging = tmp_path / "a.bin", tmp_path / "staging"
    staging.mkdir()
    write_whole(file, b"first")
    write_whole(file, b"second", staging=staging)
    assert file.read_bytes() == b"second"
    assert sorted(path.name for path in tmp_path.rglob("*")) == ["a.bin", "staging"]


def test_what_stood_there_stays_where_the_staging_folder_is_gone(tmp_path):
    file = tmp_path / "a.bin"
    write_whole(file, b"first")
    with pytest.raises(FileNotFoundError):
        write_whole(file, b"second", staging=tmp_path / "gone")
    assert file.read_bytes() == b"first"


def test_a_rename_that_fails_leaves_no_temporary_file(tmp_path):
    folder = tmp_path / "folder"
    (folder / "inside").mkdir(parents=True)
    with pytest.raises(OSError, match="directory"):
        write_whole(folder, b"data")
    assert [path.name for path in tmp_path.iterdir()] == ["folder"]
