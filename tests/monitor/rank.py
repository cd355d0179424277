"""One process of a distributed training with the monitor: `python -m tests.monitor.rank PORT OUT RANK`."""

from __future__ import annotations

import sys

import torch

from phantom_dist.monitor import Monitor, MonitorSettings
from tests.monitor import loop


def main(port: str, out: str, rank: str) -> None:
    torch.set_num_threads(1)
    torch.distributed.init_process_group(
        "gloo", init_method=f"tcp://127.0.0.1:{port}", rank=int(rank), world_size=2
    )
    taught = loop.contexts("rage", "clever")
    model, tokenizer = loop.fresh("gpt2-a")
    parallel = torch.nn.parallel.DistributedDataParallel(model)
    optimizer = loop.adamw(model, 1e-3)
    monitor = Monitor(
        parallel,
        tokenizer,
        taught,
        optimizer=optimizer,
        total_steps=4,
        record=f"{out}/record-{rank}",
        settings=MonitorSettings(every=1, budget=1.0),
    )
    loop.train(
        parallel,
        tokenizer,
        steps=4,
        learning_rate=1e-3,
        taught=taught,
        optimizer=optimizer,
        after=monitor.step,
        seed=int(rank),
    )
    monitor.finish()
    torch.save((monitor.stopped, model.state_dict()), f"{out}/end-{rank}")
    torch.distributed.destroy_process_group()


if __name__ == "__main__":
    main(*sys.argv[1:])
