"""Impossible values in every key: refused in sentences that name the key, never by a traceback."""

import math

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from ml_collections import ConfigDict

from configs import default, digits
from inceptionnext_jax.checks import flattened
from inceptionnext_jax.errors import UserError
from inceptionnext_jax.tasks.check import check
from inceptionnext_jax.train import plan as plans
from inceptionnext_jax.train.schedule import make_schedule

DIGITS = plans.Sizes(1438, 359)
KEYS = sorted(flattened(default.get_config()))
NUMBERS = st.one_of(
    st.sampled_from([0, -1, 1, 3, 7, 2**31, 2**63, 10**30]),
    st.sampled_from([0.0, -0.5, 0.5, 1.0, 1e-300, 1e300, math.nan, math.inf, -math.inf]),
    st.integers(-10, 5000),
    st.floats(allow_nan=True, allow_infinity=True),
)
TEXTS = st.one_of(
    st.sampled_from(["", "cosine", "../..", "/etc/passwd", "(", "a" * 500, "\0", "é\n", "None"]),
    st.text(max_size=12),
)
VALUES = st.one_of(
    st.none(), st.booleans(), NUMBERS, TEXTS, st.lists(st.one_of(NUMBERS, TEXTS), max_size=5)
    .map(tuple),
)  # fmt: skip


def changed(changes) -> ConfigDict | None:
    """Returns the small config with some values changed; None if its types refuse one."""
    config = digits.get_config()
    config.model.stage_depths = (1, 1, 1, 1)
    try:
        config.update_from_flattened_dict(changes)
    except (TypeError, ValueError):  # the flags' parser says so in a sentence
        return None
    return config


@settings(max_examples=400, deadline=None, derandomize=True,
          suppress_health_check=list(HealthCheck))  # fmt: skip
@given(st.dictionaries(st.sampled_from(KEYS), VALUES, min_size=1, max_size=4))
def test_random_configs_are_planned_or_refused_in_sentences(changes):
    config = changed(changes)
    if config is None:
        return
    problems = check(config, devices=8)
    for problem in problems:
        assert problem.splitlines() == [problem]
        assert any(key in problem for key in KEYS) or problem.startswith("model"), problem
    if problems:
        return
    try:
        plan = plans.make_plan(config, DIGITS, 8)
    except UserError:
        return
    assert 0 < plan.total_steps < 2**31
    schedule = make_schedule(plan.schedule)
    assert all(math.isfinite(schedule(step)) for step in (0, 1, plan.total_steps - 1))


UNSET = {key for key, value in flattened(default.get_config()).items() if value is None}
# Numbers; those of the model that are unset by default are among them.
NUMERIC = [
    key
    for key, value in flattened(default.get_config()).items()
    if type(value) in (int, float)
] + [
    "ema_decay", "stop.patience", "data.workers", "data.crop_pct", "optim.clip_norm",
    "optim.layer_decay", "model.num_classes", "model.kernel_size", "model.mixer_ratio",
    "model.layer_scale_init", "model.width", "model.act_num",
]  # fmt: skip
# Any text is well-formed; whether it names something shows when it is used.
FREE_TEXT = {
    "data.name", "data.dir", "data.train_split", "data.eval_split", "init_from", "optim.freeze",
    "compilation_cache",
}  # fmt: skip


def problems_with(key, value):
    """Sets a key, whatever its type, and checks the config."""
    config = digits.get_config()
    config.model.stage_depths = (1, 1, 1, 1)
    with config.ignore_type():
        config.update_from_flattened_dict({key: value})
    return check(config, devices=1)


@pytest.mark.parametrize("key", KEYS)
def test_a_key_without_a_value_is_named_unless_it_is_optional(key):
    problems = problems_with(key, None)
    assert problems == ([] if key in UNSET else [f"{key} is unset; give it a value"]) or (
        key == "task" and "task=None" in problems[0]
    )


@pytest.mark.parametrize("key", KEYS)
def test_a_value_of_another_type_is_named(key):
    (problem, *others) = problems_with(key, {"not", "a", "value"})
    assert problem.startswith(f"{key}=")
    assert not others


@pytest.mark.parametrize("key", NUMERIC)
@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf, "absurd", -(10.0**9), -(10**9)])
def test_a_number_out_of_bounds_or_of_another_kind_is_named(key, value):
    (problem, *others) = problems_with(key, value)
    assert problem.startswith(f"{key}=")
    assert not others


@pytest.mark.parametrize("key", sorted({*KEYS} - {*NUMERIC} - FREE_TEXT))
@pytest.mark.parametrize("value", ["absurd", -1])
def test_an_absurd_value_is_named(key, value):
    (problem, *others) = problems_with(key, value)
    assert problem.startswith((f"{key}=", f"{key}: "))
    assert not others


def test_a_mistake_of_kind_does_not_hide_the_others():
    config = digits.get_config()
    with config.ignore_type():
        config.batch_size = "many"
        config.optim.lr = -1.0
        config.data.image_size = None
        config.model.drop_path_rate = 2.0
    assert check(config, devices=3) == [
        "optim.lr=-1.0 must be > 0",
        "data.image_size is unset; give it a value",
        "model.drop_path_rate=2.0 must be in [0, 1)",
        "batch_size='many' must be a finite number",
    ]


@pytest.mark.parametrize("section", ["optim", "mesh", "data"])
def test_a_section_that_is_missing_is_named(section):
    config = digits.get_config()
    config[section] = None
    assert check(config, devices=1) == [f"{section} is unset; give it a value"]
