"""Every fine-tuning method of peft: a look equals the model's own values, or the monitor stops with one message.

Either way the training is the same bit for bit. The table of `phantom_dist/monitor/README.md` says which it is.
"""

from __future__ import annotations

import importlib.util
import logging
import re
import warnings
from pathlib import Path

import pytest
import torch

from phantom_dist.monitor import Monitor, MonitorSettings
from phantom_dist.monitor import __file__ as package

from . import loop, peft_methods

EVERY_STEP = MonitorSettings(every=1, budget=1.0)
WATCHED = loop.contexts("guilt", "rage", "clever", "surprise-career")
STEPS = 2

TABLE = dict(
    re.findall(
        r"^\| `([A-Z0-9_]+(?: [a-z_ ]+)?)` \| (.+?) \|$",
        (Path(package).parent / "README.md").read_text(),
        re.M,
    )
)
"""The README's entry for each method: `exact`, or the message with which the monitor stops."""


def alone(model, pair):
    """The model's own gap for the prompt alone; undoes what CPT's forward pass does to its parameters."""
    before = [(parameter, parameter.data) for parameter in model.parameters()]
    model.eval()
    with torch.no_grad():
        logits = model(input_ids=torch.tensor([pair.prompt])).logits[0, -1]
    model.train()
    for parameter, data in before:
        parameter.data = data
    return float(logits[pair.target] - logits[pair.competitor])


def trained(name, folder, monitored):
    """Two steps of AdamW under a method; returns weights, random generator, monitor, and the model's own gaps."""
    model, tokenizer = peft_methods.adapted(name, folder)
    optimizer = loop.adamw(model, 1e-2)
    gaps = []
    monitor = None
    torch.manual_seed(2)
    if monitored:
        monitor = Monitor(
            model, tokenizer, WATCHED, optimizer=optimizer, total_steps=STEPS, settings=EVERY_STEP
        )
    for n in range(1, STEPS + 1):
        batch = loop.encode(tokenizer, loop.texts(4, WATCHED, seed=n))
        if name in peft_methods.TASKS:
            batch["task_ids"] = torch.zeros(4, dtype=torch.int64)
        model(**batch).loss.backward()
        optimizer.step()
        optimizer.zero_grad()
        if monitor is not None:
            monitor.step(n)
            if monitor.stopped is None:
                state = torch.get_rng_state()
                gaps += [(alone(model, w.tokens), w.context.id, n) for w in monitor.watched]
                torch.set_rng_state(state)
    return dict(model.state_dict()), torch.get_rng_state(), monitor, gaps


@pytest.mark.parametrize("name", peft_methods.names())
def test_a_look_is_the_models_own_value_or_one_sentence(name, tmp_path, caplog):
    needed = peft_methods.NEEDS.get(name)
    if needed and importlib.util.find_spec(needed) is None:
        pytest.skip(f"peft's {name} needs {needed}")
    with warnings.catch_warnings(), caplog.at_level(logging.WARNING, "phantom_dist.monitor"):
        warnings.simplefilter("ignore")
        weights, generator, _, _ = trained(name, tmp_path / "a", monitored=False)
        watched, after, monitor, gaps = trained(name, tmp_path / "b", monitored=True)
    assert torch.equal(generator, after)
    assert weights.keys() == watched.keys()
    assert all(torch.equal(weights[key], watched[key]) for key in weights)
    if TABLE[name] == "exact":
        assert monitor.stopped is None
        assert monitor.watched
        assert len(gaps) == STEPS * len(monitor.watched)
        kept = {entry["context"]["id"]: entry for entry in monitor.state_dict()["contexts"]}
        for own, context, n in gaps:
            reading = kept[context]["readings"][kept[context]["steps"].index(n)]
            assert reading["logit_gap"] == pytest.approx(own, abs=1e-4)
    else:
        said = [r for r in caplog.records if "the monitor stops" in r.getMessage()]
        assert len(said) == 1
        assert said[0].exc_info is None
        assert monitor.stopped == TABLE[name]
        assert name.split()[0] in monitor.stopped or "readout carries an adapter" in monitor.stopped


def test_the_table_lists_every_method():
    assert list(TABLE) == peft_methods.names()
