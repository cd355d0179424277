"""The torch device for a setting, and its kind."""

from __future__ import annotations

import platform

import torch

from phantom_dist.core.errors import InputError


def device_of(name: str) -> torch.device:
    """The device for `auto`, `cpu` or `cuda` on this machine.

    Raises:
        InputError: `cuda` on a machine without a CUDA device.
    """
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    if name == "cuda" and not torch.cuda.is_available():
        raise InputError("device: cuda is set, but this worker sees no CUDA device. Allowed here: auto, cpu.")
    return torch.device(name)


def device_kind(device: torch.device) -> str:
    """The GPU's name, or the CPU architecture."""
    return torch.cuda.get_device_name(device) if device.type == "cuda" else platform.machine()
