"""Reads asynchronous streams from synchronous code, in an event loop that runs in its own thread.

The caller's thread may already run a loop (a notebook, a web server), and can't run a second one. The caller blocks for
each item, so Ctrl-C interrupts it as usual.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from typing import TypeVar

Item = TypeVar("Item")

_END = object()


@contextmanager
def event_loop() -> Iterator[asyncio.AbstractEventLoop]:
    """A loop that runs during the block; its unfinished tasks are cancelled at the end."""
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever, name="phantom_dist event loop", daemon=True)
    thread.start()
    try:
        yield loop
    finally:
        asyncio.run_coroutine_threadsafe(_cancel_all(loop), loop).result()
        loop.call_soon_threadsafe(loop.stop)
        thread.join()
        loop.close()


def items(loop: asyncio.AbstractEventLoop, stream: AsyncIterator[Item]) -> Iterator[Item]:
    """Iterate over a stream; its errors are raised here."""

    async def following() -> Item | object:
        return await anext(stream, _END)

    while (item := asyncio.run_coroutine_threadsafe(following(), loop).result()) is not _END:
        yield item  # type: ignore[misc]  # _END is the only other object


async def _cancel_all(loop: asyncio.AbstractEventLoop) -> None:
    others = [task for task in asyncio.all_tasks(loop) if task is not asyncio.current_task()]
    for task in others:
        task.cancel()
    await asyncio.gather(*others, return_exceptions=True)
    await loop.shutdown_asyncgens()
