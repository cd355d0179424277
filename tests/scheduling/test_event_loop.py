"""Streams can be read from a script, a thread or a running loop, and leave nothing behind."""

from __future__ import annotations

import ast
import asyncio
import threading
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

import phantom_dist
from phantom_dist.scheduling.event_loop import event_loop, items

PACKAGE = Path(phantom_dist.__file__).parent


async def numbers(ended: list[str]) -> AsyncIterator[int]:
    try:
        for number in range(3):
            await asyncio.sleep(0.001)
            yield number
    finally:
        ended.append("stream")


def read() -> list[int]:
    ended: list[str] = []
    with event_loop() as loop:
        found = list(items(loop, numbers(ended)))
    assert ended == ["stream"]
    return found


def test_from_a_script_a_thread_and_a_running_loop() -> None:
    async def in_a_loop() -> list[int]:
        return read()

    found: list[list[int]] = [read(), asyncio.run(in_a_loop())]
    thread = threading.Thread(target=lambda: found.append(read()))
    thread.start()
    thread.join()
    assert found == [[0, 1, 2]] * 3


def test_what_is_left_in_the_middle_is_closed_and_its_thread_ends() -> None:
    before, ended = threading.active_count(), []

    async def endless() -> AsyncIterator[int]:
        try:
            yield 1
            await asyncio.sleep(3600)
        finally:
            ended.append("endless")

    with event_loop() as loop:
        streams = items(loop, numbers(ended)), items(loop, endless())
        assert [next(stream) for stream in streams] == [0, 1]
        asyncio.run_coroutine_threadsafe(asyncio.sleep(3600), loop)
    assert sorted(ended) == ["endless", "stream"]
    assert threading.active_count() == before


def test_what_the_stream_raises_is_raised_where_it_is_read() -> None:
    async def fails() -> AsyncIterator[int]:
        yield 1
        raise KeyError("no such thing")

    with event_loop() as loop, pytest.raises(KeyError, match="no such thing"):
        list(items(loop, fails()))


def test_the_package_never_runs_a_loop_in_its_callers_thread() -> None:
    """That would fail in a notebook and in every web server."""
    forbidden = {"run_until_complete", "Runner", "nest_asyncio", "get_event_loop"}
    for file in PACKAGE.rglob("*.py"):
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Attribute):
                assert node.attr not in forbidden, file
                assert not (node.attr == "run" and ast.unparse(node.value) == "asyncio"), file
            if isinstance(node, ast.ImportFrom) and node.module == "asyncio":
                assert not {"run", *forbidden} & {name.name for name in node.names}, file
