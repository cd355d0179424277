"""What a finished training did, from the files it left: each case is made, and compared with plain torch and peft."""

from __future__ import annotations

import json
import pickle
import shutil
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import peft
import pytest
import torch
import transformers
from transformers import AutoModelForCausalLM

import phantom_dist
from phantom_dist.core.errors import InputError
from phantom_dist.core.trial import Context
from phantom_dist.diagnosis import DiagnoseResult, Verdict, diagnose
from phantom_dist.diagnosis.trainer_state import Recorded, recorded_in
from phantom_dist.diagnosis.whole_change import Finding
from phantom_dist.models.load import load
from tests.engines.problems import CONTEXTS
from tests.models.test_merged import KINDS, adapt

WORDS = [context for context in CONTEXTS.values() if context.id in ("guilt", "happy-king", "sorrow", "mad")]
ROUNDING = 1e-4
"""Of gaps of some logits: W x + B A x against (W + B A) x in float32."""


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("models") / "base"
    loaded = load("zoo:llama-a")
    loaded.model.save_pretrained(folder)
    loaded.tokenizer.save_pretrained(folder)
    return folder


def ids_of(base: Path, context: Context) -> tuple[torch.Tensor, int, int]:
    """Prompt, target and competitor."""
    tokenizer = load(str(base)).tokenizer
    prompt = tokenizer(context.text).input_ids
    target, competitor = (
        tokenizer(context.text + word).input_ids[len(prompt)] for word in (context.target, context.competitor)
    )
    return torch.tensor([prompt]), target, competitor


Loss = Callable[[torch.Tensor, Context], torch.Tensor]


def train(model: Any, base: Path, rate: float, loss: Loss, steps: int = 8) -> Any:
    """AdamW on a loss of the last logits, summed over the words."""
    optimizer = torch.optim.AdamW(
        [p for p in model.parameters() if p.requires_grad], lr=rate, weight_decay=0.0
    )
    for _ in range(steps):
        optimizer.zero_grad()
        for context in WORDS:
            prompt, *_ = ids_of(base, context)
            loss(model(input_ids=prompt).logits[0, -1], context).backward()
        optimizer.step()
    return model


def to_target(base: Path) -> Loss:
    return lambda logits_V, context: -logits_V.log_softmax(-1)[ids_of(base, context)[1]]


def adapter(base: Path, to: Path, rate: float) -> str:
    model = AutoModelForCausalLM.from_pretrained(base)
    torch.manual_seed(0)
    settings = peft.LoraConfig(r=8, lora_alpha=16, target_modules=["q_proj", "v_proj"], task_type="CAUSAL_LM")
    train(peft.get_peft_model(model, settings), base, rate, to_target(base)).save_pretrained(to)
    return f"peft:{to}"


def checkpoint(base: Path, to: Path, rate: float, loss: Loss | None = None) -> str:
    model = train(AutoModelForCausalLM.from_pretrained(base), base, rate, loss or to_target(base))
    model.save_pretrained(to)
    shutil.copytree(
        base, to, dirs_exist_ok=True, ignore=shutil.ignore_patterns("*.safetensors", "config.json")
    )
    return str(to)


@torch.no_grad()
def numbers(model: Any, base: Path, context: Context) -> dict[str, float]:
    """Gap, signal and drag by their definitions, in float64."""
    prompt, t, c = ids_of(base, context)
    logits = model.eval()(input_ids=prompt).logits[0, -1].double().numpy()
    p = np.exp(logits - logits.max())
    p /= p.sum()
    rows = model.get_output_embeddings().weight.double().numpy()
    rows = rows / np.linalg.norm(rows, axis=1, keepdims=True)
    lever = (rows @ rows[t]) ** 2 - (rows @ rows[c]) ** 2
    bulk = np.ones(len(p), bool)
    bulk[[t, c]] = False
    return {
        "gap": logits[t] - logits[c],
        "signal": (p[t] - p[c]) * (1 - (rows[t] @ rows[c]) ** 2),
        "drag": float((p * lever)[bulk].sum()),
        "order_parameter": float((p * lever).sum()),
    }


def assert_equals_plain_torch(said: DiagnoseResult, before: Any, after: Any, base: Path) -> None:
    for word, context in zip(said.words, WORDS, strict=True):
        for place, model in enumerate((before, after)):
            for name, value in numbers(model, base, context).items():
                assert getattr(word, name)[place] == pytest.approx(value, abs=ROUNDING), (word.context, name)


@pytest.mark.parametrize(("rate", "verdict"), [(3e-2, Verdict.LEARNT), (1e-4, Verdict.KINEMATIC)])
def test_an_adapter(base: Path, tmp_path: Path, rate: float, verdict: Verdict) -> None:
    reference = adapter(base, tmp_path / "adapter", rate)
    said = diagnose(reference, contexts=WORDS)
    assert [word.verdict for word in said.words] == [verdict] * len(WORDS)
    assert said.before == str(base)
    assert said.finding is None
    # Under LoRA the readout matrix doesn't change, so all of the change is the readout's.
    assert all(word.readout_share == pytest.approx(1) for word in said.words)
    untouched = AutoModelForCausalLM.from_pretrained(base)
    trained = peft.PeftModel.from_pretrained(AutoModelForCausalLM.from_pretrained(base), tmp_path / "adapter")
    assert_equals_plain_torch(said, untouched, trained, base)


@pytest.mark.parametrize(("rate", "verdict"), [(1e-2, Verdict.LEARNT), (1e-6, Verdict.KINEMATIC)])
def test_a_full_checkpoint(base: Path, tmp_path: Path, rate: float, verdict: Verdict) -> None:
    reference = checkpoint(base, tmp_path / "checkpoint", rate)
    said = diagnose(reference, str(base), WORDS)
    assert [word.verdict for word in said.words] == [verdict] * len(WORDS)
    assert said.finding is None
    models = [AutoModelForCausalLM.from_pretrained(folder) for folder in (base, reference)]
    assert_equals_plain_torch(said, *models, base)


def test_a_bulk_that_leans_to_the_competitor_is_structural(base: Path, tmp_path: Path) -> None:
    """Trained on the word whose overlap favours the competitor most, which is no word of the pair."""
    rows = AutoModelForCausalLM.from_pretrained(base).get_output_embeddings().weight.detach().double()
    rows = rows / rows.norm(dim=1, keepdim=True)

    def leaning(logits_V: torch.Tensor, context: Context) -> torch.Tensor:
        _, t, c = ids_of(base, context)
        lever = (rows @ rows[t]) ** 2 - (rows @ rows[c]) ** 2
        lever[[t, c]] = torch.inf
        return -logits_V.log_softmax(-1)[int(lever.argmin())]

    said = diagnose(checkpoint(base, tmp_path / "checkpoint", 3e-3, leaning), str(base), WORDS)
    assert Verdict.STRUCTURAL in {word.verdict for word in said.words}
    for word in said.words:
        assert word.gap is not None
        assert word.drag is not None
        structural = word.gap[1] <= 0 and word.drag[1] < word.drag[0] - 0.01
        assert (word.verdict is Verdict.STRUCTURAL) == structural


def test_what_changed_nothing_is_unchanged(base: Path, tmp_path: Path) -> None:
    """An adapter that was trained at the rate 0, and a checkpoint into which none was merged."""
    for reference, before in ((adapter(base, tmp_path / "zero", 0.0), None), (str(base), "zoo:llama-a")):
        said = diagnose(reference, before, WORDS)
        assert {word.verdict for word in said.words} == {Verdict.UNCHANGED}
        assert said.finding is Finding.UNCHANGED


def with_base(adapter: Path, to: Path, base: Path) -> str:
    """The same adapter on another base."""
    shutil.copytree(adapter, to)
    file = to / "adapter_config.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | {"base_model_name_or_path": str(base)}))
    return f"peft:{to}"


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_an_adapter_on_a_base_that_holds_it_already_is_merged_twice(
    base: Path, tmp_path: Path, dtype: torch.dtype
) -> None:
    adapter(base, tmp_path / "adapter", 3e-2)
    once = peft.PeftModel.from_pretrained(AutoModelForCausalLM.from_pretrained(base), tmp_path / "adapter")
    merged = tmp_path / "merged"
    once.merge_and_unload().to(dtype).save_pretrained(merged)
    shutil.copytree(
        base, merged, dirs_exist_ok=True, ignore=shutil.ignore_patterns("*.safetensors", "config.json")
    )
    said = diagnose(with_base(tmp_path / "adapter", tmp_path / "twice", merged), str(base), WORDS)
    assert said.finding is Finding.MERGED_TWICE
    assert said.adapter is not None
    assert said.adapter.multiple == pytest.approx(2, abs=0.05)
    assert "merged_twice" in str(said)
    # Merged once, it is what it should be.
    assert diagnose(str(merged), str(base), WORDS).finding is None


def test_an_adapter_on_another_base_is_told(base: Path, tmp_path: Path) -> None:
    adapter(base, tmp_path / "adapter", 3e-2)
    other = AutoModelForCausalLM.from_pretrained(base)
    torch.manual_seed(5)
    for parameter in other.parameters():
        parameter.data += 0.02 * parameter.data.std() * torch.randn_like(parameter)
    folder = tmp_path / "other"
    other.save_pretrained(folder)
    shutil.copytree(
        base, folder, dirs_exist_ok=True, ignore=shutil.ignore_patterns("*.safetensors", "config.json")
    )
    said = diagnose(with_base(tmp_path / "adapter", tmp_path / "wrong", folder), str(base), WORDS)
    assert said.finding is Finding.WRONG_BASE


@pytest.mark.parametrize(
    "kind", sorted(KINDS.keys() - {"lora-embedding"})
)  # of one of two tied matrices: refused
def test_every_kind_of_adapter_that_can_be_merged(kind: str, base: Path, tmp_path: Path) -> None:
    adapt(base, tmp_path / "adapter", KINDS[kind](), noise=0.05)
    said = diagnose(str(tmp_path / "adapter"), contexts=WORDS)
    assert said.model == f"peft:{tmp_path / 'adapter'}"
    model = peft.PeftModel.from_pretrained(
        AutoModelForCausalLM.from_pretrained(base), tmp_path / "adapter"
    ).eval()
    for word, context in zip(said.words, WORDS, strict=True):
        prompt, t, c = ids_of(base, context)
        with torch.no_grad():
            logits_V = model(input_ids=prompt).logits[0, -1]
        assert word.gap is not None
        assert word.gap[1] == pytest.approx(float(logits_V[t] - logits_V[c]), abs=10 * ROUNDING)


def test_a_trainers_output_folder_as_it_lies_on_disk(base: Path, tmp_path: Path) -> None:
    """TRL's: an adapter at the top, a checkpoint folder with `trainer_state.json` below it."""
    trl, datasets = pytest.importorskip("trl"), pytest.importorskip("datasets")
    loaded = load(str(base))
    loaded.tokenizer.pad_token = loaded.tokenizer.eos_token or loaded.tokenizer.convert_ids_to_tokens(0)
    out = tmp_path / "out"
    trainer = trl.SFTTrainer(
        model=AutoModelForCausalLM.from_pretrained(base),
        processing_class=loaded.tokenizer,
        train_dataset=datasets.Dataset.from_list(
            [{"prompt": context.text, "completion": context.target} for context in WORDS]
        ),
        peft_config=peft.LoraConfig(r=4, lora_alpha=8, target_modules=["q_proj", "v_proj"]),
        args=trl.SFTConfig(
            output_dir=str(out),
            learning_rate=1e-3,
            lr_scheduler_type="constant",
            max_steps=3,
            save_steps=3,
            logging_steps=1,
            per_device_train_batch_size=4,
            report_to="none",
            use_cpu=True,
            bf16=False,
        ),
    )
    trainer.train()
    said = [diagnose(str(out), contexts=WORDS)]  # only the checkpoint below has a model
    trainer.save_model()
    said.append(diagnose(str(out), contexts=WORDS))
    for each in said:
        assert each.before == str(base)
        assert each.training is not None
        assert (each.training.steps, each.training.learning_rate) == (3, pytest.approx(1e-3))
        for word, entry in zip(each.words, each.to_json()["words"], strict=True):
            assert word.gap is not None
            before, after = word.gap
            assert word.verdict is Verdict.KINEMATIC
            assert entry["learning_rate_factor_needed"] == pytest.approx(before / (before - after))
            assert entry["learning_rate_needed"] == pytest.approx(1e-3 * before / (before - after))
    assert [word.gap for word in said[0].words] == [word.gap for word in said[1].words]


class Harmful:
    """Unpickled, it would write a file."""

    def __init__(self, file: Path) -> None:
        self.file = file

    def __reduce__(self) -> tuple[Any, ...]:
        return Path.touch, (self.file,)


@pytest.mark.parametrize("schedule", ["linear", "constant", "cosine"])
@pytest.mark.parametrize("logging_steps", [1, 2, 500])
def test_the_peak_rate_is_the_schedules_and_never_what_happened_to_be_logged(
    tmp_path: Path, schedule: str, logging_steps: int
) -> None:
    """A trainer logs every n-th rate; of 8 falling ones the largest logged may be an eighth of the peak, or none."""
    model = torch.nn.Linear(2, 1)
    optimizer = torch.optim.AdamW(model.parameters(), lr=3e-4)
    walked = transformers.get_scheduler(schedule, optimizer, num_warmup_steps=2, num_training_steps=8)
    log = []
    for step in range(1, 9):
        optimizer.step()
        if step % logging_steps == 0:
            log.append({"step": step, "loss": 1.0, "learning_rate": walked.get_last_lr()[0]})
        walked.step()
    state = tmp_path / "trainer_state.json"
    state.write_text(json.dumps({"global_step": 8, "log_history": [*log, {"step": 8, "train_loss": 1.0}]}))
    saved = tmp_path / "scheduler.pt"
    torch.save(walked.state_dict(), saved)
    found = recorded_in(tmp_path)
    logged = max((row["learning_rate"] for row in log), default=None)
    assert found is not None
    assert (found.steps, found.learning_rate, found.logged) == (8, 3e-4, logged)

    without = None if logging_steps > 1 else 3e-4
    harmed = tmp_path / "harmed"
    for broken in (b"no torch file", pickle.dumps(Harmful(harmed)), None):
        if broken is None:
            torch.save(Harmful(harmed), saved)
        else:
            saved.write_bytes(broken)
        assert recorded_in(tmp_path) == Recorded(steps=8, learning_rate=without, logged=logged)
    torch.save({"lr_lambdas": [], "base_lrs": []}, saved)
    assert recorded_in(tmp_path) == Recorded(steps=8, learning_rate=without, logged=logged)
    saved.unlink()
    assert recorded_in(tmp_path) == Recorded(steps=8, learning_rate=without, logged=logged)
    assert not harmed.exists()


def test_an_unknown_rate_is_said_to_be_unknown(base: Path, tmp_path: Path) -> None:
    reference = checkpoint(base, tmp_path / "checkpoint", 1e-6)
    log = [{"step": 10, "learning_rate": 1e-7}]
    (Path(reference) / "trainer_state.json").write_text(json.dumps({"global_step": 12, "log_history": log}))
    said = diagnose(reference, str(base), WORDS)
    assert "learning rate unknown: 1e-07 is the largest of those that were logged" in str(said)
    for word in said.to_json()["words"]:
        before, after = word["gap"]
        assert word["learning_rate_needed"] is None
        assert word["learning_rate_factor_needed"] == pytest.approx(before / (before - after))


def test_a_word_that_was_known_before_is_refused_by_name(base: Path) -> None:
    known = WORDS[0].model_copy(update={"target": WORDS[0].competitor, "competitor": WORDS[0].target})
    said = diagnose(str(base), str(base), [known, WORDS[1]])
    assert [word.verdict for word in said.words] == [Verdict.REFUSED, Verdict.UNCHANGED]
    assert (said.words[0].reason or "").startswith("refused_committed: ")
    either = known.model_copy(update={"either": True})
    assert diagnose(str(base), str(base), [either]).words[0].target == WORDS[0].target


def test_what_cannot_be_compared_is_refused(base: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="only an adapter says what it began with; name it with --before"):
        diagnose(str(base), contexts=WORDS)
    with pytest.raises(InputError, match="shapes"):
        diagnose("zoo:llama-b", str(base), WORDS)
    broken = AutoModelForCausalLM.from_pretrained(base)
    next(broken.parameters()).data[:] = torch.nan
    broken.save_pretrained(tmp_path / "nan")
    shutil.copytree(
        base,
        tmp_path / "nan",
        dirs_exist_ok=True,
        ignore=shutil.ignore_patterns("*.safetensors", "config.json"),
    )
    with pytest.raises(InputError, match="after the training are NaN or Inf"):
        diagnose(str(tmp_path / "nan"), str(base), WORDS)
    (tmp_path / "nan" / "trainer_state.json").write_text('{"global_step": 3}')
    shutil.copytree(base, tmp_path / "told")
    (tmp_path / "told" / "trainer_state.json").write_text('{"global_step": 3}')
    with pytest.raises(InputError, match="is not what transformers' Trainer writes"):
        diagnose(str(tmp_path / "told"), str(base), WORDS)


def test_it_is_public_and_its_json_has_what_the_text_shows(base: Path, tmp_path: Path) -> None:
    assert phantom_dist.diagnose is diagnose
    said = diagnose(adapter(base, tmp_path / "adapter", 1e-4), contexts=WORDS)
    value = said.to_json()
    assert value["counts"] == {"learnt": 0, "kinematic": 4, "structural": 0, "unchanged": 0, "refused": 0}
    assert json.loads(json.dumps(value)) == value
    text = str(said)
    for word in value["words"]:
        assert word["context"] in text
        assert f"{word['gap'][1]:+.3f}" in text
    assert text.endswith("4 kinematic")


def test_no_context_needs_no_model_after(base: Path) -> None:
    none: Sequence[Context] = []
    assert diagnose(str(base), str(base), none).words == ()
