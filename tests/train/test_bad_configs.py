"""Configs made by chance: each is taken or refused in sentences, never by a traceback."""

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

DIGITS = plans.Sizes(1438, 359, 10)
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
    """The small config with some values changed; None where its own types refuse one."""
    config = digits.get_config()
    config.model.stage_depths = (1, 1, 1, 1)
    try:
        config.update_from_flattened_dict(changes)
    except (TypeError, ValueError):  # the flags' parser tells the same in a sentence
        return None
    return config


@settings(max_examples=400, deadline=None, derandomize=True,
          suppress_health_check=list(HealthCheck))  # fmt: skip
@given(st.dictionaries(st.sampled_from(KEYS), VALUES, min_size=1, max_size=4))
def test_a_config_by_chance_is_planned_or_refused_in_sentences(changes):
    config = changed(changes)
    if config is None:
        return
    problems = check(config, devices=8)
    for problem in problems:
        assert problem.splitlines() == [problem]
        assert any(key in problem for key in KEYS) or problem.startswith("model"), problem
    try:
        plan = plans.make_plan(config, DIGITS, 8)
    except UserError:
        return
    assert not problems
    assert 0 < plan.total_steps < 2**31
    schedule = make_schedule(plan.schedule)
    assert all(math.isfinite(schedule(step)) for step in (0, 1, plan.total_steps - 1))


@pytest.mark.parametrize("key", [key for key in KEYS if key not in ("optim.freeze",)])
def test_no_key_may_lose_its_value_unless_it_is_optional(key):
    from inceptionnext_jax.train.validate import OPTIONAL

    config = digits.get_config()
    try:
        config.update_from_flattened_dict({key: None})
    except (TypeError, ValueError):
        return
    problems = check(config, devices=1)
    assert not problems if key in OPTIONAL else problems
