"""An impossible config is refused with all its mistakes at once, each naming its key."""

import pytest

from configs import default
from inceptionnext_jax.cli.flags import config_from
from inceptionnext_jax.data import known_dataset
from inceptionnext_jax.errors import UserError
from inceptionnext_jax.tasks.check import check
from inceptionnext_jax.tasks.classification import build
from inceptionnext_jax.train import plan as plans

IMAGENET = plans.Sizes(1_281_167, 50_000)


def config_with(**changes):
    config = default.get_config()
    config.update_from_flattened_dict(changes)
    return config


def test_the_defaults_are_accepted():
    assert check(config_with(), devices=8) == []


@pytest.mark.parametrize(
    ("key", "value", "words"),
    [
        ("optim.lr", -1.0, "must be > 0"),
        ("optim.lr", float("nan"), "finite number"),
        ("optim.lr", float("inf"), "finite number"),
        ("seed", -1, "must be >= 0"),
        ("seed", 2**32, "must be < 4294967296"),
        ("skip_limit", -1, "must be >= 0"),
        ("data.max_bad", 2.0, "in [0, 1]"),
        ("total_steps", 2**31, "must be < "),
        ("data.image_size", 10**6, "must be < "),
        ("optim.lr_mult", (("head", float("nan")),), ">= 0"),
        ("optim.freeze", "a{99999999999999999999}", "not a regular expression"),
        ("augment.scale", (0.5,), "low <= high"),
        ("batch_size", 0, "must be > 0"),
        ("log.every_steps", 0, "must be > 0"),
        ("eval.every_steps", -1, "must be >= 0"),
        ("data.workers", -1, "must be >= 0"),
        ("model.drop_path_rate", 1.0, "in [0, 1)"),
        ("ema_decay", 1.5, "in [0, 1)"),
        ("augment.hflip", 1.5, "in [0, 1]"),
        ("augment.scale", (0.5, 0.2), "low <= high"),
        ("augment.scale", (0.5, 1.2), "share of the area"),
        ("augment.rand_augment", "rnd-m9", "rnd-m9"),
        ("schedule.name", "cosin", "did you mean cosine"),
        ("schedule.per", "steps", "did you mean step"),
        ("compute_dtype", "float16", "did you mean"),
        ("model.name", "inceptionnext_tinny", "did you mean inceptionnext_tiny"),
        ("model.stage_depths", (3, 0, 9, 3), "positive"),
        ("model.depthwise_impl", "fast", "auto"),
        ("model.remat", "dost", "not one of False, True, full, dots, mixer; did you mean dots"),
        ("on_nan", "ignore", "not one of stop, skip"),
        ("checkpoint.best_metric", "top1", "not one of"),
        ("checkpoint.best_metric", "eval_ema/top1", "needs ema_decay"),
        ("schedule.warmup_epochs", 300.0, "less than total_epochs"),
        ("total_epochs", 0.0, "must be > 0"),
        ("optim.freeze", "(", "not a regular expression"),
        ("optim.lr_mult", (("head", -1.0),), ">= 0"),
        ("optim.lr_mult", ("head",), "pair"),
        ("mesh.data", 0, "must be > 0"),
        ("mesh.data", 3, "set mesh.data=8 or -1"),
        ("mesh.fsdp", 3, "does not divide the 8 devices"),
    ],
)
def test_a_bad_value_is_named(key, value, words):
    (problem, *_) = check(config_with(**{key: value}), devices=8)
    assert key in problem
    assert words in problem


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"batch_size": 1001}, "8 devices × optim.accumulate=1; try 1000 or 1008"),
        ({"batch_size": 1000, "optim.accumulate": 4}, "try 992 or 1024"),
        ({"batch_size": 1000, "augment.mix_group_size": 8}, "bn_group_size=128; try 896 or 1024"),
        ({"batch_size": 1024, "optim.accumulate": 16}, "within the micro-batches of 64"),
        ({"model.bn_group_size": 0, "optim.accumulate": 4}, "lies within a micro-batch of 1024"),
        ({"batch_size": 64, "optim.accumulate": 2}, "within the micro-batches of 32"),
        ({"augment.mix_group_size": 0, "optim.accumulate": 4}, "augment.mix_group_size=0"),
        ({"batch_size": 3 * 4096, "augment.mix_group_size": 3}, "augment.mix_group_size=3 is odd"),
    ],
)  # fmt: skip
def test_a_batch_that_cannot_be_divided_is_refused_with_sizes_that_can(changes, words):
    problems = check(config_with(**changes), devices=8)
    assert any(words in problem for problem in problems), problems


def test_a_small_batch_is_one_group_and_unused_groups_are_not_checked():
    assert check(config_with(batch_size=64), devices=8) == []
    off = {"augment.mixup": 0.0, "augment.cutmix": 0.0, "augment.mix_group_size": 7}
    assert check(config_with(**off), devices=8) == []


def test_everything_wrong_is_reported_at_once():
    config = config_with(**{"optim.lr": 0.0, "on_nan": "x", "batch_size": 77, "mesh.fsdp": 3})
    text = "\n".join(check(config, devices=8))
    for key in ("optim.lr", "on_nan", "batch_size=77", "mesh.fsdp=3"):
        assert key in text


def test_a_batch_larger_than_the_data_is_refused():
    with pytest.raises(UserError, match="exceeds the 1281167 training images"):
        plans.make_plan(config_with(batch_size=2**21), IMAGENET, 8)


def test_fewer_classes_than_the_data_have_are_refused():
    config = config_with(**{"model.num_classes": 10})
    (problem,) = build.check_data(config, known_dataset("imagenet2012"))
    assert "less than the 1000 classes" in problem


def test_the_plan_of_the_paper():
    plan = plans.make_plan(config_with(), IMAGENET, 8)
    assert (plan.steps_per_epoch, plan.total_steps) == (312, 96_720)  # 300 + 10 epochs
    assert (plan.device_batch, plan.bn_group, build.mix_group(config_with())) == (512, 128, 128)
    assert plan.schedule.peak_lr == 4e-3
    assert plan.notes == ()


@pytest.mark.parametrize(
    ("flag", "value", "words"),
    [
        ("--config.seed=1", False, "nothing"),
        ("--config.model.remat", True, "whole blocks"),
        ("--config.model.remat=true", True, "whole blocks"),
        ("--config.model.remat=dots", "dots", "linear layers"),
    ],
)
def test_recomputation_is_set_by_flag_or_name_and_shown_in_the_plan(flag, value, words):
    config = config_from(["--config=configs/tiny.py:debug", flag])
    assert config.model.remat == value
    rows = plans.rows(config, plans.make_plan(config, IMAGENET, 1))
    (line,) = [row for row in rows if row[0] == "recomputation"]
    assert line[1] == f"remat={value}"
    assert words in line[2]


def test_another_batch_scales_the_rate_and_is_noted():
    plan = plans.make_plan(config_with(batch_size=1024), IMAGENET, 8)
    assert plan.schedule.peak_lr == pytest.approx(1e-3)
    assert (plan.schedule.warmup_lr, plan.schedule.min_lr) == (1e-6, 1e-5)
    assert "lr scaled from 0.004 to 0.001" in plan.notes[0]
    fixed = plans.make_plan(config_with(batch_size=1024, **{"optim.lr_batch_size": 0}), IMAGENET, 8)
    assert fixed.schedule.peak_lr == 4e-3


def test_total_steps_replace_epochs_and_shorten_a_warm_up_in_proportion():
    plan = plans.make_plan(config_with(total_steps=3120), IMAGENET, 8)
    assert plan.total_steps == 3120
    assert plan.schedule.total_epochs == 10
    assert plan.schedule.warmup_epochs == pytest.approx(20 / 300 * 10)
    assert any("warm-up shortened from 20" in note for note in plan.notes)
    long = plans.make_plan(config_with(total_steps=31_200), IMAGENET, 8)
    assert long.schedule.warmup_epochs == 20


def test_cool_down_follows_the_epochs():
    plan = plans.make_plan(config_with(**{"schedule.cooldown_epochs": 0.0}), IMAGENET, 8)
    assert plan.total_steps == 93_600
