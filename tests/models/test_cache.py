from __future__ import annotations

import errno
import os
from collections.abc import Callable
from pathlib import Path

import pytest

from phantom_dist.core.errors import InputError
from phantom_dist.models import cache as cache_module
from phantom_dist.models.cache import building, cache_folder, cached_digest, content_key, file_sha256


def test_the_folder_is_a_setting_of_the_environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PHANTOM_DIST_CACHE", str(tmp_path))
    assert cache_folder() == tmp_path
    monkeypatch.delenv("PHANTOM_DIST_CACHE")
    monkeypatch.setenv("HOME", str(tmp_path))
    assert cache_folder() == tmp_path / ".cache" / "phantom_dist"


def test_a_folder_appears_whole(tmp_path: Path) -> None:
    final = tmp_path / "deep" / "final"
    with building(final) as scratch:
        (scratch / "file").write_text("content")
        assert not final.exists()
    assert [f.name for f in final.iterdir()] == ["file"]
    assert list(final.parent.iterdir()) == [final]


def test_a_failed_build_leaves_nothing(tmp_path: Path) -> None:
    def fail(scratch: Path) -> None:
        (scratch / "file").touch()
        raise RuntimeError("half way")

    with pytest.raises(RuntimeError, match="half way"), building(tmp_path / "final") as scratch:
        fail(scratch)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EIO])
def test_a_full_disk_is_named_with_the_way_out(tmp_path: Path, number: int) -> None:
    message = rf"{os.strerror(number)}\); set PHANTOM_DIST_CACHE to a writable folder with enough free space"
    with pytest.raises(InputError, match=message), building(tmp_path / "final"):
        raise OSError(number, os.strerror(number))
    assert list(tmp_path.iterdir()) == []


def test_a_place_that_is_no_folder_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with (
        pytest.raises(InputError, match="file/gguf: converted models can't be stored here"),
        building(tmp_path / "file" / "gguf" / "final"),
    ):
        pytest.fail("there is nothing to build in")


def test_the_first_of_two_builders_wins(tmp_path: Path) -> None:
    final = tmp_path / "final"
    with building(final) as slow:
        (slow / "file").write_text("slow")
        with building(final) as fast:
            (fast / "file").write_text("fast")
    assert (final / "file").read_text() == "fast"
    assert list(tmp_path.iterdir()) == [final]


def test_slow_digests_are_remembered_until_the_file_changes(
    cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cache_module, "WORTH_CACHING_S", 0.0)
    file = tmp_path / "file"
    file.write_text("content")
    first = file_sha256(file)
    assert first == "ed7002b439e9ac845f22357d822bac1444730fbdb6016d3ec9432297b9ec9f73"
    assert cached_digest([file], lambda: pytest.fail("computed again")) == first
    file.write_text("another content")
    assert file_sha256(file) != first


def _in_place(file: Path) -> None:
    file.write_text("CONTENT")


def _another_file(file: Path) -> None:
    (file.parent / "new").write_text("CONTENT")
    (file.parent / "new").replace(file)


def _another_link(file: Path) -> None:
    target = file.parent / "target"
    target.write_text("CONTENT")
    os.utime(target, ns=(file.stat().st_atime_ns, file.stat().st_mtime_ns))
    file.unlink()
    file.symlink_to(target)


@pytest.mark.parametrize("replace", [_in_place, _another_file, _another_link])
def test_a_file_of_the_same_size_and_time_is_another(
    cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, replace: Callable[[Path], None]
) -> None:
    monkeypatch.setattr(cache_module, "WORTH_CACHING_S", 0.0)
    file = tmp_path / "file"
    file.write_text("content")
    before, first = file.stat(), file_sha256(file)
    replace(file)
    os.utime(file, ns=(before.st_atime_ns, before.st_mtime_ns))
    assert (file.stat().st_size, file.stat().st_mtime_ns) == (before.st_size, before.st_mtime_ns)
    assert file_sha256(file) != first


def test_a_key_covers_names_bytes_and_versions_and_not_the_place(tmp_path: Path, cache: Path) -> None:
    for folder in ("one", "two"):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "a").write_text("content")
    one, two = (tmp_path / folder / "a" for folder in ("one", "two"))
    key = content_key(1, [one])
    assert content_key(1, [two]) == key
    assert content_key(2, [one]) != key
    two.write_text("another")
    assert content_key(1, [two]) != key
    assert content_key(1, [one.rename(one.with_name("b"))]) != key


def test_quick_digests_are_not_kept(cache: Path, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    file_sha256(tmp_path / "file")
    assert not cache.exists()


def test_a_cache_that_cannot_be_written_costs_time_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "blocked").touch()
    monkeypatch.setenv("PHANTOM_DIST_CACHE", str(tmp_path / "blocked"))
    monkeypatch.setattr(cache_module, "WORTH_CACHING_S", 0.0)
    file = tmp_path / "file"
    file.touch()
    assert len(file_sha256(file)) == 64
