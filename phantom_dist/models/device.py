"""The device that computes: the one that a setting names, and what kind it is."""

from __future__ import annotations

import platform

import torch

from phantom_dist.core.errors import InputError


def device_of(name: str) -> torch.device:
    """The device that `auto`, `cpu` or `cuda` means here.

    Raises:
        InputError: cuda where there is none.
    """
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    if name == "cuda" and not torch.cuda.is_available():
        raise InputError(
            "device: cuda was asked for, but this worker sees no CUDA device. Allowed here: auto, cpu."
        )
    return torch.device(name)


def device_kind(device: torch.device) -> str:
    """The GPU's name, or the processor's architecture."""
    return torch.cuda.get_device_name(device) if device.type == "cuda" else platform.machine()
