"""Death inside every step of a write: the process ends itself, as SIGKILL does, at a drawn step of a drawn write.

A step is what a write asks the operating system for: open the temporary file, write half of it, write the rest, flush
it to the disk, rename it, flush the folder, remove it. Each attempt is a fork of this process, so it starts warm.
"""

from __future__ import annotations

import errno
import functools
import os
import random
import shutil
import signal
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

STEPS = ("open", "half", "write", "flush", "rename", "folder", "remove")
MOST_STEPS = 60
"""An attempt dies within so many steps of writes; a whole run takes several hundred."""


def forked(work: Callable[[], None]) -> int:
    """Do something in a fork of this process; its wait status."""
    pid = os.fork()
    if pid == 0:
        try:
            with open(os.devnull, "w") as nothing:
                os.dup2(nothing.fileno(), 2)
            work()
        except BaseException:
            os._exit(1)
        os._exit(0)
    return os.waitpid(pid, 0)[1]


def intercept_writes(
    written: Callable[[Any, bytes], None], opened: Callable[[Path], None] = lambda path: None
) -> None:
    """From now on, files that this process opens with `Path.open("wb")` are written by `written(stream, data)`."""
    real = Path.open

    class Stream:
        def __init__(self, inner: Any) -> None:
            self.inner = inner

        def __enter__(self) -> Stream:
            return self

        def __exit__(self, *_: object) -> None:
            self.inner.close()

        def __getattr__(self, name: str) -> Any:
            return getattr(self.inner, name)

        def write(self, data: bytes) -> None:
            written(self.inner, data)

    def open_(self: Path, mode: str = "r", *args: Any, **how: Any) -> Any:
        stream = real(self, mode, *args, **how)
        if mode != "wb":
            return stream
        opened(self)
        return Stream(stream)

    Path.open = open_  # type: ignore[assignment,method-assign]


def dies_at(number: int, told: Path, may: Callable[[Path], bool] = lambda path: True) -> None:
    """From now on, this process kills itself at its `number`-th step of a write, and says in a file which it was.

    Args:
        number: of the step, from 1.
        told: the file.
        may: whether it may die while it writes this file, under its temporary name; else it does at a later step.
    """
    count, file = 0, Path()

    def step(name: str, path: Path) -> None:
        nonlocal count, file
        file = file if name == "folder" else path
        count += 1
        if count >= number and may(file):
            told.write_text(name)
            os.kill(os.getpid(), signal.SIGKILL)

    fsync, replace, unlink = os.fsync, Path.replace, Path.unlink

    def written(stream: Any, data: bytes) -> None:
        stream.write(data[: len(data) // 2])
        stream.flush()
        step("half", Path(stream.name))
        stream.write(data[len(data) // 2 :])
        step("write", Path(stream.name))

    def flushed(descriptor: int) -> None:
        path = Path(os.readlink(f"/proc/self/fd/{descriptor}"))
        fsync(descriptor)
        step("folder" if path.is_dir() else "flush", path)

    def renamed(self: Path, target: Any) -> Path:
        moved = replace(self, target)
        step("rename", self)
        return moved

    def removed(self: Path, missing_ok: bool = False) -> None:
        unlink(self, missing_ok=missing_ok)
        step("remove", self)

    os.fsync, Path.replace, Path.unlink = flushed, renamed, removed  # type: ignore[assignment,method-assign]
    intercept_writes(written, opened=lambda path: step("open", path))


def killed_and_resumed(
    run: Callable[[], None],
    arm: Callable[[int, Path], None],
    told: Path,
    draw: random.Random,
    kills: int,
    most: int,
) -> Counter[str]:
    """One run, killed inside its writes and resumed until it is through.

    Args:
        run: starts or continues it, in this process.
        arm: as `dies_at`.
        told: the file that says in which step a process died.
        draw: of the moments.
        kills: at most so many; fewer where the run is through before.
        most: a process dies within so many steps.

    Returns:
        kills by the step that they happened in.

    Raises:
        RuntimeError: the run ended in another way.
    """
    seen = Counter[str]()
    while True:
        moment = draw.randint(1, most) if seen.total() < kills else 0

        def attempt(moment: int = moment) -> None:
            if moment:
                arm(moment, told)
            run()

        status = forked(attempt)
        if os.WIFSIGNALED(status) and os.WTERMSIG(status) == signal.SIGKILL:
            seen[told.read_text()] += 1
        elif status == 0:
            return seen
        else:
            raise RuntimeError(f"a run ended with wait status {status}, not by the kill")


def kill_writes(
    run: Callable[[Path], None], folder: Path, kills: int, seed: int, each: Callable[[Path], None]
) -> Counter[str]:
    """Kill runs inside their writes, resuming each until it is through, until there were so many kills.

    Args:
        run: starts or continues a run in a directory, in this process.
        folder: for directories.
        kills: so many.
        seed: of the moments.
        each: told of each directory once its run is through.

    Returns:
        kills by the step that they happened in.

    Raises:
        RuntimeError: a run ended in another way.
    """
    draw, seen, number = random.Random(seed), Counter[str](), 0
    while seen.total() < kills:
        number += 1
        out = folder / f"writes-{number}"
        here = functools.partial(run, out)
        seen += killed_and_resumed(here, dies_at, folder / "step", draw, kills - seen.total(), MOST_STEPS)
        each(out)
        shutil.rmtree(out)
    return seen


def with_clock(run: Callable[[Path], None], out: Path, seed: int) -> int:
    """A run whose clock jumps by up to a day in both directions; its wait status."""
    draw, real = random.Random(seed), time.time

    def attempt() -> None:
        time.time = lambda: real() + draw.choice((-86400.0, -30.0, 0.0, 30.0, 86400.0))
        run(out)

    return forked(attempt)


def on_full_disk(run: Callable[[Path], None], out: Path, room: int) -> tuple[int, int]:
    """A run whose files together may take so many bytes; wait statuses of that and of one that has room again."""

    def attempt() -> None:
        used = 0

        def written(stream: Any, data: bytes) -> None:
            nonlocal used
            used += len(data)
            if used > room:
                stream.write(data[: len(data) // 2])
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
            stream.write(data)

        intercept_writes(written)
        run(out)

    return forked(attempt), forked(lambda: run(out))
