"""One model under ZeRO: logits, gradients, optimizer steps, and the reset to the untouched weights.

DeepSpeed's engine keeps this rank's part of the trained parameters as flat float32 tensors, the master weights, and
averages the gradients into tensors in the same order. Instruments, probes and the reset need only these two.

The update is the reference's: torch's own optimizer on the master weights, without skipping steps whose gradient is NaN
or Inf: a diverging trial must be recorded as such.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor

from phantom_dist.core.errors import InputError
from phantom_dist.core.trial import Optimizer
from phantom_dist.data import Batch
from phantom_dist.engines import DEEPSPEED_OPTIMIZERS
from phantom_dist.engines.optimizers import torch_optimizer, torch_settings
from phantom_dist.engines.single import Parts
from phantom_dist.engines.training_sets import losses
from phantom_dist.instruments import kernel_rate
from phantom_dist.models.last_logits import last_logits

BUCKET = 5_000_000
"""Entries to reduce, or update, at a time."""

LIVE = 1_000_000
"""Entries of weights that stage 3 may prefetch and keep gathered."""


def settings(stage: int, precision: str) -> dict[str, Any]:
    """DeepSpeed's configuration. Batch size and accumulation are the caller's: it takes the parts of a loss itself.

    In bfloat16, master weights and optimizer state are bfloat16 too, as in the reference.
    """
    zero: dict[str, Any] = {"stage": stage, "reduce_bucket_size": BUCKET, "allgather_bucket_size": BUCKET}
    if stage == 2:
        zero |= {"compute_grad_norm": False, "overlap_comm": False}
    else:
        zero |= {
            "overlap_comm": False,
            "sub_group_size": BUCKET,
            "stage3_param_persistence_threshold": 0,
            "stage3_prefetch_bucket_size": LIVE,
            "stage3_max_live_parameters": LIVE,
            "stage3_max_reuse_distance": 0,
        }
    return {
        "train_micro_batch_size_per_gpu": 1,
        "gradient_accumulation_steps": 1,
        "gradient_clipping": 0.0,  # the default is 1.0
        "zero_allow_untested_optimizer": True,  # torch's SGD
        "zero_optimization": zero,
        "bf16": {
            "enabled": precision == "bfloat16",
            "bf16_master_weights_and_grads": precision == "bfloat16",
            "bf16_optimizer_states": precision == "bfloat16",
        },
        "data_types": {"grad_accum_dtype": {"float32": "fp32", "bfloat16": "bf16"}[precision]},
    }


def _scaled(part: Callable[[], Tensor], factor: float) -> Tensor:
    return part() * factor


class Zero:
    """A module whose trained parameters (those that require a gradient) are sharded over the ranks.

    A `single.ModelInTraining`.

    Args:
        module: in evaluation mode; at stage 3 built under `transformers.integrations.HfDeepSpeedConfig`.
        optimizer: its name determines torch's class; every other setting may change at `reset`.
        stage: 2 or 3.
        precision: the module's: `float32` or `bfloat16`.

    Raises:
        InputError: an optimizer that `reset` can't reinitialise.
    """

    def __init__(self, module: Any, optimizer: Optimizer, stage: int, precision: str) -> None:
        import deepspeed  # reads the environment that `ranks` has set

        if optimizer.name not in DEEPSPEED_OPTIMIZERS:
            raise InputError(
                f"optimizer {optimizer.name}: groups of ranks support {' and '.join(DEEPSPEED_OPTIMIZERS)} only. Give "
                f"the sweep workers with enough memory for its models."
            )
        self.stage = stage
        trained = [parameter for parameter in module.parameters() if parameter.requires_grad]
        self._module = module
        self._engine, self._zero, *_ = deepspeed.initialize(
            model=module,
            optimizer=torch_optimizer(trained, optimizer),
            config=settings(stage, precision),
            dist_init_required=False,
        )
        self._engine.eval()
        if stage == 3:
            # DeepSpeed would skip a step whose gradient norm is NaN or Inf; the norm is needed for clipping only.
            self._zero._get_norm_groups = lambda: [torch.zeros(())]
        self._initial = [master.detach().clone() for master in self._masters()]

    def reset(self, optimizer: Optimizer) -> None:
        """Restore the untouched weights, and reinitialise the optimizer with these settings."""
        inner: torch.optim.Optimizer = self._zero.optimizer
        for state in inner.state.values():
            for value in state.values():
                if torch.is_tensor(value):
                    value.zero_()  # the state of a new optimizer, in place: DeepSpeed holds references to the tensors
        for group in inner.param_groups:
            group |= torch_settings(optimizer)
        with torch.no_grad():
            for master, initial in zip(self._masters(), self._initial, strict=True):
                master.copy_(initial)
        if self.stage == 2:
            self._zero.update_lp_params()
        else:
            self._zero._partition_all_parameters()  # a forward pass without a backward pass leaves some gathered
            for index in range(len(self._initial)):
                self._zero._reassign_or_swap_out_partitioned_parameters(index)

    def logits(self, prompts: Sequence[tuple[int, ...]], *, gradient: bool) -> Tensor:
        """Logits after each prompt, complete on every rank; shape (P, V).

        Without a gradient each rank reads a share of the prompts.
        """
        if gradient or len(prompts) == 1:
            with torch.set_grad_enabled(gradient):
                return torch.stack([last_logits(self._module, prompt, self._engine) for prompt in prompts])
        ranks = dist.get_world_size()
        rounds = -(-len(prompts) // ranks)
        # All ranks make as many forward passes: the rest repeat the last prompt.
        own = [prompts[min(r * ranks + dist.get_rank(), len(prompts) - 1)] for r in range(rounds)]
        with torch.no_grad():
            own_RV = torch.stack([last_logits(self._module, prompt, self._engine) for prompt in own])
        gathered = [torch.empty_like(own_RV) for _ in range(ranks)]
        dist.all_gather(gathered, own_RV)
        return torch.stack(gathered, dim=1).flatten(0, 1)[: len(prompts)]

    def losses(self, batch: Batch, accumulate: int) -> Parts:
        """The loss of a batch in parts, one for each pass: of this rank's share of the sequences, times the ranks."""
        rank, ranks, device = dist.get_rank(), dist.get_world_size(), self._masters()[0].device
        parts = losses(self._engine, batch, accumulate, device, share=(rank, ranks))
        return [functools.partial(_scaled, part, ranks) for part in parts]

    def backward(self, parts: Parts) -> float:
        """Compute the gradient of the sum of each rank's numbers, averaged over the ranks; `gradients` returns it.

        Returns that average. Each number is computed after the backward pass of the one before.
        """
        total = 0.0
        for number, part in enumerate(parts, start=1):
            self._engine.set_gradient_accumulation_boundary(number == len(parts))
            value = part()
            self._engine.backward(value)
            total += float(value.detach())
        return self.sum(total) / dist.get_world_size()

    def step(self, learning_rate: float) -> None:
        """One optimizer step; a learning rate of 0 drops the gradients and leaves the weights unchanged."""
        for group in self._zero.param_groups:
            group["lr"] = learning_rate
        self._engine.step()

    def gradient_norm(self) -> float:
        """‖∇L‖₂ over all ranks."""
        squares = sum(kernel_rate.inner_product(gradient, gradient) for gradient, _ in self.gradients())
        return math.sqrt(self.sum(squares))

    def clip(self, scale: float) -> None:
        """Multiply the gradient by a number; DeepSpeed's own clipping is off, because the reference's norm is here."""
        for gradient, _ in self.gradients():
            gradient.mul_(scale)

    def gradients(self) -> Iterator[tuple[Tensor, Tensor]]:
        """This rank's part of the gradient, piece by piece, each with the matching part of the parameters; flat."""
        for index, master in enumerate(self._masters()):
            at = 0
            for place, piece in enumerate(self._zero.averaged_gradients[index]):
                flat = piece.detach().reshape(-1)
                size = flat.numel()
                if self.stage == 3:
                    # The padding of the last rank's share of a parameter is uninitialised memory.
                    size = min(size, self._share(self._zero.fp16_groups[index][place]))
                yield flat[:size], master.detach()[at : at + size]
                at += flat.numel()

    @staticmethod
    def _share(parameter: Any) -> int:
        """Entries of a parameter on this rank at stage 3, without padding."""
        run = parameter.partition_numel()
        return int(max(0, min(run, parameter.ds_numel - dist.get_rank() * run)))

    def sum(self, value: float) -> float:
        """The sum of a number over all ranks."""
        total = torch.tensor([value], dtype=torch.float64, device=self._masters()[0].device)
        dist.all_reduce(total)
        return total.item()

    def close(self) -> None:
        """Remove DeepSpeed's hooks from the module."""
        self._engine.destroy()

    def _masters(self) -> list[Tensor]:
        """This rank's master weights, flat, one tensor for each of DeepSpeed's parameter groups."""
        masters: list[Tensor] = (
            self._zero.single_partition_of_fp32_groups
            if self.stage == 2
            else self._zero.fp32_partitioned_groups_flat
        )
        return masters
