"""The connections of a group: gloo between CPUs, nccl between GPUs, and a timeout on every wait.

If a rank doesn't enter a collective, the others give up after a timeout: a short one while training, where equal work
takes about equal time; a long one while loading a model, which only rank 0 reads from disk.
"""

from __future__ import annotations

import gc
import os
import socket
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta

import psutil
import torch
import torch.distributed as dist
from torch._C._distributed_c10d import TCPStore
from torch.distributed import distributed_c10d

from phantom_dist.core.errors import InputError

JOIN_TIMEOUT_S = 120.0
"""How long the ranks of a new group wait for each other (s); each imports its libraries first."""

LOAD_TIMEOUT_S = 3600.0
"""How long a rank waits while another reads a model (s)."""


class Ranks:
    """This process as one rank of a group.

    Args:
        rank: this process's number, 0 to `count` - 1.
        count: number of ranks.
        address: an address of rank 0 that all ranks can reach.
        port: the port that rank 0 listens on.
        device: the device of this rank.
        timeout_s: how long a rank waits for another within a training step (s).
        listening: rank 0's socket, bound to `address` and `port`.
    """

    def __init__(
        self,
        *,
        rank: int,
        count: int,
        address: str,
        port: int,
        device: torch.device,
        timeout_s: float,
        listening: socket.socket | None = None,
    ) -> None:
        self.rank, self.count, self.device = rank, count, device
        self._timeout_s = timeout_s
        _set_environment(rank, count, address, port, device)
        patience = timedelta(seconds=JOIN_TIMEOUT_S)
        listen_fd = None if listening is None else listening.detach()
        store = TCPStore(
            address, port, count, rank == 0, patience, master_listen_fd=listen_fd, use_libuv=True
        )
        backend = "nccl" if device.type == "cuda" else "gloo"
        dist.init_process_group(backend, store=store, rank=rank, world_size=count, timeout=patience)
        _join_deepspeed()
        self._set_timeouts(timeout_s)

    @contextmanager
    def patient(self) -> Iterator[None]:
        """Within, the ranks use the long timeout. On exit all process groups, new ones too, get the short one."""
        self._set_timeouts(LOAD_TIMEOUT_S)
        try:
            yield
        finally:
            self._set_timeouts(self._timeout_s)

    @staticmethod
    def _set_timeouts(seconds: float) -> None:
        """Set it for every process group: DeepSpeed creates its own, with torch's default of half an hour."""
        for group in list(distributed_c10d._world.pg_map):
            distributed_c10d._set_pg_timeout(timedelta(seconds=seconds), group)


def listen(address: str) -> socket.socket:
    """A socket for rank 0 to pass to `Ranks`: bound to a free port of its address, so no other process can take it."""
    return socket.create_server((address, 0), family=_family(address), backlog=128)


def _family(address: str) -> socket.AddressFamily:
    return socket.AF_INET6 if ":" in address else socket.AF_INET


def _set_environment(rank: int, count: int, address: str, port: int, device: torch.device) -> None:
    """Set what DeepSpeed, gloo and nccl read. Each rank is a process of its own and sees its GPU as number 0."""
    os.environ |= {
        "RANK": str(rank),
        "WORLD_SIZE": str(count),
        "LOCAL_RANK": "0",
        "MASTER_ADDR": address,
        "MASTER_PORT": str(port),
        "DS_ACCELERATOR": device.type,
    }
    interface = interface_towards(address)
    os.environ.setdefault("GLOO_SOCKET_IFNAME", interface)
    os.environ.setdefault("NCCL_SOCKET_IFNAME", interface)


def interface_towards(address: str) -> str:
    """The name of the network interface that packets to `address` leave from; gloo would guess loopback."""
    with socket.socket(_family(address), socket.SOCK_DGRAM) as probe:
        probe.connect((address, 9))  # sends nothing
        own = probe.getsockname()[0]
    for name, addresses in psutil.net_if_addrs().items():
        if any(entry.address.split("%")[0] == own for entry in addresses):
            return name
    raise OSError(f"no network interface of this host has the address {own}, from which {address} is reached")


def _join_deepspeed() -> None:
    """Let DeepSpeed use the existing process group."""
    try:
        import deepspeed
        import deepspeed.ops
    except ImportError as error:
        raise InputError(
            f"a model that doesn't fit one worker is trained with DeepSpeed, which can't be imported here ({error}). "
            f"Install it on every node: pip install 'phantom-dist[deepspeed]'."
        ) from None
    deepspeed.utils.logger.setLevel("ERROR")
    # DeepSpeed calls collectives by names that torch has deprecated.
    warnings.filterwarnings("ignore", category=FutureWarning, module="torch.distributed")
    # DeepSpeed would compile a shared-memory reduction, for a minute; gloo does the same.
    deepspeed.ops.__compatible_ops__["deepspeed_shm_comm"] = False
    deepspeed.init_distributed(dist.get_backend(), auto_mpi_discovery=False, verbose=False)
    gc.freeze()  # ZeRO-3 collects garbage whenever it takes a model; that takes a second where it reads all modules
