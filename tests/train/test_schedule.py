"""The learning rate at every epoch, against timm and against the authors' iteration formula."""

import json
import math
import re
from pathlib import Path

import numpy as np
import pytest

from configs import default
from inceptionnext_jax.errors import UserError
from inceptionnext_jax.tasks.check import check
from inceptionnext_jax.train.plan import Sizes, make_plan, rows
from inceptionnext_jax.train.schedule import ScheduleSettings, activation_slope, make_schedule

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


def test_step_cosine_follows_the_iteration_schedule_of_convnext():
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


@pytest.mark.parametrize("per", ["epoch", "step"])
@pytest.mark.parametrize("power", [1.0, 0.9])
@pytest.mark.parametrize("low", [0.0, 1e-5])
def test_poly_follows_mmsegmentation(per, power, low):
    """UPerNet's schedule: the decay runs during the warm-up too."""
    peak, ratio, per_epoch = 6e-5, 1e-6, 20
    every = per_epoch if per == "epoch" else 1
    warmup, total = 3 * per_epoch // every, 40 * per_epoch // every
    schedule = make_schedule(
        ScheduleSettings("poly", peak, peak * ratio, low, 3, 40, per_epoch, per, power=power)
    )
    for i in range(total):
        regular = (peak - low) * (1 - i / total) ** power + low
        wanted = regular * (1 - (1 - i / warmup) * (1 - ratio)) if i < warmup else regular
        for step in (i * every, i * every + every - 1):
            assert schedule(step) == pytest.approx(wanted, rel=1e-12), i
    assert schedule(total * every) == schedule(total * every + 99) == low


@pytest.mark.parametrize("per", ["epoch", "step"])
def test_step_follows_mmdetection(per):
    """The 3x schedule of Mask R-CNN; its warm-up of 500 iterations is part of an epoch."""
    import torch

    peak, per_epoch, warmup = 1e-4, 50, 0.6 if per == "step" else 2
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=peak)
    reference = torch.optim.lr_scheduler.MultiStepLR(optimizer, [27, 33], gamma=0.1)
    schedule = make_schedule(
        ScheduleSettings(
            "step", peak, peak * 1e-3, 1e-5, warmup, 36, per_epoch, per, decay_epochs=(27, 33)
        )
    )
    for epoch in range(40):
        for i in range(per_epoch):
            done = epoch + (i / per_epoch if per == "step" else 0)
            scale = 1 - max(1 - done / warmup, 0) * (1 - 1e-3)
            wanted = scale * reference.get_last_lr()[0]
            assert schedule(epoch * per_epoch + i) == pytest.approx(wanted, rel=1e-12), (epoch, i)
        optimizer.step()
        reference.step()


COCO = 117_266  # training images that have objects; 7,329 steps of 16, 3,664 of 32
# Batch, epochs, epochs of the falls, rate; then rates of some updates, by hand: in the warm-up
# rate × (0.001 + 0.999 i / 500), after each fall a tenth.
DETECTION = {
    "3x": (16, 36, (27, 33), 2e-4, {
        0: 2e-7, 1: 5.996e-7, 250: 1.001e-4, 499: 1.996004e-4, 500: 2e-4, 7_329 * 27 - 1: 2e-4,
        7_329 * 27: 2e-5, 7_329 * 33 - 1: 2e-5, 7_329 * 33: 2e-6, 7_329 * 36 - 1: 2e-6,
    }),
    "1x": (16, 12, (8, 11), 1e-4, {
        0: 1e-7, 499: 9.98002e-5, 500: 1e-4, 58_631: 1e-4, 58_632: 1e-5, 80_618: 1e-5,
        80_619: 1e-6, 87_947: 1e-6,
    }),
    "RetinaNet of VanillaNet": (32, 12, (10, 11), 8e-5, {
        0: 8e-8, 250: 4.004e-5, 500: 8e-5, 36_639: 8e-5, 36_640: 8e-6, 40_304: 8e-7, 43_967: 8e-7,
    }),
    "Mask R-CNN of VanillaNet": (32, 12, (10, 12), 1.3e-4, {
        0: 1.3e-7, 500: 1.3e-4, 36_639: 1.3e-4, 36_640: 1.3e-5, 43_967: 1.3e-5,
    }),
}  # fmt: skip


def detection_plan(batch, epochs, rate, images=COCO, **schedule):
    config = default.get_config()
    changes = {
        "batch_size": batch, "total_epochs": epochs, "optim.lr": rate,
        "optim.lr_batch_size": batch, "schedule.per": "step", "schedule.min_lr": 0.0,
        "schedule.warmup_steps": 500, "schedule.warmup_factor": 1e-3,
        "schedule.cooldown_epochs": 0.0, "model.bn_group_size": 0,
        **{f"schedule.{key}": value for key, value in schedule.items()},
    }  # fmt: skip
    config.update_from_flattened_dict(changes)
    assert not check(config, devices=1)
    return make_plan(config, Sizes(images, 5_000), devices=1)


@pytest.mark.parametrize("row", DETECTION)
def test_the_schedules_of_detection_have_the_rates_computed_by_hand(row):
    batch, epochs, falls, rate, wanted = DETECTION[row]
    plan = detection_plan(batch, float(epochs), rate, name="step", decay_epochs=falls)
    assert plan.total_steps == epochs * (COCO // batch)
    schedule = make_schedule(plan.schedule)
    assert {step: schedule(step) for step in wanted} == pytest.approx(wanted, rel=1e-12)


def test_a_linear_decay_to_zero_is_a_polynomial_of_power_one():
    plan = detection_plan(32, 12.0, 8e-5, name="poly")
    schedule, total = make_schedule(plan.schedule), 12 * 3_664
    assert schedule(0) == pytest.approx(8e-8)
    assert schedule(total // 2) == pytest.approx(4e-5)
    assert schedule(total - 1) == pytest.approx(8e-5 / total)


def test_a_warm_up_in_steps_longer_than_the_epochs_is_refused_when_the_data_is_known():
    with pytest.raises(UserError, match=r"warmup_steps=500 must be less than the 72 steps of tot"):
        detection_plan(16, 12.0, 1e-4, images=100, name="step", decay_epochs=(8, 11))
    assert detection_plan(16, 12.0, 1e-4, images=700, name="poly").total_steps == 516


def test_inexact_epochs_give_whole_steps():
    """1,500 warm-up iterations of 1,263 an epoch: the product is just below 1,500."""
    warmup = math.nextafter(1500 / 1263, 0)
    schedule = make_schedule(ScheduleSettings("poly", 1.0, 0.0, 0.0, warmup, 127, 1263, "step"))
    assert schedule(1500) == pytest.approx(1 - 1500 / (127 * 1263), rel=1e-12)
    last = 1 - 1499 / (127 * 1263)
    assert schedule(1499) == pytest.approx(last * 1499 / 1500, rel=1e-12)


@pytest.mark.parametrize(
    ("name", "values"),
    [
        ("linear", {0: 0, 1: 0.01, 25: 0.25, 99: 0.99, 100: 1, 299: 1}),
        ("cosine", {0: 0, 25: 0.14644661, 50: 0.5, 75: 0.85355339, 100: 1, 299: 1}),
    ],
)
def test_the_activation_slope_rises_from_relu_to_identity(name, values):
    """VanillaNet's over the first 100 epochs; the cosine is half a period."""
    for epoch, slope in values.items():
        assert activation_slope(epoch, 100, name) == pytest.approx(slope, abs=1e-8)


def test_a_slope_that_does_not_reach_one_is_noted():
    config = default.get_config()
    slope = {"model.name": "vanillanet_5", "model.drop_path_rate": 0.0}
    config.update_from_flattened_dict({**slope, "schedule.slope_epochs": 310.0})
    notes = make_plan(config, Sizes(50_000, 100), devices=1).notes
    (note,) = [note for note in notes if "slope" in note]
    assert note.startswith("the activations' slope ends at 0.997: the run has 310 epochs and ")
    config.schedule.slope_epochs = 309.0
    notes = make_plan(config, Sizes(50_000, 100), devices=1).notes
    assert not [note for note in notes if "slope" in note]


@pytest.mark.parametrize("row", ["upernet", "semantic_fpn"])
@pytest.mark.parametrize("warmup", ["scaled", "before"])
def test_poly_equals_mmsegmentation_of_its_version(row, warmup):
    with np.load(Path(__file__).parent / "golden/lr_schedule.npz") as stored:
        facts = json.loads(str(stored["settings"]))[row]
        rates = stored[f"outputs/{row}/{'mmcv_old' if warmup == 'scaled' else 'mmseg_1x'}"]
        iterations = stored[f"inputs/{row}/iteration"].tolist()
    config = default.get_config()
    changes = {
        "total_steps": facts["total"],
        "batch_size": 16,
        "optim.lr": facts["base"],
        "optim.lr_batch_size": 16,
        "schedule.name": "poly",
        "schedule.per": "step",
        "schedule.power": facts["power"],
        "schedule.min_lr": 0.0,
        "schedule.warmup": warmup,
        "schedule.warmup_steps": facts["warmup"],
        "schedule.warmup_factor": facts["start_factor"],
    }
    config.update_from_flattened_dict(changes)
    assert not check(config, devices=1)
    plan = make_plan(config, Sizes(20_210, 2_000), devices=1)
    assert plan.total_steps == facts["total"]
    schedule = make_schedule(plan.schedule)
    for iteration, rate in zip(iterations, rates, strict=True):
        assert schedule(iteration) == pytest.approx(rate, rel=1e-9, abs=1e-18), iteration


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"schedule.warmup": "beforehand"}, "did you mean before"),
        ({"schedule.warmup_steps": -1}, "schedule.warmup_steps=-1 must be >= 0"),
        ({"schedule.warmup_factor": 2.0}, "schedule.warmup_factor=2.0 must be in"),
        ({"schedule.slope_epochs": 9.0}, "is for the activations of vanillanet.*set it to 0"),
        ({"schedule.slope_epochs": -1.0}, "schedule.slope_epochs=-1.0 must be >= 0"),
        ({"schedule.slope_name": "linaer"}, "did you mean linear"),
        ({"schedule.name": "step"}, "needs schedule.decay_epochs"),
        ({"schedule.decay_epochs": (33, 27)}, "each above the one before"),
        ({"schedule.decay_epochs": ("a",)}, "must be numbers > 0"),
        ({"schedule.decay_rate": 1.5}, r"schedule.decay_rate=1.5 must be in \[0, 1\]"),
        ({"schedule.power": 0.0}, "schedule.power=0.0 must be > 0"),
        ({"schedule.name": "polly"}, "did you mean poly"),
        ({"optim.layer_decay": 1.2}, r"optim.layer_decay=1.2 must be in \[0, 1\]"),
        ({"optim.layer_decay": 0.0}, "optim.layer_decay=0.0 must be > 0"),
        ({"optim.layer_groups": "stages"}, "did you mean stage"),
        ({"optim.momentum": 1.0}, r"optim.momentum=1.0 must be in \[0, 1\)"),
        ({"optim.name": "lambs"}, "did you mean lamb"),
    ],
)
def test_bad_values_are_refused_by_name(changes, message):
    config = default.get_config()
    config.update_from_flattened_dict(changes)
    (problem,) = check(config, devices=1)
    assert re.search(message, problem), problem


@pytest.mark.parametrize(
    "changes",
    [
        {"schedule.name": "poly", "schedule.power": 0.9},
        {"schedule.name": "step", "schedule.decay_epochs": (200, 250.5)},
        {"optim.name": "lamb", "optim.layer_decay": 0.8},
        {"optim.name": "sgd", "optim.layer_decay": 1.0},
    ],
)
def test_good_values_are_planned(changes):
    config = default.get_config()
    config.update_from_flattened_dict(changes)
    plan = make_plan(config, Sizes(50_000, 100), devices=1)
    assert plan.schedule.decay_epochs == config.schedule.decay_epochs
    rate = make_schedule(plan.schedule)(plan.total_steps - 1)
    assert 0 < rate < plan.schedule.peak_lr
    table = {what: resolved for what, _, resolved in rows(config, plan)}
    assert "optimizer" in table
    assert ("200, 250.5" in table["schedule"]) == (config.schedule.name == "step")
