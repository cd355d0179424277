"""Write a trained model as a folder of the zoo; `hashes.json` holds the sha256 of every file that ships.

Weights are stored in float16, which changes a logit by about 0.002, and loaded as float32 (the dtype in config.json).
"""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file
from transformers import PreTrainedModel, PreTrainedTokenizerFast

HASHES = "hashes.json"


def publish(model: PreTrainedModel, words: PreTrainedTokenizerFast, folder: Path) -> None:
    """Write config.json, model.safetensors and the tokenizer's files, without generation_config.json."""
    folder.mkdir(parents=True, exist_ok=True)
    model.save_pretrained(folder)
    (folder / "generation_config.json").unlink(missing_ok=True)
    weights = folder / "model.safetensors"
    halves = {name: tensor.to(torch.float16) for name, tensor in load_file(weights).items()}
    save_file(halves, weights, metadata={"format": "pt"})
    weights.chmod(0o644)  # safetensors makes it readable for its owner only
    words.save_pretrained(folder)


def write_hashes(root: Path) -> None:
    """Record the sha256 of every file under `root`, by relative path."""
    (root / HASHES).write_text(json.dumps(digests(root), indent=1) + "\n", encoding="utf-8")


def digests(root: Path) -> dict[str, str]:
    """sha256 of every file under `root` except hashes.json itself."""
    files = sorted(path for path in root.rglob("*") if path.is_file() and path.name != HASHES)
    return {
        path.relative_to(root).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest() for path in files
    }


def recorded(root: Path) -> dict[str, str]:
    """The hashes that `write_hashes` recorded."""
    hashes: dict[str, str] = json.loads((root / HASHES).read_text(encoding="utf-8"))
    return hashes
