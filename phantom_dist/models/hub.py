"""The adapter of models on the Hugging Face hub; it fetches them into the hub's own cache."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from fnmatch import fnmatch
from pathlib import Path
from typing import ClassVar, TypeVar, final

from huggingface_hub import HfApi, snapshot_download, try_to_load_from_cache
from huggingface_hub.errors import (  # type: ignore[attr-defined]
    EntryNotFoundError,
    GatedRepoError,
    HFValidationError,
    HTTPError,  # whatever HTTP library huggingface_hub uses
    LocalEntryNotFoundError,
    OfflineModeIsEnabled,
    RepositoryNotFoundError,
)

from phantom_dist.core.activity import Activity, activity
from phantom_dist.core.errors import InputError, did_you_mean
from phantom_dist.models.adapter import ModelAdapter, ModelFolder, ModelMetadata, Permissions
from phantom_dist.models.description import TOKENIZER
from phantom_dist.models.folder import (
    ADAPTER_CONFIG,
    first_line,
    has_safetensors,
    read_config,
    refuse_adapter,
)
from phantom_dist.models.identity import weight_files
from phantom_dist.models.local import checked_folder, refuse_pickled
from phantom_dist.models.metadata import describe_config, describe_recorded, recorded
from phantom_dist.models.quiet import quiet

T = TypeVar("T")
PREFIX = "hub:"
HUB_NAME = re.compile(rf"({PREFIX})?[A-Za-z0-9][\w.-]*(/[A-Za-z0-9][\w.-]*)?")
WEIGHTS_AND_TOKENIZER = ["*.json", "*.safetensors", "*.model", "merges.txt", "vocab.txt"]
OTHER_FORMS = ["*/*", "consolidated*"]
"""Copies of the same weights for other programs."""
PICKLED = "pytorch_model*.bin"


class _UnreachableError(Exception):
    """The hub can't be reached, so nothing is known about whether the model exists."""


@final
@dataclass(frozen=True, kw_only=True)
class Hub(ModelAdapter):
    """A model on the hub; where the hub can't be reached, the snapshot in the local cache is used.

    Where `endpoint` or `cache_dir` is None, huggingface_hub's own setting applies.
    """

    endpoint: str | None = None
    cache_dir: str | None = None
    form: ClassVar[str] = "ORG/NAME or hub:NAME on the Hugging Face hub"

    def claims(self, reference: str) -> bool:
        """Whether the reference has the form of a hub name."""
        return HUB_NAME.fullmatch(reference) is not None

    def resolve(self, reference: str, permissions: Permissions) -> ModelFolder:
        """The snapshot in the hub's cache; fetches it first if necessary."""
        try:
            folder = _query(reference, lambda: self._fetch(reference, permissions))
        except _UnreachableError as error:
            raise InputError(
                f"model {reference!r} is not on this machine and the Hugging Face hub can't be reached ({error}); "
                "fetch it where there is a network (hf download), or use a local folder, gguf:PATH or "
                "zoo:NAME"
            ) from None
        return checked_folder(folder, reference, _title(reference), permissions)

    def describe(self, reference: str, permissions: Permissions) -> ModelMetadata:
        """Metadata from the hub's config.json, and from the weights if they have been fetched.

        Where the hub can't be reached: recorded metadata, marked unverified. Before the weights are fetched, two
        matrices that the configuration ties are assumed to be tied.
        """
        try:
            folder = _query(
                reference, lambda: self._snapshot(_name(reference), ["config.json", ADAPTER_CONFIG])
            )
            if (folder / ADAPTER_CONFIG).is_file():
                files = _query(
                    reference, lambda: HfApi(endpoint=self.endpoint).list_repo_files(_name(reference))
                )
                refuse_adapter(folder, reference, {ADAPTER_CONFIG, *files})
        except _UnreachableError as error:
            metadata = describe_recorded(
                reference, _name(reference), f"the Hugging Face hub can't be reached ({error})"
            )
            if metadata is None:
                raise InputError(
                    f"model {reference!r}: the Hugging Face hub can't be reached ({error}) and the package has "
                    "no recorded metadata for it." + did_you_mean(_name(reference), recorded())
                ) from None
            return metadata
        config = read_config(folder, reference, permissions)
        return describe_config(config, reference, _title(reference), _local_weights(folder), permissions)

    def folder(self, reference: str, permissions: Permissions) -> Path | None:
        """The snapshot in the hub's cache, if its tokenizer has been fetched."""
        file = try_to_load_from_cache(_name(reference), TOKENIZER, cache_dir=self.cache_dir)
        return Path(file).parent if isinstance(file, str) else None

    def _snapshot(self, name: str, patterns: list[str]) -> Path:
        return Path(
            snapshot_download(
                name,
                allow_patterns=patterns,
                ignore_patterns=OTHER_FORMS,
                endpoint=self.endpoint,
                cache_dir=self.cache_dir,
            )
        )

    def _fetch(self, reference: str, permissions: Permissions) -> Path:
        name = _name(reference)
        patterns = [*WEIGHTS_AND_TOKENIZER, *(["*.py"] if permissions.remote_code else [])]
        with activity(Activity.LOADING, f"fetching {name} from the Hugging Face hub", long=True):
            folder = self._snapshot(name, patterns)
            if has_safetensors(folder):
                return folder
            if permissions.pickle:
                return self._snapshot(name, [*patterns, PICKLED])
        files = HfApi(endpoint=self.endpoint).list_repo_files(name)
        refuse_pickled(reference, [f for f in files if fnmatch(f, PICKLED)])
        return folder


def _local_weights(folder: Path) -> list[Path]:
    """The snapshot's weight files; empty where any is missing."""
    try:
        return weight_files(folder)
    except InputError:
        return []


def _query(name: str, request: Callable[[], T]) -> T:
    try:
        with quiet():
            return request()
    except GatedRepoError:
        raise InputError(
            f"model {name!r} is gated: accept its licence on the Hugging Face hub and log in (hf auth login)"
        ) from None
    except (RepositoryNotFoundError, HFValidationError):
        raise InputError(
            f"model {name!r}: no such model on the Hugging Face hub, and no such folder here"
        ) from None
    except LocalEntryNotFoundError as error:
        raise _UnreachableError(first_line(error)) from None
    except EntryNotFoundError:
        raise InputError(f"model {name!r}: the repository on the hub has no config.json") from None
    except (HTTPError, OfflineModeIsEnabled) as error:
        raise _UnreachableError(first_line(error)) from None


def _name(reference: str) -> str:
    return reference.removeprefix(PREFIX)


def _title(reference: str) -> str:
    return _name(reference).rsplit("/", 1)[-1]
