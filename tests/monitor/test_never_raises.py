"""Whatever a training passes to the monitor, it never raises: it reports what it can't watch, and watches the rest."""

from __future__ import annotations

import copy
import logging

import pytest
import torch

from phantom_dist.monitor import Monitor, MonitorSettings, PhantomCallback, find_contexts
from phantom_dist.monitor.candidates import pair_id
from phantom_dist.monitor.learning_rate import Pace, rate_of
from phantom_dist.monitor.schedule_ahead import is_pure

from . import loop
from .test_transformers_callback import trainer

TAUGHT = loop.contexts("rage", "clever")
EVERY_STEP = MonitorSettings(every=1, budget=1.0)


@pytest.fixture(scope="module")
def ready():
    return loop.fresh("gpt2-a")


class Sharded(torch.nn.Module):
    """Stands in for FSDP's wrapper, recognised by its name: a forward pass would wait for other processes."""

    def __init__(self, module):
        super().__init__()
        self.module = module

    def forward(self, *args, **kwargs):
        raise AssertionError("a pass through a sharded module")


Sharded.__name__ = "FullyShardedDataParallel"


def sharded(model):
    model.transformer.h[0] = Sharded(model.transformer.h[0])
    return model


def partitioned(model):
    weight = model.transformer.h[0].mlp.c_fc.weight
    weight.ds_id = 0
    weight.data = torch.empty(0)
    return model


def offloaded(model):
    model.lm_head.weight = torch.nn.Parameter(model.lm_head.weight.to("meta"))
    return model


def quantised(model):
    weight = model.lm_head.weight.detach()
    model.lm_head.weight = torch.nn.Parameter((weight * 100).to(torch.int8), requires_grad=False)
    return model


def failing(model):
    model.transformer.h[0].forward = None
    return model


class LooksBehind(torch.nn.Module):
    """A block that averages over the batch, so that a prompt's logits depend on the other prompts."""

    def __init__(self, block):
        super().__init__()
        self.block = block

    def forward(self, states, *args, **kwargs):
        return self.block(states + states.mean(dim=(0, 1)), *args, **kwargs)


def mixing(model):
    model.transformer.h[0] = LooksBehind(model.transformer.h[0])
    return model


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        (lambda model: None, "no output embedding"),
        (lambda model: 3, "no output embedding"),
        (lambda model: torch.nn.Linear(2, 2), "no output embedding"),
        (lambda model: model.transformer, "no output embedding"),
        (sharded, "sharded over processes"),
        (partitioned, "sharded over processes"),
        (offloaded, "offloaded"),
        (quantised, "quantised"),
        (failing, "TypeError"),
        (mixing, "gives a prompt other logits in a batch than alone"),
    ],
)
def test_models(ready, caplog, change, sentence):
    model, tokenizer = copy.deepcopy(ready[0]), ready[1]
    said_once(caplog, sentence, change(model), tokenizer, loop.contexts("guilt", "rage", "clever"))


@pytest.mark.parametrize(
    ("watch", "sentence"),
    [
        ("no/such/file.yaml", "no/such/file.yaml"),
        ([3], "watch[0]: 3 is no context"),
        ([{"id": "a", "text": "x"}], "watch[0].target: Field required"),
        ([*TAUGHT, *TAUGHT], "ids must be unique"),
        (7, "TypeError"),
        (lambda: 1 / 0, "ZeroDivisionError"),
    ],
)
def test_watch_lists(ready, caplog, watch, sentence):
    said_once(caplog, sentence, *ready, watch)


@pytest.mark.parametrize("tokenizer", [None, "gpt2", 3])
def test_tokenizers(ready, caplog, tokenizer):
    said_once(caplog, "is no tokenizer", ready[0], tokenizer, TAUGHT)


@pytest.mark.parametrize(
    "settings",
    [
        {"settings": {"every": 2}},
        {"total_steps": "many"},
        {"log": 3},
        {"clock": lambda: "noon"},
        {"clock": 3},
        {"state": 3},
    ],
)
def test_other_arguments(ready, caplog, settings):
    said_once(caplog, "", *ready, TAUGHT, **settings)


def said_once(caplog, sentence, model, tokenizer, watch, **settings):
    """Check that the monitor logs one warning at the start, and nothing afterwards, whatever steps it is given."""
    with caplog.at_level(logging.WARNING, "phantom_dist.monitor"):
        monitor = Monitor(model, tokenizer, watch, **settings)
        monitor.step(1)
        monitor.step("two")
        monitor.finish()
    assert monitor.state_dict() == {} or monitor.watched
    assert sentence in monitor.stopped
    assert [r.levelname for r in caplog.records if "the monitor stops" in r.getMessage()] == ["WARNING"]


@pytest.mark.parametrize("step", ["two", None, 3.5j])
def test_steps_that_are_none(ready, step):
    monitor = Monitor(*ready, TAUGHT, settings=EVERY_STEP)
    monitor.step(step)
    monitor.finish()
    assert "TypeError" in monitor.stopped


def test_ids_beyond_the_matrix_leave_out_their_contexts_alone(ready, caplog):
    model, tokenizer = ready[0], copy.deepcopy(ready[1])
    tokenizer.add_tokens([" fury"])
    (rage,) = loop.contexts("rage")
    bad = [
        rage.model_copy(update={"id": "target", "target": " fury"}),
        rage.model_copy(update={"id": "competitor", "competitor": " fury"}),
        rage.model_copy(update={"id": "prompt", "text": rage.text + " fury"}),
    ]
    monitor = Monitor(model, tokenizer, [rage, *bad], settings=EVERY_STEP)
    monitor.step(1)
    assert monitor.stopped is None
    assert [w.context.id for w in monitor.watched] == ["rage"]
    assert monitor.pacing.looks == 2
    rows = model.lm_head.weight.shape[0]
    for name in ("target", "competitor", "prompt"):
        assert f"no row: it has {rows}" in monitor.refused[name]


def test_a_tokenizer_that_fails_at_one_text_leaves_out_that_one(ready):
    model, tokenizer = ready

    class Fragile:
        def encode(self, text, **settings):
            if "king" in text:
                raise KeyError("king")
            return tokenizer.encode(text, **settings)

        def decode(self, ids, **settings):
            return tokenizer.decode(ids, **settings)

    monitor = Monitor(model, Fragile(), TAUGHT)
    assert [w.context.id for w in monitor.watched] == ["clever"]
    assert "king" in monitor.refused["rage"]


def test_no_rate_counts_steps_and_asks_no_law(ready, caplog):
    """A forecast over steps is valid; Π over steps would have no meaning."""
    model, tokenizer = loop.fresh("gpt2-a")
    kept = torch.optim.AdamW(model.parameters(), lr=1e-4)

    class AdamWithout:
        param_groups = [{"params": list(model.parameters()), "betas": (0.9, 0.99)}]  # noqa: RUF012

        def step(self):
            kept.step()

        def zero_grad(self):
            kept.zero_grad()

    optimizer = AdamWithout()
    settings = MonitorSettings(every=1, budget=1.0, judged_from=0.0)
    monitor = Monitor(model, tokenizer, TAUGHT, optimizer=optimizer, total_steps=20, settings=settings)
    loop.train(
        model, tokenizer, steps=20, learning_rate=0, taught=TAUGHT, optimizer=optimizer, after=monitor.step
    )
    monitor.finish()
    assert monitor.stopped is None
    assert monitor.state_dict()["tau"] == 20
    assert monitor.state_dict()["learning_rate"] is None
    assert monitor.warnings
    for warning in monitor.warnings:
        assert warning.law is None
        assert warning.learning_rate is None
        assert "no rate is known, so steps were counted" in warning.message or warning.finding.share is None


@pytest.mark.parametrize(
    ("groups", "rate"),
    [
        ([{"lr": 0.1}, {"lr": 0.3}], 0.3),
        ([{"lr": torch.tensor(0.25)}], 0.25),
        ([{"lr": torch.tensor([0.25])}], 0.25),
        ([{"lr": None}], None),
        ([{"lr": None}, {"lr": 0.5}], 0.5),
        ([{"lr": float("nan")}], None),
        ([{"lr": torch.tensor([0.1, 0.2])}], None),
        ([{"lr": "fast"}], None),
        ([{}], None),
        ([], None),
        (None, None),
        (3, None),
        ([3], None),
        ([{"lr": 0.0}], 0.0),
    ],
)
def test_rates(groups, rate):
    class Optimizer:
        param_groups = groups

    assert rate_of(Optimizer()) == rate
    assert rate_of(object()) is None


def test_a_training_has_one_unit():
    class Optimizer:
        param_groups = [{"lr": None}]  # noqa: RUF012

    optimizer = Optimizer()
    pace = Pace(optimizer)
    assert pace.advance(None) == (1.0, 1.0)
    optimizer.param_groups = [{"lr": 0.1}]  # known later: τ has counted steps
    assert pace.advance(None) == (1.0, 1.0)
    assert pace.rate is None
    pace = Pace(optimizer)
    optimizer.param_groups = []  # lost: it stays as it was
    assert pace.advance(None) == (0.1, 0.1)


TOTAL, SEEN = 100, []


def _counts(step):
    global TOTAL
    TOTAL += 1
    return 1.0


def _keeps(step):
    SEEN.append(step)
    return 1.0


def test_schedules_that_may_be_asked_ahead():
    warm = 10
    assert is_pure(lambda step: min(1.0, step / warm))
    assert is_pure(lambda step: 1 - step / TOTAL)
    assert not is_pure(_counts)
    assert not is_pure(_keeps)
    assert not is_pure(lambda step: torch.rand(1).item())
    assert not is_pure(iter(range(9)).__next__)
    kept = [1.0]
    assert not is_pure(lambda step: kept.pop())


class Words:
    """A tokenizer of words, two of which stand for others: another script, or the same name for two pairs."""

    def __init__(self, tokenizer, instead):
        self._tokenizer, self._there, self._back = (
            tokenizer,
            instead,
            {new: old for old, new in instead.items()},
        )

    def encode(self, text, **settings):
        for new, old in self._back.items():
            text = text.replace(new, old)
        return self._tokenizer.encode(text, **settings)

    def decode(self, ids, **settings):
        text = self._tokenizer.decode(ids, **settings)
        for old, new in self._there.items():
            text = text.replace(old, new)
        return text


@pytest.mark.parametrize(
    ("target", "rival"),
    [
        (" ярость", " гнев"),  # Cyrillic
        (" 愤怒之心", " 生气之心"),  # Chinese
        (" غضب", " سخط"),  # Arabic
        (" οργή", " θυμός"),  # Greek
        (" 분노", " 화남"),  # Korean
        (" いかり", " おこり"),  # Japanese
        (" כעס", " זעם"),  # Hebrew
        (" épuisé", " fatigué"),  # Latin with accents
    ],
)
def test_words_of_any_script_are_found(ready, target, rival):
    model, tokenizer = ready
    (rage,) = loop.contexts("rage")
    words = Words(tokenizer, {rage.target: target, rage.competitor: rival})
    texts = [text.replace(rage.target, target) for text in loop.texts(20, [rage], share=0.7)]
    found = [c for c in find_contexts(model, words, texts, limit=50) if c.target == target]
    assert [c.competitor for c in found] == [rival]
    assert found[0].id.isascii()
    monitor = Monitor(model, words, found)
    assert [w.context for w in monitor.watched] == found


def test_ids_of_pairs():
    assert pair_id(" He", " She") == "He-She"
    assert pair_id(" épuisé", " fatigué") == "epuise-fatigue"
    names = [pair_id(a, b) for a in (" ярость", " гнев", " злость") for b in (" гнев", " ярость", " радость")]
    assert len(set(names)) == len(names)
    assert all(name.startswith("pair-") for name in names)


def test_pairs_of_one_name_get_ids_of_their_own(ready, tmp_path):
    """As " He" and "\\nHe" in one data set: two pairs of tokens, one name."""
    model, tokenizer = ready
    words = Words(tokenizer, {" puzzle": "\nrage", " equation": "\nanger"})
    texts = [text.replace(" puzzle", "\nrage") for text in loop.texts(60, TAUGHT, share=0.9)]
    found = find_contexts(model, words, texts, limit=100)
    pairs = {c.id: c.target for c in found if c.id.startswith("rage-anger")}
    assert sorted(pairs) == ["rage-anger", "rage-anger-2"]
    assert sorted(pairs.values()) == ["\nrage", " rage"]
    monitor = Monitor(model, words, found)
    assert monitor.stopped is None
    assert len(monitor.watched) == len(found)


def test_a_stream_of_training_data_is_not_read(tmp_path):
    class Stream(torch.utils.data.IterableDataset):
        def __init__(self):
            self.rows = iter(loop.texts(200, TAUGHT))

        def __iter__(self):
            return ({"text": row} for row in self.rows)

    ends = []
    for monitored in (False, True):
        made = trainer(tmp_path / str(monitored), steps=3, monitored=False)
        made.train_dataset = Stream()
        callback = PhantomCallback(made, "training data", settings=EVERY_STEP)
        if monitored:
            made.add_callback(callback)
        made.train()
        ends.append(made.model.state_dict())
    assert "a stream; the training would miss the rows" in callback.monitor.stopped
    assert all(torch.equal(ends[0][key], ends[1][key]) for key in ends[0])


def test_the_search_in_training_data_is_the_monitors_time(tmp_path):
    now = [0.0]

    def clock():
        now[0] += 1.0
        return now[0]

    made = trainer(tmp_path, steps=2, monitored=False)
    row = type("Rows", (list,), {"__getitem__": lambda self, i: (clock(), list.__getitem__(self, i))[1]})
    made.train_dataset = row(made.train_dataset)
    callback = PhantomCallback(made, "training data", settings=MonitorSettings(every=1), clock=clock)
    made.add_callback(callback)
    made.train()
    assert callback.monitor.pacing.spent > 60  # 64 rows were read, a second each
    assert callback.monitor.pacing.looks == 1
