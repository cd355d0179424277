from __future__ import annotations

from pathlib import Path

import pytest
import torch

from phantom_dist.models.load import load

from . import tiny


def test_rotary_frequencies_keep_their_precision(tmp_path: Path) -> None:
    reference = str(tiny.write_folder(tmp_path / "llama", tiny.llama()))
    full, low = load(reference), load(reference, precision="bfloat16")
    frequencies = low.model.model.rotary_emb.inv_freq
    assert frequencies.dtype == torch.float32
    assert torch.equal(frequencies, full.model.model.rotary_emb.inv_freq)


def test_tied_matrices_stay_tied_after_the_cast(tmp_path: Path) -> None:
    model = load(str(tiny.write_folder(tmp_path / "gpt2")), precision="bfloat16").model
    assert model.get_output_embeddings().weight is model.get_input_embeddings().weight


def test_weights_stored_in_bfloat16_are_trained_in_float32(tmp_path: Path) -> None:
    reference = str(tiny.write_folder(tmp_path / "llama", tiny.llama().to(torch.bfloat16)))
    loaded = load(reference)
    assert {p.dtype for p in loaded.model.parameters()} == {torch.float32}
    stored = tiny.llama().to(torch.bfloat16).model.embed_tokens.weight
    assert torch.equal(loaded.model.model.embed_tokens.weight, stored.float())


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
@pytest.mark.parametrize("stored", [torch.float32, torch.float16])
def test_what_is_written_into_the_file_later_does_not_reach_the_model(
    precision: str, stored: torch.dtype, tmp_path: Path
) -> None:
    """A training run may save into its own folder while a worker still holds the model."""
    folder = tiny.write_folder(tmp_path / "llama", tiny.llama().to(stored))
    loaded = load(str(folder), precision=precision)
    file = folder / "model.safetensors"
    with file.open("r+b") as stream:
        half = file.stat().st_size // 2
        stream.seek(-half, 2)
        stream.write(b"\0" * half)
    expected = tiny.llama().to(stored).float().to(getattr(torch, precision))
    for (name, ours), theirs in zip(loaded.model.named_parameters(), expected.parameters(), strict=True):
        assert torch.equal(ours, theirs), name


def test_gradients_are_bit_identical_in_two_loads(tmp_path: Path) -> None:
    reference = str(tiny.write_folder(tmp_path / "llama", tiny.llama()))
    assert torch.equal(_gradient(reference), _gradient(reference))


def test_loading_writes_nothing_on_stdout(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    reference = str(tiny.write_folder(tmp_path / "gpt2"))
    capfd.readouterr()
    load(reference)
    assert capfd.readouterr() == ("", "")


def _gradient(reference: str) -> torch.Tensor:
    loaded = load(reference)
    ids = torch.tensor([loaded.tokenizer.encode("the puppy was very")])
    loaded.model(ids).logits[0, -1].logsumexp(0).backward()
    gradient = loaded.model.get_input_embeddings().weight.grad
    assert gradient is not None
    assert gradient.abs().max() > 0
    return gradient
