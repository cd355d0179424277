"""A group of rank processes on this machine, without Ray: each joins, then runs functions that it is sent."""

from __future__ import annotations

import multiprocessing
import os
import socket
import sys
import traceback
from collections.abc import Callable
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import torch

from .problems import DEVICE

TESTS = str(Path(__file__).parents[1])
LOOPBACK = "127.0.0.1"
ANSWER_S = 240


def ranks_here(asked: int) -> int:
    """The number of ranks that this machine has devices for, at most `asked`: nccl allows one per GPU."""
    return asked if DEVICE == "cpu" else min(asked, torch.cuda.device_count())


class RankProcesses:
    """`call` runs a module-level function on every rank, with its `Ranks` first, and returns every rank's answer."""

    def __init__(self, count: int) -> None:
        self.count = count
        context = multiprocessing.get_context("spawn")
        listening = socket.create_server((LOOPBACK, 0))
        port = listening.getsockname()[1]
        os.environ["OMP_NUM_THREADS"] = "1"
        self._pipes: list[Connection] = []
        self._processes = []
        sys.path.append(TESTS)  # where the processes find the functions that they are sent
        for rank in range(count):
            here, there = context.Pipe()
            held = listening if rank == 0 else None
            process = context.Process(target=_serve, args=(there, rank, count, port, held), daemon=True)
            process.start()
            self._pipes.append(here)
            self._processes.append(process)
        sys.path.remove(TESTS)
        listening.close()

    def call(self, function: Callable[..., Any], *arguments: Any) -> list[Any]:
        for pipe in self._pipes:
            pipe.send((function, arguments))
        answers = []
        for pipe in self._pipes:
            assert pipe.poll(ANSWER_S), "a rank doesn't answer"
            answers.append(pipe.recv())
        for ok, answer in answers:
            assert ok, answer
        return [answer for _, answer in answers]

    def close(self) -> None:
        for process in self._processes:
            process.kill()
            process.join()


def _serve(pipe: Connection, rank: int, count: int, port: int, listening: socket.socket | None) -> None:
    os.environ["CUDA_VISIBLE_DEVICES"] = str(rank)  # as Ray gives every rank its own
    from phantom_dist.engines.deepspeed_group import Ranks

    torch.set_num_threads(1)
    torch.use_deterministic_algorithms(True, warn_only=True)
    device = torch.device(DEVICE)
    ranks = Ranks(
        rank=rank,
        count=count,
        address=LOOPBACK,
        port=port,
        device=device,
        timeout_s=60,
        listening=listening,
    )
    while True:
        function, arguments = pipe.recv()
        try:
            pipe.send((True, function(ranks, *arguments)))
        except Exception:
            pipe.send((False, traceback.format_exc()))
