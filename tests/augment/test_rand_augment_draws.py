"""RandAugment's notation and its random draws against timm's."""

import random

import jax
import numpy as np
import pytest
from scipy import stats

from inceptionnext_jax.augment.color_jitter import draw_jitter
from inceptionnext_jax.augment.rand_augment import (
    NO_OPERATION,
    OPERATIONS,
    draw_layers,
    parse_rand_augment,
)
from inceptionnext_jax.errors import UserError

DRAWS = 10_000


@pytest.mark.parametrize(
    "text",
    [
        "rand-m9-mstd0.5-inc1",
        "rand-m5-inc1-mstd101",
        "rand-m7-mstd0.5-inc1",
        "rand-m9-mstd0.5",
        "rand-m9-mstd0.5-inc0",
        "rand-inc1",
        "rand",
        "rand-m15-mmax30-n3-p0.8-inc1",
        "rand-p1-m4",
        "rand-mstd100",
    ],
)
def test_notation_is_read_as_timm_reads_it(timm, text):
    from timm.data.auto_augment import rand_augment_transform

    want = rand_augment_transform(text, {"img_mean": (124, 116, 104)})
    first = want.ops[0]
    got = parse_rand_augment(text)
    assert got.magnitude == first.magnitude
    assert got.magnitude_std == first.magnitude_std
    assert got.magnitude_max == (first.magnitude_max or 10)
    assert got.num_layers == want.num_layers
    assert got.prob == first.prob
    names = [op.name.removesuffix("Increasing") for op in want.ops]
    assert names == list(OPERATIONS)
    assert got.increasing == any(op.name.endswith("Increasing") for op in want.ops)


def test_empty_notation_is_off():
    assert parse_rand_augment("") is None


@pytest.mark.parametrize(
    ("text", "named"),
    [
        ("rand-m9-std0.5", "'std0.5'"),
        ("rand-m9.5", "'m9.5'"),
        ("rand-m", "'m'"),
        ("rand-tweights", "'tweights'"),
        ("rand-inc2", "'inc2'"),
        ("rand-p1.5", "'p1.5'"),
        ("rand-m9-", "''"),
        ("rand-m9-m5", "twice"),
        ("augmix-m5", "must begin with 'rand-'"),
    ],
)
def test_unknown_notation_is_a_user_error_that_lists_what_is_accepted(text, named):
    with pytest.raises(UserError, match=r"augment\.rand_augment") as error:
        parse_rand_augment(text)
    assert named in str(error.value)
    if "understood" in str(error.value):
        assert all(key in str(error.value) for key in ("mstd", "mmax", "inc"))


def our_draws(text, interpolation="random", count=DRAWS, seed=0):
    policy = parse_rand_augment(text)
    keys = jax.random.split(jax.random.key(seed), count)
    draws = jax.jit(jax.vmap(lambda k: draw_layers(k, policy, interpolation)))(keys)
    return jax.tree.map(lambda field: field[:, -1], draws)


def timm_magnitudes(timm, monkeypatch, text, count=DRAWS):
    """Levels that timm passes to one operation in `count` calls."""
    from timm.data.auto_augment import rand_augment_transform

    seen = []
    apply = rand_augment_transform(text, {"img_mean": (124, 116, 104)}).ops[0]
    apply.level_fn = lambda level, _: seen.append(level) or ()
    apply.aug_fn = lambda image, **_: image
    apply.prob = 1.0
    random.seed(1)
    for _ in range(count):
        apply(None)
    return np.asarray(seen)


@pytest.mark.parametrize(
    "text", ["rand-m9-mstd0.5-inc1", "rand-m5-inc1-mstd101", "rand-m10-mstd3-inc1"]
)
def test_levels_are_distributed_as_in_timm(timm, monkeypatch, text):
    want = timm_magnitudes(timm, monkeypatch, text)
    assert stats.ks_2samp(np.asarray(our_draws(text).level), want).pvalue > 0.01


def test_fixed_magnitude_has_one_level():
    assert set(np.asarray(our_draws("rand-m9-inc1", count=100).level)) == {9.0}


@pytest.mark.parametrize(("text", "prob"), [("rand-m9-inc1", 0.5), ("rand-m9-p0.8-inc1", 0.8)])
def test_operations_are_equally_frequent_and_applied_with_the_probability(text, prob):
    operation = np.asarray(our_draws(text).operation)
    counts = np.bincount(operation, minlength=NO_OPERATION + 1)
    expected = np.full(16, DRAWS * prob / 15)
    expected[NO_OPERATION] = DRAWS * (1 - prob)
    assert stats.chisquare(counts, expected).pvalue > 0.01


def test_operation_pairs_are_as_frequent_as_in_timm(timm):
    """Both layers draw with replacement: the number of distinct applied operations agrees."""
    from timm.data.auto_augment import rand_augment_transform

    transform = rand_augment_transform("rand-m9-mstd0.5-inc1", {"img_mean": (124, 116, 104)})
    for number, apply in enumerate(transform.ops):
        apply.level_fn = None
        apply.aug_fn = lambda image, number=number, **_: [*image, number]
    random.seed(2)
    np.random.seed(2)
    theirs = np.bincount([len(set(transform([]))) for _ in range(DRAWS)], minlength=3)

    policy = parse_rand_augment("rand-m9-mstd0.5-inc1")
    keys = jax.random.split(jax.random.key(3), DRAWS)
    pairs = np.asarray(jax.jit(jax.vmap(lambda k: draw_layers(k, policy)))(keys).operation)
    ours = np.bincount([len(set(pair) - {NO_OPERATION}) for pair in pairs], minlength=3)
    assert stats.chi2_contingency(np.stack([ours, theirs])).pvalue > 0.01


def test_signs_and_filters_are_fair_coins():
    draws = our_draws("rand-m9-inc1")
    assert set(np.asarray(draws.sign)) == {-1.0, 1.0}
    for share in ((draws.sign > 0).mean(), draws.cubic.mean()):
        assert abs(float(share) - 0.5) < 0.015
    assert our_draws("rand-m9-inc1", "bicubic", 20).cubic.all()
    assert not our_draws("rand-m9-inc1", "bilinear", 20).cubic.any()


def test_draws_are_the_same_under_x64():
    with jax.enable_x64(False):
        want = our_draws("rand-m9-mstd0.5-inc1", count=100)
    with jax.enable_x64(True):
        got = our_draws("rand-m9-mstd0.5-inc1", count=100)
    for name, value in want._asdict().items():
        np.testing.assert_array_equal(getattr(got, name), value, err_msg=name)
        assert getattr(got, name).dtype == value.dtype


def test_jitter_draws_every_order_and_uniform_factors():
    keys = jax.random.split(jax.random.key(0), DRAWS)
    order, factors = jax.jit(jax.vmap(lambda k: draw_jitter(k, 0.4)))(keys)
    ranks = np.asarray(order) @ np.asarray([9, 3, 1])
    _, counts = np.unique(ranks, return_counts=True)
    assert len(counts) == 6
    assert stats.chisquare(counts).pvalue > 0.01
    for operation in range(3):
        drawn = np.asarray(factors)[:, operation]
        assert stats.kstest(drawn, stats.uniform(0.6, 0.8).cdf).pvalue > 0.01
