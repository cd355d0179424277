"""The digest of a model: a hash over its tensors and its configuration, independent of folder and sharding.

The safetensors format is parsed directly (8 bytes with the header's length; a JSON header of name -> dtype, shape, byte
range; then the bytes), so the digest needs neither torch nor enough memory for the model.
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
from phantom_dist.models.cache import CHUNK, cached_digest, file_sha256

NOT_SEMANTIC = frozenset(
    {"transformers_version", "_name_or_path", "_model_name_or_path", "dtype", "torch_dtype"}
)
"""Keys of config.json that describe how a model was stored, not what it computes (every model is loaded as float32)."""


WHOLE, INDEX = "model.safetensors", "model.safetensors.index.json"


@dataclass(frozen=True, slots=True)
class Tensor:
    """A tensor in a safetensors file; its bytes are those from `start` to `end`."""

    name: str
    dtype: str
    shape: tuple[int, ...]
    file: Path
    start: int
    end: int


def weights_digest(folder: Path, *, remote_code: bool = False) -> str:
    """sha256 (64 hex digits) over config.json and all tensors of a folder, sorted by name.

    The digest doesn't depend on sharding or folder; any changed byte, shape, dtype or setting changes it. With
    `remote_code` the model may run its own Python code, so the digest covers code that the configuration names.

    Raises:
        InputError: config.json or a safetensors file is missing or damaged; the message names it.
    """
    files, code = weight_files(folder), code_files(folder) if remote_code else []
    return cached_digest([folder / "config.json", *files, *code], lambda: _digest(folder, files, code))


def model_files(folder: Path, *, remote_code: bool = False) -> list[Path]:
    """The files that define the model, all covered by `weights_digest`; without tokenizer or adapter.

    Raises:
        InputError: a file is missing.
    """
    weights = weight_files(folder)
    index = [] if weights == [folder / WHOLE] else [folder / INDEX]
    return [folder / "config.json", *index, *weights, *(code_files(folder) if remote_code else [])]


def code_files(folder: Path) -> list[Path]:
    """All Python files of the folder if the configuration names custom code (they may import each other), else none."""
    return sorted(folder.glob("*.py")) if read_json(folder / "config.json").get("auto_map") else []


def weight_files(folder: Path) -> list[Path]:
    """The model's safetensors files: a single one, or the shards that the index lists.

    Raises:
        InputError: there are none, or a shard is missing.
    """
    index = folder / INDEX
    if (folder / WHOLE).is_file():
        return [folder / WHOLE]
    if index.is_file():
        shards = [folder / name for name in _shards(index)]
        for shard in shards:
            if not shard.is_file():
                raise InputError(f"{index}: it lists {shard.name}, which is not there; fetch the model again")
        return shards
    raise InputError(f"{folder}: no {WHOLE} and no {INDEX}")


def _shards(index: Path) -> list[str]:
    """The files that an index lists, in the order in which transformers reads them."""
    weight_map = read_json(index).get("weight_map")
    names = {str(name) for name in weight_map.values()} if isinstance(weight_map, dict) else set()
    elsewhere = sorted(name for name in names if Path(name).name != name)
    if elsewhere or not names:
        why = f"it lists {elsewhere[0]}, which is no file of this folder" if elsewhere else "it lists no file"
        raise InputError(f"{index}: {why}; fetch the model again")
    return sorted(names)


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
    """The part of config.json that affects what the model computes."""
    return {key: value for key, value in config.items() if key not in NOT_SEMANTIC}


def _digest(folder: Path, files: list[Path], code: list[Path]) -> str:
    config = semantic_config(read_json(folder / "config.json"))
    sha = hashlib.sha256(json.dumps(config, sort_keys=True, separators=(",", ":")).encode())
    for tensor in sorted((t for file in files for t in tensors(file)), key=lambda t: t.name):
        sha.update(json.dumps([tensor.name, tensor.dtype, list(tensor.shape)]).encode())
        for chunk in _bytes(tensor):
            sha.update(chunk)
    for file in code:
        sha.update(json.dumps([file.name, file_sha256(file)]).encode())
    return sha.hexdigest()


def check_safetensors(file: Path) -> None:
    """Check a file's header against its size.

    Raises:
        InputError: the file is cut short or is no safetensors file.
    """
    for _ in tensors(file):
        pass


def tensors(file: Path) -> Iterator[Tensor]:
    """Every tensor in the header of a safetensors file.

    Raises:
        InputError: the file is damaged.
    """
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
        entries = [
            Tensor(
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
    end = max((t.end for t in entries), default=8 + length)
    if end != size:
        raise _damaged(file, f"it should have {end} bytes and has {size}")
    yield from entries


def _damaged(file: Path, why: str) -> InputError:
    return InputError(f"{file}: damaged safetensors file: {why}; fetch or save it again")


def _bytes(tensor: Tensor) -> Iterator[bytes]:
    with tensor.file.open("rb") as stream:
        stream.seek(tensor.start)
        left = tensor.end - tensor.start
        while left:
            chunk = stream.read(min(CHUNK, left))
            if not chunk:
                raise _damaged(tensor.file, "it is cut short")
            left -= len(chunk)
            yield chunk
