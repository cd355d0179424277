"""The axis of optimizers and `core.trial` know the same names and settings."""

from __future__ import annotations

import pytest

from phantom_dist.core.trial import OPTIMIZER_NAMES, OPTIMIZER_SETTINGS, Optimizer
from phantom_dist.spec.optimizers import OptimizerEntry


def test_every_optimizer_can_be_asked_for_with_its_settings():
    assert tuple(OptimizerEntry.model_fields) == OPTIMIZER_NAMES == tuple(OPTIMIZER_SETTINGS)
    for name, own in OPTIMIZER_SETTINGS.items():
        entry = OptimizerEntry.model_validate({name: {}})
        assert set(getattr(entry, name).model_dump()) == set(own)
        assert entry.core().name == name


@pytest.mark.parametrize(("name", "setting"), [("adamw", "momentum"), ("sgd", "beta1"), ("sgd", "epsilon")])
def test_a_setting_of_another_optimizer_is_refused(name, setting):
    with pytest.raises(ValueError, match=f"{name} has no {setting}"):
        Optimizer.model_validate({"name": name, setting: 0.5})


def test_what_decays_matters_only_with_weight_decay():
    with pytest.raises(ValueError, match="decay weights needs a weight_decay above 0"):
        Optimizer(name="adamw", decay="weights")
    plain, apart = (Optimizer(name="adamw", weight_decay=0.1, **more) for more in ({}, {"decay": "weights"}))
    assert "decay" not in plain.model_dump()
    assert apart.model_dump()["decay"] == "weights"
