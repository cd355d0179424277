"""YAML files with line numbers: read them, validate them against a pydantic type, report what is wrong and where.

YAML 1.2: `1e-6` is a number, `no` is a word. Values are taken strictly: `"8"` and `true` are no integers.
Every error is an `InputError` whose lines have the form `file:line: key: what is wrong; got value`.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

from pydantic import BaseModel, TypeAdapter, ValidationError
from ruamel.yaml import YAML
from ruamel.yaml.error import MarkedYAMLError, YAMLError
from ruamel.yaml.nodes import MappingNode, Node, ScalarNode, SequenceNode

from phantom_dist.core.errors import InputError
from phantom_dist.spec.messages import explain

T = TypeVar("T")
Key = tuple[str | int, ...]
"""The position of a value in its document: `("methods", 1, "lora", "rank")`."""


@dataclass(frozen=True, kw_only=True)
class Document:
    """Plain data with its origin: `source` is its name in messages, `lines` the line of every key."""

    data: Any
    source: str
    lines: Mapping[Key, int] = field(default_factory=dict)


def parse(model: type[T] | TypeAdapter[T], path: str | Path, *, context: dict[str, Any] | None = None) -> T:
    """Read a YAML file and validate it; `context` is passed to the validators.

    Raises:
        InputError: the file can't be read, is no YAML, or does not match the model.
    """
    return check(model, read(path), context=context)


def read(path: str | Path) -> Document:
    """Read a YAML file without validating it.

    Raises:
        InputError: there is no such file, it can't be read, or it is no YAML.
    """
    try:
        text = Path(path).read_text(encoding="utf-8")
    except FileNotFoundError:
        raise InputError(f"{path}: no such file") from None
    except IsADirectoryError:
        raise InputError(f"{path}: is a directory; a YAML file is needed") from None
    except UnicodeDecodeError as error:
        raise InputError(f"{path}: is not UTF-8 text (byte {error.start})") from None
    except OSError as error:
        raise InputError(f"{path}: can't be read: {error.strerror}") from None
    return read_text(text, source=str(path))


def read_text(text: str, *, source: str) -> Document:
    """Parse YAML text; `source` is used in messages instead of a file's name.

    Raises:
        InputError: a syntax error, a duplicate key, an alias that contains itself, or no content at all.
    """
    try:
        root = YAML(typ="safe", pure=True).compose(text)
        if root is None:
            raise InputError(f"{source}: is empty")
        lines = dict(_lines(root, (), ()))
        data = YAML(typ="safe", pure=True).load(text)
    except MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        where = f"{source}:{mark.line + 1}" if mark else source
        raise InputError(f"{where}: {_syntax(error)}") from None
    except (YAMLError, ValueError, RecursionError) as error:
        raise InputError(f"{source}: is not valid YAML: {str(error).splitlines()[0]}") from None
    return Document(data=data, source=source, lines=lines)


def check(model: type[T] | TypeAdapter[T], document: Document, *, context: dict[str, Any] | None = None) -> T:
    """Validate a document strictly; lists become tuples where the model has tuples.

    Raises:
        InputError: one message with a line for every problem, in the order of the file.
    """
    adapter = model if isinstance(model, TypeAdapter) else TypeAdapter(model)
    # Only for JSON input does pydantic check numbers strictly and still accept a list for a tuple.
    try:
        text = json.dumps(document.data, default=_plain)
    except (TypeError, ValueError):  # a key that JSON can't have; a loop
        raise InputError(
            f"{document.source}: keys should be plain words, and nothing may contain itself"
        ) from None
    try:
        return adapter.validate_json(text, strict=True, context=context)
    except ValidationError as error:
        annotation = getattr(adapter, "_type", model)
        raise InputError(explain(error, annotation, document.source, document.lines)) from None


def _lines(node: Node, path: Key, above: tuple[int, ...]) -> Iterator[tuple[Key, int]]:
    if id(node) in above:
        mark = node.start_mark
        raise MarkedYAMLError(problem="found an alias that contains itself", problem_mark=mark)
    yield path, node.start_mark.line + 1
    above = (*above, id(node))
    if isinstance(node, MappingNode):
        for key, value in node.value:
            if not isinstance(key, ScalarNode):
                raise MarkedYAMLError(problem="a key should be a plain word", problem_mark=key.start_mark)
            yield from _lines(value, (*path, key.value), above)
            yield (*path, key.value), key.start_mark.line + 1
    elif isinstance(node, SequenceNode):
        for index, item in enumerate(node.value):
            yield from _lines(item, (*path, index), above)


def _syntax(error: MarkedYAMLError) -> str:
    problem = str(error.problem or error.context or "is not valid YAML").splitlines()[0]
    duplicate = re.match(r'found duplicate key "([^"]*)"', problem)
    return f"duplicate key {duplicate[1]!r}" if duplicate else f"is not valid YAML: {problem}"


def _plain(value: Any) -> Any:
    """JSON for what a notebook may put into a dictionary: pydantic models, NumPy arrays and numbers, paths, dates."""
    if isinstance(value, BaseModel):
        return value.model_dump(mode="json", exclude_none=True)
    return value.tolist() if hasattr(value, "tolist") else str(value)
