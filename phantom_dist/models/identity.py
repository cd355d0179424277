"""The digest of a model: what its tensors and its configuration say, whatever folder or shards they lie in.

The safetensors format (8 bytes with the header's length, a JSON header of name -> dtype, shape, byte range, then the
bytes) is read directly, so the digest needs neither torch nor the memory to hold the model.
"""

from __future__ import annotations

import hashlib
import json
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from phantom_dist.core.errors import InputError
from phantom_dist.models.cache import CHUNK, remembered

NOT_SEMANTIC = frozenset(
    {"transformers_version", "_name_or_path", "_model_name_or_path", "dtype", "torch_dtype"}
)
"""Keys of config.json that say how a model was stored, not what it computes (all is loaded as float32)."""


@dataclass(frozen=True, slots=True)
class _Tensor:
    name: str
    dtype: str
    shape: tuple[int, ...]
    file: Path
    start: int
    end: int


def weights_digest(folder: Path) -> str:
    """sha256 (64 hex digits) over config.json and all tensors of a folder, sorted by name.

    The same for any sharding and any folder; another for any changed byte, shape, type or setting.

    Raises:
        InputError: config.json or a safetensors file is missing or damaged; the message names it.
    """
    files = weight_files(folder)
    return remembered([folder / "config.json", *files], lambda: _digest(folder, files))


def weight_files(folder: Path) -> list[Path]:
    """The safetensors files that hold the model: one, or the shards that the index lists.

    Raises:
        InputError: there are none, or a listed shard is missing.
    """
    index = folder / "model.safetensors.index.json"
    if (folder / "model.safetensors").is_file():
        return [folder / "model.safetensors"]
    if index.is_file():
        shards = sorted({folder / str(name) for name in read_json(index).get("weight_map", {}).values()})
        for shard in shards:
            if not shard.is_file():
                raise InputError(f"{index}: it lists {shard.name}, which is not there; fetch the model again")
        return shards
    raise InputError(f"{folder}: no model.safetensors and no model.safetensors.index.json")


def read_json(path: Path) -> dict[str, Any]:
    """A JSON object from a file.

    Raises:
        InputError: the file is missing or holds no JSON object.
    """
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise InputError(f"{path.parent}: no {path.name}; a model folder needs one") from None
    except (ValueError, OSError) as error:
        raise InputError(f"{path}: not readable as JSON ({error})") from None
    if not isinstance(value, dict):
        raise InputError(f"{path}: holds no JSON object")
    return value


def semantic_config(config: dict[str, Any]) -> dict[str, Any]:
    """The part of config.json that says what the model computes."""
    return {key: value for key, value in config.items() if key not in NOT_SEMANTIC}


def _digest(folder: Path, files: list[Path]) -> str:
    config = semantic_config(read_json(folder / "config.json"))
    sha = hashlib.sha256(json.dumps(config, sort_keys=True, separators=(",", ":")).encode())
    for tensor in sorted((t for file in files for t in _tensors(file)), key=lambda t: t.name):
        sha.update(json.dumps([tensor.name, tensor.dtype, list(tensor.shape)]).encode())
        for chunk in _bytes(tensor):
            sha.update(chunk)
    return sha.hexdigest()


def check_safetensors(file: Path) -> None:
    """Check a file's header against its size.

    Raises:
        InputError: the file is cut short or is no safetensors file.
    """
    for _ in _tensors(file):
        pass


def _tensors(file: Path) -> Iterator[_Tensor]:
    """Every tensor that the header announces, with its byte range in the file."""
    size = file.stat().st_size
    with file.open("rb") as stream:
        prefix = stream.read(8)
        length = struct.unpack("<Q", prefix)[0] if len(prefix) == 8 else size
        if 8 + length > size:
            raise _damaged(file, "its header is cut short")
        raw = stream.read(length)
    try:
        header = json.loads(raw)
        header.pop("__metadata__", None)
        tensors = [
            _Tensor(
                name,
                str(info["dtype"]),
                tuple(info["shape"]),
                file,
                8 + length + info["data_offsets"][0],
                8 + length + info["data_offsets"][1],
            )
            for name, info in header.items()
        ]
    except (ValueError, KeyError, TypeError, AttributeError, IndexError):
        raise _damaged(file, "its header is no safetensors header") from None
    end = max((t.end for t in tensors), default=8 + length)
    if end != size:
        raise _damaged(file, f"it should have {end} bytes and has {size}")
    yield from tensors


def _damaged(file: Path, why: str) -> InputError:
    return InputError(f"{file}: damaged safetensors file: {why}; fetch or make it again")


def _bytes(tensor: _Tensor) -> Iterator[bytes]:
    with tensor.file.open("rb") as stream:
        stream.seek(tensor.start)
        left = tensor.end - tensor.start
        while left:
            chunk = stream.read(min(CHUNK, left))
            if not chunk:
                raise _damaged(tensor.file, "it is cut short")
            left -= len(chunk)
            yield chunk
