"""Trainings in loops of users: optimizers, schedules, compiled and checkpointed models."""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from accelerate import Accelerator
from torch.optim.lr_scheduler import CosineAnnealingLR, LambdaLR, OneCycleLR
from transformers import get_scheduler
from transformers.optimization import Adafactor

from . import loop


@dataclass
class Guest:
    """A training: what is called, what is watched, and what steps."""

    model: Any
    tokenizer: Any
    optimizer: Any
    called: Any = None
    scheduler: Any = None

    def __post_init__(self) -> None:
        self.called = self.model if self.called is None else self.called


class WithoutRate(torch.optim.SGD):
    """Like some 8-bit and fused optimizers: its groups have no `lr`."""

    def __init__(self, parameters: Any) -> None:
        super().__init__(parameters, lr=1e-2)
        for group in self.param_groups:
            del group["lr"]

    def step(self, closure: Any = None) -> None:
        for group in self.param_groups:
            group["lr"] = 1e-2
        super().step(closure)
        for group in self.param_groups:
            del group["lr"]


class NotReady:
    """Like a wrapper whose groups can't be read before the first step."""

    def __init__(self, inner: Any) -> None:
        self.inner, self.ready = inner, False

    @property
    def param_groups(self) -> Any:
        if not self.ready:
            raise AssertionError("no groups before the first step")
        return self.inner.param_groups

    def step(self) -> None:
        self.ready = True
        self.inner.step()

    def zero_grad(self) -> None:
        self.inner.zero_grad()


class Bare:
    """An optimizer without groups at all."""

    def __init__(self, parameters: Any) -> None:
        self._parameters = list(parameters)

    @torch.no_grad()
    def step(self) -> None:
        for parameter in self._parameters:
            if parameter.grad is not None:
                parameter.sub_(1e-2 * parameter.grad.sign())

    def zero_grad(self) -> None:
        for parameter in self._parameters:
            parameter.grad = None


class Remembers:
    """A schedule that counts its calls, so that evaluating it ahead changes it."""

    def __init__(self) -> None:
        self.asked = 0

    def __call__(self, step: int) -> float:
        self.asked += 1
        return 1.0 / self.asked


def _plain(name: str = "gpt2-a", **settings: Any) -> Guest:
    model, tokenizer = loop.fresh(name, **settings)
    return Guest(model=model, tokenizer=tokenizer, optimizer=loop.adamw(model, 1e-3))


def _with(make: Callable[[Any], Any], name: str = "gpt2-a") -> Callable[[], Guest]:
    def build() -> Guest:
        guest = _plain(name)
        guest.optimizer = make(guest.model)
        return guest

    return build


def _scheduled(make: Callable[[Any], Any]) -> Callable[[], Guest]:
    def build() -> Guest:
        guest = _plain()
        guest.scheduler = make(guest.optimizer)
        return guest

    return build


def _groups(model: Any) -> Any:
    some = list(model.parameters())
    return torch.optim.AdamW([{"params": some[:3], "lr": 1e-4}, {"params": some[3:], "lr": 1e-3}])


def _remembering_closure(optimizer: Any) -> Any:
    asked: list[int] = []

    def factor(step: int) -> float:
        asked.append(step)
        return 1.0 / len(asked)

    return LambdaLR(optimizer, factor)


def _accelerated() -> Guest:
    guest = _plain()
    guest.called, guest.optimizer, guest.scheduler = Accelerator(cpu=True).prepare(
        guest.model, guest.optimizer, get_scheduler("linear", guest.optimizer, 0, 6)
    )
    return guest


def _compiled(how: str) -> Callable[[], Guest]:
    def build() -> Guest:
        torch._dynamo.reset()
        torch._dynamo.utils.counters.clear()
        guest = _plain("llama-a")
        if how == "wrapped":
            guest.called = torch.compile(guest.model, backend="eager")
        elif how == "in place":
            guest.model.compile(backend="eager")
        else:
            for layer in guest.model.model.layers:
                layer.compile(backend="eager")
        return guest

    return build


def _checkpointed(reentrant: bool) -> Callable[[], Guest]:
    def build() -> Guest:
        guest = _plain("llama-a", lora=True)
        guest.model.enable_input_require_grads()
        guest.model.gradient_checkpointing_enable({"use_reentrant": reentrant})
        return guest

    return build


def _frozen() -> Guest:
    guest = _plain()
    first = guest.model.transformer.h[0].eval()
    first.requires_grad_(False)
    guest.optimizer = loop.adamw(guest.model, 1e-3)
    return guest


def _growing_rotary() -> Guest:
    """A rotary embedding that depends on the longest text so far: a look at a longer one must not change it."""
    guest = _plain("llama-a")
    config = copy.deepcopy(guest.model.config)
    config.rope_parameters = {"rope_type": "dynamic", "factor": 2.0, "rope_theta": 10000.0}
    config.max_position_embeddings = 4
    guest.model.model.rotary_emb = type(guest.model.model.rotary_emb)(config)
    return guest


def _counting() -> Guest:
    """A module that counts its calls in an attribute, a list and a buffer, and whose output depends on the count."""
    guest = _plain()
    block = guest.model.transformer.h[0]
    forward, block.calls, block.history = block.forward, 0, []
    block.register_buffer("seen", torch.zeros(()), persistent=True)

    def counted(states: Any, *args: Any, **kwargs: Any) -> Any:
        block.calls += 1
        block.history.append(block.calls)
        block.seen.add_(1.0)
        count = block.calls + len(block.history) + float(block.seen)
        scale = 1.0 + 0.01 * count if block.training else 1.0
        return forward(states * scale, *args, **kwargs)

    block.forward = counted
    return guest


def _hooked() -> Guest:
    """Hooks on gradients, as trackers register them: each call moves a weight's gradient a little further."""
    guest = _plain()
    calls: list[int] = []

    def hook(gradient: torch.Tensor) -> torch.Tensor:
        calls.append(1)
        return gradient * (1 + 0.1 * len(calls))

    guest.model.transformer.wte.weight.register_hook(hook)
    return guest


def _wrapped_optimizer() -> Guest:
    guest = _plain()
    guest.optimizer = NotReady(guest.optimizer)
    return guest


GUESTS: dict[str, Callable[[], Guest]] = {
    "sgd": _with(lambda m: torch.optim.SGD(m.parameters(), lr=1e-2, momentum=0.9)),
    "adafactor, relative step": _with(
        lambda m: Adafactor(m.parameters(), lr=None, relative_step=True, warmup_init=True)
    ),
    "adafactor, a rate": _with(
        lambda m: Adafactor(m.parameters(), lr=1e-3, relative_step=False, scale_parameter=False)
    ),
    "no lr in the groups": _with(lambda m: WithoutRate(m.parameters())),
    "no groups": _with(lambda m: Bare(m.parameters())),
    "groups not ready": _wrapped_optimizer,
    "a tensor as rate": _with(
        lambda m: torch.optim.AdamW(m.parameters(), lr=torch.tensor(1e-3), capturable=False)
    ),
    "several groups": _with(_groups),
    "linear": _scheduled(lambda o: get_scheduler("linear", o, 1, 6)),
    "cosine of torch": _scheduled(lambda o: CosineAnnealingLR(o, 6)),
    "one cycle": _scheduled(lambda o: OneCycleLR(o, 1e-3, total_steps=7)),
    "a schedule that remembers": _scheduled(lambda o: LambdaLR(o, Remembers())),
    "a closure that remembers": _scheduled(_remembering_closure),
    "accelerate": _accelerated,
    "compiled": _compiled("wrapped"),
    "compiled in place": _compiled("in place"),
    "compiled layers": _compiled("layers"),
    "checkpointed, reentrant": _checkpointed(True),
    "checkpointed": _checkpointed(False),
    "frozen modules": _frozen,
    "dynamic rope": _growing_rotary,
    "a module that counts": _counting,
    "hooks on gradients": _hooked,
}
