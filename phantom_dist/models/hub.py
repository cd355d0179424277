"""Models from the Hugging Face hub by name, fetched into the hub's own cache."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from fnmatch import fnmatch
from pathlib import Path
from typing import ClassVar, TypeVar, final

from huggingface_hub import HfApi, snapshot_download
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
from phantom_dist.models.folder import (
    ADAPTER_CONFIG,
    first_line,
    has_safetensors,
    read_config,
    refuse_adapter,
)
from phantom_dist.models.identity import weight_files
from phantom_dist.models.local import refuse_pickled, usable
from phantom_dist.models.metadata import describe_config, describe_recorded, recorded
from phantom_dist.models.quiet import quiet

T = TypeVar("T")
PREFIX = "hub:"
HUB_NAME = re.compile(rf"({PREFIX})?[A-Za-z0-9][\w.-]*(/[A-Za-z0-9][\w.-]*)?")
WEIGHTS_AND_TOKENIZER = ["*.json", "*.safetensors", "*.model", "merges.txt", "vocab.txt"]
OTHER_FORMS = ["*/*", "consolidated*"]
"""The same weights once more, for other programs."""
PICKLED = "pytorch_model*.bin"


class _UnreachableError(Exception):
    """The hub can't be asked; says nothing about whether the model exists."""


@final
@dataclass(frozen=True, kw_only=True)
class Hub(ModelAdapter):
    """A hub name; the snapshot that is already there is used where the hub can't be reached.

    `endpoint` and `cache_dir` are huggingface_hub's own settings where None.
    """

    endpoint: str | None = None
    cache_dir: str | None = None
    form: ClassVar[str] = "ORG/NAME or hub:NAME on the Hugging Face hub"

    def claims(self, reference: str) -> bool:
        """True for everything that looks like a hub name."""
        return HUB_NAME.fullmatch(reference) is not None

    def resolve(self, reference: str, permissions: Permissions) -> ModelFolder:
        """The snapshot in the hub's cache, fetched if need be."""
        try:
            folder = _ask(reference, lambda: self._fetch(reference, permissions))
        except _UnreachableError as error:
            raise InputError(
                f"model {reference!r} is not on this machine and the Hugging Face hub can't be reached ({error}); "
                "fetch it where there is a network (hf download), or use a local folder, gguf:PATH or "
                "zoo:NAME"
            ) from None
        return usable(folder, reference, _title(reference), permissions)

    def describe(self, reference: str, permissions: Permissions) -> ModelMetadata:
        """From the hub's config.json, and the weights where they were fetched before.

        Unverified, from recorded facts, where the hub can't be reached. A configuration that ties two matrices which
        the weights hold apart is found out when they are fetched.
        """
        try:
            folder = _ask(
                reference, lambda: self._snapshot(_name(reference), ["config.json", ADAPTER_CONFIG])
            )
            if (folder / ADAPTER_CONFIG).is_file():
                files = _ask(
                    reference, lambda: HfApi(endpoint=self.endpoint).list_repo_files(_name(reference))
                )
                refuse_adapter(folder, reference, {ADAPTER_CONFIG, *files})
        except _UnreachableError as error:
            facts = describe_recorded(
                reference, _name(reference), f"the Hugging Face hub can't be reached ({error})"
            )
            if facts is None:
                raise InputError(
                    f"model {reference!r}: the Hugging Face hub can't be reached ({error}) and nothing is recorded "
                    "about it." + did_you_mean(_name(reference), recorded())
                ) from None
            return facts
        config = read_config(folder, reference, permissions)
        return describe_config(config, reference, _title(reference), _fetched(folder), permissions)

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


def _fetched(folder: Path) -> list[Path]:
    """The weights of a snapshot, if it has them all."""
    try:
        return weight_files(folder)
    except InputError:
        return []


def _ask(name: str, question: Callable[[], T]) -> T:
    try:
        with quiet():
            return question()
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
