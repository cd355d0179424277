"""The snippets of the monitor's README run as they stand."""

from __future__ import annotations

import re
from pathlib import Path

from . import loop
from .test_transformers_callback import trainer

ROOT = Path(__file__).parents[2]
README = (ROOT / "phantom_dist" / "monitor" / "README.md").read_text()
CALLBACK, LOOP = re.findall(r"```python\n(.*?)```", README, flags=re.DOTALL)


def test_the_callback(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "contexts.yaml").write_text(loop.CONTEXTS.read_text())
    made = trainer(tmp_path / "out", monitored=False)
    exec(CALLBACK, {"trainer": made})
    monitor = made.callback_handler.callbacks[-1].monitor
    assert len(monitor.watched) == 13
    assert monitor.stopped is None


def test_the_loop():
    model, tokenizer = loop.fresh("gpt2-a")
    texts = loop.texts(40, loop.contexts("rage"))
    names = {
        "model": model,
        "tokenizer": tokenizer,
        "texts": texts,
        "optimizer": loop.adamw(model, 1e-4),
        "batches": [loop.encode(tokenizer, texts[i : i + 4]) for i in range(0, 40, 4)],
    }
    exec(LOOP, names)
    assert names["monitor"].stopped is None
    assert names["monitor"].watched
