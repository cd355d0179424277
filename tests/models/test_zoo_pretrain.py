"""The script that pretrains the zoo is reproducible, and its folders hold the trained models."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

from phantom_dist.models.zoo import pretrain as script
from phantom_dist.models.zoo.architectures import ZOO
from phantom_dist.models.zoo.publish import digests, publish, recorded, write_hashes


@pytest.mark.parametrize("name", ["gpt2-a", "llama-a"])
def test_training_twice_gives_the_same_bits(name: str) -> None:
    short = replace(ZOO[name], steps=3)
    first, second = (script.pretrain(short).state_dict() for _ in range(2))
    assert first.keys() == second.keys()
    assert all(torch.equal(first[key], second[key]) for key in first)


def test_a_few_steps_lower_the_loss() -> None:
    losses: list[float] = []
    script.pretrain(replace(ZOO["gpt2-a"], steps=60), lambda step, loss: losses.append(loss))
    assert losses[0] == pytest.approx(6.2, abs=0.2)  # ln 502: nothing is known
    assert losses[-1] < 4


def test_all_of_training_is_in_the_stated_precision() -> None:
    model = script.untrained(ZOO["gpt2-a"])
    loss = script.next_token_loss(model, *script.encode(script.zoo_tokenizer(), ["After the fire"]))
    assert loss.dtype == torch.float64


def test_a_published_folder_holds_the_model_in_halves(tmp_path: Path) -> None:
    model = script.untrained(ZOO["llama-a"]).float()
    publish(model, script.zoo_tokenizer(), tmp_path)
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        "config.json",
        "model.safetensors",
        "tokenizer.json",
        "tokenizer_config.json",
    ]
    loaded = AutoModelForCausalLM.from_pretrained(tmp_path, local_files_only=True)
    for (name, ours), theirs in zip(loaded.named_parameters(), model.parameters(), strict=True):
        assert ours.dtype == torch.float32
        assert torch.equal(ours, theirs.half().float()), name
    tokenizer = AutoTokenizer.from_pretrained(tmp_path, local_files_only=True)
    assert tokenizer.encode("After the fire") == script.zoo_tokenizer().encode("After the fire")


def test_hashes_show_a_changed_a_new_and_a_missing_file(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "config.json").write_text("{}")
    (tmp_path / "a" / "model.safetensors").write_bytes(b"weights")
    write_hashes(tmp_path)
    assert digests(tmp_path) == recorded(tmp_path)
    (tmp_path / "a" / "config.json").write_text("{ }")
    assert digests(tmp_path) != recorded(tmp_path)
    (tmp_path / "a" / "config.json").write_text("{}")
    (tmp_path / "b.json").write_text("{}")
    assert digests(tmp_path) != recorded(tmp_path)
    (tmp_path / "b.json").unlink()
    (tmp_path / "a" / "model.safetensors").unlink()
    assert digests(tmp_path) != recorded(tmp_path)


def test_an_unknown_name_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stopped:
        script.main(["gpt2-c"])
    assert stopped.value.code == 2
    assert "the zoo has no architecture 'gpt2-c'. Did you mean" in capsys.readouterr().err


def test_the_command_remakes_a_model(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(ZOO, "gpt2-a", replace(ZOO["gpt2-a"], steps=2))
    script.main(["gpt2-a", "--out", str(tmp_path)])
    assert set(recorded(tmp_path)) == {
        f"gpt2-a/{file}"
        for file in ("config.json", "model.safetensors", "tokenizer.json", "tokenizer_config.json")
    }
    assert "gpt2-a:" in capsys.readouterr().err
