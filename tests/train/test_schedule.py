"""The learning rate at every epoch, against timm and against the authors' iteration formula."""

import math

import pytest

from inceptionnext_jax.train.schedule import ScheduleSettings, make_schedule

PAPER = {  # peak, warm-up rate, minimum, warm-up epochs, epochs, steps an epoch
    "tiny": (4e-3, 1e-6, 1e-5, 20, 300, 312),
    "atto": (1e-3, 5e-7, 5e-7, 5, 450, 1000),
    "base_384": (5e-5, 1e-6, 1e-5, 0, 30, 1251),
}


def settings(name, peak, warmup_lr, low, warmup, epochs, steps, per):
    return ScheduleSettings(name, peak, warmup_lr, low, warmup, epochs, steps, per)


@pytest.mark.parametrize("row", PAPER)
def test_epoch_cosine_equals_timm_at_every_epoch(timm, row):
    import torch
    from timm.scheduler import CosineLRScheduler

    peak, warmup_lr, low, warmup, epochs, steps = PAPER[row]
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=peak)
    reference = CosineLRScheduler(
        optimizer,
        t_initial=epochs,
        lr_min=low,
        warmup_t=warmup,
        warmup_lr_init=warmup_lr,
        cycle_limit=1,
    )
    schedule = make_schedule(settings("cosine", *PAPER[row], "epoch"))
    for epoch in range(epochs + 10):
        reference.step(epoch)
        wanted = optimizer.param_groups[0]["lr"]
        for step in (epoch * steps, epoch * steps + steps - 1):
            assert schedule(step) == pytest.approx(wanted, rel=1e-12), epoch


def test_epoch_cosine_never_reaches_its_peak():
    schedule = make_schedule(settings("cosine", *PAPER["tiny"], "epoch"))
    # Reference values of the recipe of InceptionNeXt-T.
    wanted = {0: 1e-6, 1: 2.0095e-4, 19: 3.80005e-3, 20: 3.95640e-3, 21: 3.95195e-3, 150: 2.005e-3}
    for epoch, lr in wanted.items():
        assert schedule(312 * epoch) == pytest.approx(lr, rel=2e-6)
    assert schedule(312 * 309) == 1e-5


def test_step_cosine_is_the_iteration_schedule_of_convnext():
    schedule = make_schedule(settings("cosine", 4e-3, 0.0, 1e-6, 2, 10, 50, "step"))
    for i in range(100):
        assert schedule(i) == pytest.approx(4e-3 * i / 99)
    for i in range(400):
        wanted = 1e-6 + 0.5 * (4e-3 - 1e-6) * (1 + math.cos(math.pi * i / 400))
        assert schedule(100 + i) == pytest.approx(wanted)
    assert schedule(500) == 1e-6


@pytest.mark.parametrize("per", ["epoch", "step"])
def test_constant_keeps_the_peak_after_the_warm_up(per):
    schedule = make_schedule(settings("constant", 5e-5, 1e-6, 1e-5, 1, 30, 10, per))
    assert schedule(0) == 1e-6
    assert {schedule(step) for step in range(10, 400)} == {5e-5}
