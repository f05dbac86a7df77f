"""The complete augmentation: orders, positions, sharding, compilation, settings."""

import dataclasses

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import AxisType, NamedSharding, PartitionSpec

from inceptionnext_jax.augment import AugmentSettings, erasing, make_augment, mixing
from inceptionnext_jax.augment.normalize import normalize
from inceptionnext_jax.errors import UserError

pytestmark = pytest.mark.usefixtures("quick_compilation")
MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
K = 10
# One layer: half the compilation.
FULL = AugmentSettings("rand-m9-n1-mstd0.5-inc1", random_erasing=0.5)
MIXED = AugmentSettings("", random_erasing=0.5)
OFF = AugmentSettings(rand_augment="", mixup=0.0, cutmix=0.0, random_erasing=0.0)


def build(settings, group=4, dtype=jnp.float32, smoothing=0.1):
    return make_augment(settings, K, MEAN, STD, smoothing, dtype, mix_group=group)


def make_batch(n=16, size=(24, 20)):
    rng = np.random.default_rng(0)
    image = rng.integers(0, 256, (n, *size, 3)).astype(np.uint8)
    # Smooth in space, not pure noise.
    image = (np.cumsum(image, axis=1) // 24).astype(np.uint8)
    label = rng.integers(0, K, n).astype(np.int32)
    return {"image": jnp.asarray(image), "label": jnp.asarray(label)}


def positions_of(batch, start=0):
    return start + jnp.arange(len(batch["label"]), dtype=jnp.int32)


SETTINGS = {
    "inceptionnext": FULL,
    "convnext": dataclasses.replace(FULL, order="convnext", interpolation="bicubic"),
    "jitter": AugmentSettings("", mixup=0.0, cutmix=0.0, color_jitter=0.4, erasing_count=2),
}


@pytest.mark.parametrize("name", SETTINGS)
def test_slices_shards_and_whole_agree(name):
    """Draws depend only on the step's key and the position."""

    def assert_same(got, want):
        got, want = jax.device_get((got, want))
        np.testing.assert_array_equal(got["label"], want["label"])
        # Two programs may fuse lam * on + (1 - lam) * off differently in the last bit.
        for name in ("image", "target"):
            np.testing.assert_allclose(got[name], want[name], rtol=0, atol=1e-6)

    augment = jax.jit(build(SETTINGS[name]))
    batch, key = make_batch(), jax.random.key(7)
    whole = augment(key, batch, positions_of(batch))

    for start in (0, 8):
        part = jax.tree.map(lambda leaf: leaf[start : start + 8], batch)  # noqa: B023
        got = augment(key, part, positions_of(part, start))
        want = jax.tree.map(lambda leaf: leaf[start : start + 8], whole)  # noqa: B023
        assert_same(got, want)

    mesh = jax.make_mesh((8,), ("data",), axis_types=(AxisType.Auto,))
    sharding = NamedSharding(mesh, PartitionSpec("data"))
    sharded = jax.device_put((batch, positions_of(batch)), sharding)
    assert_same(augment(key, *sharded), whole)

    other = augment(jax.random.key(8), batch, positions_of(batch))
    assert not np.array_equal(other["image"], whole["image"])


def test_one_compilation_serves_every_step():
    settings = AugmentSettings()
    augment = jax.jit(chex.assert_max_traces(build(settings), n=1))
    batch = make_batch()
    for step in range(3):
        out = augment(jax.random.key(step), batch, positions_of(batch, 16 * step))
    assert out["image"].shape == (16, 24, 20, 3)
    assert out["target"].shape == (16, K)
    assert out["target"].dtype == jnp.float32
    np.testing.assert_allclose(out["target"].sum(1), 1, rtol=1e-5)
    np.testing.assert_array_equal(out["label"], batch["label"])


@pytest.mark.parametrize("order", ["inceptionnext", "convnext"])
def test_parts_come_in_the_published_order(order):
    settings = dataclasses.replace(FULL, rand_augment="", order=order)
    batch, key = make_batch(), jax.random.key(3)
    positions = positions_of(batch)
    got = jax.jit(build(settings))(key, batch, positions)

    draws = mixing.draw_mixing(key, jnp.arange(4), (24, 20), 0.8, 1.0)
    image = batch["image"]
    if order == "inceptionnext":
        image = mixing.mix_images(image, draws, round_to_uint8=True)
    image = normalize(image, MEAN, STD, jnp.float32)
    image = erasing.random_erasing(key, image, positions, 0.5)
    if order == "convnext":
        image = mixing.mix_images(image, draws, round_to_uint8=False)
    # One step of uint8 is 1/57 here, so a value rounded the other way would show.
    close = np.isclose(got["image"], image, atol=1e-5)
    assert close.mean() > 0.9999
    want = mixing.mix_targets(batch["label"], draws.lam, K, 0.1)
    np.testing.assert_allclose(got["target"], want, atol=1e-6)


def test_all_off_is_normalisation_and_smoothed_targets():
    batch = make_batch(5)
    got = build(OFF, group=5)(jax.random.key(0), batch, positions_of(batch))
    image = np.asarray(batch["image"], np.float64)
    want = (image / 255 - np.asarray(MEAN)) / np.asarray(STD)
    np.testing.assert_allclose(got["image"], want, atol=1e-5)
    on = got["target"][np.arange(5), batch["label"]]
    np.testing.assert_allclose(on, 0.9 + 0.1 / K, rtol=1e-6)


def test_output_has_the_compute_dtype_and_float64_is_precise():
    batch = make_batch(4)
    out = jax.jit(build(MIXED, dtype=jnp.bfloat16))(jax.random.key(0), batch, positions_of(batch))
    assert out["image"].dtype == jnp.bfloat16
    assert out["target"].dtype == jnp.float32
    single = jax.jit(build(MIXED))(jax.random.key(0), batch, positions_of(batch))
    with jax.enable_x64(True):
        double = jax.jit(build(MIXED, dtype=jnp.float64))
        out = double(jax.random.key(0), batch, positions_of(batch))
        assert out["image"].dtype == out["target"].dtype == jnp.float64
        np.testing.assert_allclose(out["image"].astype(jnp.float32), single["image"], atol=1e-5)
        off = make_augment(OFF, K, MEAN, STD, 0.0, jnp.float64, mix_group=4)
        exact = off(jax.random.key(0), batch, positions_of(batch))["image"]
        want = (np.asarray(batch["image"], np.float64) / 255 - MEAN) / STD
        np.testing.assert_allclose(exact, want, atol=1e-13)


def test_other_entries_of_the_batch_pass_through():
    batch = {**make_batch(4), "weight": jnp.arange(4.0)}
    out = build(OFF)(jax.random.key(0), batch, positions_of(batch))
    np.testing.assert_array_equal(out["weight"], batch["weight"])


def test_a_slice_that_cuts_a_group_is_refused():
    batch = make_batch(6)
    with pytest.raises(UserError, match="groups of 4"):
        build(FULL)(jax.random.key(0), batch, positions_of(batch))
    with pytest.raises(UserError, match="even"):
        build(FULL, group=3)


def test_a_bad_rand_augment_string_is_a_user_error():
    with pytest.raises(UserError, match=r"augment\.rand_augment"):
        build(AugmentSettings(rand_augment="rand-x1"))
