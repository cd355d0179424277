"""PhantomLightningCallback in a real Lightning Trainer: its loggers, accumulation, and checkpoints."""

from __future__ import annotations

from pathlib import Path

import lightning.pytorch as lightning
import pytest
import torch
from lightning.pytorch.loggers import CSVLogger, TensorBoardLogger
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from torch.utils.data import DataLoader
from transformers import get_scheduler

from phantom_dist.monitor import MonitorSettings, PhantomLightningCallback
from phantom_dist.traces.monitor_log import open_monitor_log

from . import loop

TAUGHT = loop.contexts("rage", "clever")
EVERY_SECOND = MonitorSettings(every=2, budget=1.0)


class Module(lightning.LightningModule):
    def __init__(self, scheduled: bool = False) -> None:
        super().__init__()
        self.language, self.tokenizer = loop.fresh("gpt2-a")
        self.scheduled = scheduled

    def training_step(self, rows, index):
        loss = self.language(**loop.encode(self.tokenizer, rows)).loss
        self.log("loss", loss)
        return loss

    def configure_optimizers(self):
        optimizer = torch.optim.AdamW(self.parameters(), lr=1e-4)
        if not self.scheduled:
            return optimizer
        return [optimizer], [{"scheduler": get_scheduler("linear", optimizer, 1, 6), "interval": "step"}]


class Broken(CSVLogger):
    """A logger that takes no name with a slash."""

    def log_metrics(self, metrics, step=None):
        assert not any("/" in name for name in metrics)
        super().log_metrics(metrics, step)


def fit(folder, steps, module=None, resume=None, monitored=True, **settings):
    lightning.seed_everything(0)
    module = module or Module()
    callback = PhantomLightningCallback(
        module.tokenizer, TAUGHT, settings=EVERY_SECOND, record=folder / "record.jsonl"
    )
    trainer = lightning.Trainer(
        max_steps=steps,
        max_epochs=-1,
        callbacks=[callback] if monitored else [],
        accelerator="cpu",
        enable_progress_bar=False,
        enable_model_summary=False,
        default_root_dir=folder,
        **{"logger": False, "enable_checkpointing": False} | settings,
    )
    data = DataLoader(loop.texts(400, TAUGHT), batch_size=4, collate_fn=list)
    trainer.fit(module, data, ckpt_path=resume)
    return trainer, callback.monitor


def test_all_loggers_get_the_looks(tmp_path):
    loggers = [CSVLogger(tmp_path / "csv"), TensorBoardLogger(tmp_path / "events")]
    _, monitor = fit(tmp_path, 8, logger=loggers, accumulate_grad_batches=2)
    assert monitor.stopped is None
    assert [context["steps"] for context in monitor.state_dict()["contexts"]] == [[0, 2, 4, 6, 8]] * 2
    events = EventAccumulator(loggers[1].log_dir)
    events.Reload()
    scalars = events.Scalars("phantom/rage/logit_gap")
    looks = [r for r in open_monitor_log(tmp_path / "record.jsonl").looks if r["context"] == "rage"]
    assert [s.step for s in scalars] == [r["step"] for r in looks]
    assert [s.value for s in scalars] == pytest.approx([r["logit_gap"] for r in looks])
    with open(f"{loggers[0].log_dir}/metrics.csv") as table:
        assert "phantom/clever/signal" in table.readline()


def test_a_training_is_resumed_from_its_checkpoint(tmp_path):
    trainer, first = fit(tmp_path, 5)
    trainer.save_checkpoint(tmp_path / "at-5.ckpt")
    _, second = fit(tmp_path, 10, resume=tmp_path / "at-5.ckpt")
    kept, got = first.state_dict()["contexts"][0], second.state_dict()["contexts"][0]
    assert kept["steps"] == [0, 2, 4, 5]  # the end of training is looked at
    assert got["steps"] == [0, 2, 4, 5, 7, 9, 10]
    assert got["readings"][:4] == kept["readings"]


def test_a_module_without_one_language_model_is_told_to_name_it(tmp_path):
    module = Module()
    module.other, _ = loop.fresh("llama-a")
    trainer, monitor = fit(tmp_path, 1, module=module)
    assert trainer.global_step == 1
    assert "2 attributes of Module are language models; name one as `model=`" in monitor.stopped


@pytest.mark.parametrize(
    ("scheduled", "settings"),
    [
        (False, {}),
        (True, {"accumulate_grad_batches": 2}),
        (False, {"precision": "bf16-mixed"}),
        (True, {"gradient_clip_val": 0.5}),
    ],
)
def test_rows_weights_and_random_numbers_are_as_without_it(tmp_path, caplog, scheduled, settings):
    ends = []
    for monitored in (False, True):
        module, rows = Module(scheduled), Broken(tmp_path / str(monitored))
        _, monitor = fit(
            tmp_path, 6, module, monitored=monitored, logger=rows, log_every_n_steps=1, **settings
        )
        table = Path(rows.log_dir, "metrics.csv").read_text()
        ends.append((table, module.state_dict(), torch.get_rng_state()))
    assert monitor.stopped is None
    assert monitor.pacing.looks == 4
    assert caplog.text.count("Broken failed at a row of the monitor") == 1
    assert ends[0][0] == ends[1][0]
    assert all(torch.equal(ends[0][1][key], ends[1][1][key]) for key in ends[0][1])
    assert torch.equal(ends[0][2], ends[1][2])
