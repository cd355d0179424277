"""What is left of transformers' schedules."""

from __future__ import annotations

import pytest
import torch
from transformers import get_scheduler

from phantom_dist.monitor.schedule_ahead import ScheduleAhead


@pytest.mark.parametrize("total", [200, 3000])
@pytest.mark.parametrize("name", ["linear", "cosine", "constant_with_warmup"])
def test_the_rest_of_a_schedule_is_the_sum_of_its_rates(name, total):
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=0.3)
    scheduler = get_scheduler(name, optimizer, num_warmup_steps=total // 10, num_training_steps=total)
    ahead = ScheduleAhead(scheduler, total)
    rates = [0.3 * scheduler.lr_lambdas[0](step) for step in range(total)]
    for step in (0, total // 20, total // 2, total - 1, total):
        expected = sum(rates[step:])
        now = rates[step] if step < total else 0.3 * scheduler.lr_lambdas[0](total)
        assert ahead.left(step, now) == pytest.approx(expected, abs=0.01 * sum(rates))


def test_an_unknown_schedule_stays_where_it_is():
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=0.3)
    other = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, 100)
    assert ScheduleAhead(other, 100).left(40, 0.2) == pytest.approx(12.0)
    assert ScheduleAhead(None, None).left(40, 0.2) == 0.0


def test_a_schedule_that_disagrees_with_the_optimizer_is_not_believed():
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=0.3)
    scheduler = get_scheduler("linear", optimizer, num_warmup_steps=0, num_training_steps=100)
    assert ScheduleAhead(scheduler, 100).left(50, 0.3) == pytest.approx(15.0)
