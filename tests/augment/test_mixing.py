"""mixup, CutMix and smoothed targets against timm, on the same numbers and in distribution."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import stats

from inceptionnext_jax.augment import mixing
from inceptionnext_jax.augment.mixing import MixDraws

NUM_CLASSES = 11
SIZE = (12, 10)
LABELS = np.asarray([3, 0, 10, 3, 7, 1], np.int32)
DRAWS = 10_000


def given_draws(lam=1.0, cutmix=False, box=(0, 0, 0, 0), groups=1):
    edges = [jnp.full(groups, edge, jnp.int32) for edge in box]
    return MixDraws(jnp.full(groups, lam, jnp.float32), jnp.full(groups, cutmix), *edges)


def timm_mixer(timm, monkeypatch, cls, lam, box=None):
    """timm's mixer with its random numbers replaced."""
    from timm.data import mixup

    mixer = getattr(mixup, cls)(
        mixup_alpha=0.8, cutmix_alpha=1.0, label_smoothing=0.1, num_classes=NUM_CLASSES
    )
    monkeypatch.setattr(mixer, "_params_per_batch", lambda: (lam, box is not None))
    if box is not None:
        top, bottom, left, right = box
        box_lam = 1 - (bottom - top) * (right - left) / (SIZE[0] * SIZE[1])
        monkeypatch.setattr(mixup, "cutmix_bbox_and_lam", lambda *_, **__: (box, box_lam))
        lam = box_lam
    return mixer, lam


CASES = [(0.375, None), (0.8125, None), (1.0, None), (0.3, (2, 9, 0, 5)), (0.7, (0, 12, 9, 10))]


@pytest.mark.parametrize(("lam", "box"), CASES)
def test_float_mixing_equals_timm(timm, monkeypatch, lam, box):
    """ConvNeXt's order: timm's Mixup on normalised floats."""
    import torch

    image = np.random.default_rng(0).normal(size=(6, *SIZE, 3)).astype(np.float32)
    mixer, lam = timm_mixer(timm, monkeypatch, "Mixup", lam, box)
    channels_first = torch.from_numpy(image.transpose(0, 3, 1, 2).copy())
    want, want_target = mixer(channels_first, torch.from_numpy(LABELS))

    draws = given_draws(lam, box is not None, box or (0, 0, 0, 0))
    got = mixing.mix_images(jnp.asarray(image), draws, round_to_uint8=False)
    np.testing.assert_allclose(got, want.numpy().transpose(0, 2, 3, 1), atol=1e-6)
    target = mixing.mix_targets(jnp.asarray(LABELS), draws.lam, NUM_CLASSES, 0.1)
    np.testing.assert_allclose(target, want_target.numpy(), atol=1e-6)


@pytest.mark.parametrize(("lam", "box"), CASES)
def test_uint8_mixing_equals_timm(timm, monkeypatch, lam, box):
    """InceptionNeXt's order: timm's FastCollateMixup, rounded back to uint8."""
    image = np.random.default_rng(1).integers(0, 256, (6, *SIZE, 3)).astype(np.uint8)
    mixer, lam = timm_mixer(timm, monkeypatch, "FastCollateMixup", lam, box)
    items = [(x.transpose(2, 0, 1).copy(), int(y)) for x, y in zip(image, LABELS, strict=True)]
    want, want_target = mixer(items)

    draws = given_draws(lam, box is not None, box or (0, 0, 0, 0))
    got = mixing.mix_images(jnp.asarray(image), draws, round_to_uint8=True)
    assert got.dtype == jnp.uint8
    np.testing.assert_array_equal(got, want.numpy().transpose(0, 2, 3, 1))
    target = mixing.mix_targets(jnp.asarray(LABELS), draws.lam, NUM_CLASSES, 0.1)
    np.testing.assert_allclose(target, want_target.numpy(), atol=1e-6)


def test_groups_are_mixed_among_themselves_with_their_own_draws():
    image = jnp.asarray(np.random.default_rng(2).integers(0, 256, (8, 6, 6, 3)), jnp.uint8)
    label = jnp.arange(8, dtype=jnp.int32)
    draws = MixDraws(
        jnp.asarray([0.25, 0.75], jnp.float32),
        jnp.asarray([False, True]),
        *jnp.asarray([[0, 1], [0, 4], [0, 0], [0, 3]], jnp.int32),
    )
    got = mixing.mix_images(image, draws, round_to_uint8=True)
    target = mixing.mix_targets(label, draws.lam, 8, 0.0)
    for g in range(2):
        rows = slice(4 * g, 4 * g + 4)
        alone = MixDraws(*(field[g : g + 1] for field in draws))
        np.testing.assert_array_equal(
            got[rows], mixing.mix_images(image[rows], alone, round_to_uint8=True)
        )
        np.testing.assert_array_equal(
            target[rows], mixing.mix_targets(label[rows], alone.lam, 8, 0.0)
        )
    assert float(target[0, 3]) == 0.75
    np.testing.assert_array_equal(got[4, 1:4, :3], image[7, 1:4, :3])


def test_smoothing_has_the_published_values():
    target = np.asarray(mixing.smoothed_targets(jnp.asarray([7]), 1000, 0.1))[0]
    np.testing.assert_allclose(target[7], 0.9001, rtol=1e-6)
    np.testing.assert_allclose(np.delete(target, 7), 1e-4, rtol=1e-6)


def our_draws(mixup, cutmix, prob=1.0, switch=0.5, size=(224, 224), seed=0, count=DRAWS):
    groups = jnp.arange(count, dtype=jnp.int32)
    key = jax.random.key(seed)
    drawn = jax.jit(lambda k, g: mixing.draw_mixing(k, g, size, mixup, cutmix, prob, switch))(
        key, groups
    )
    return jax.tree.map(np.asarray, drawn)


@pytest.mark.parametrize(("mixup", "cutmix"), [(0.2, 1.0), (0.8, 0.0), (0.0, 1.0)])
def test_lambda_and_choice_are_distributed_as_in_timm(timm, mixup, cutmix):
    from timm.data.mixup import Mixup, cutmix_bbox_and_lam

    np.random.seed(0)
    mixer = Mixup(mixup, cutmix, prob=0.9, switch_prob=0.4)
    lams, chosen = [], []
    for _ in range(DRAWS):
        lam, use_cutmix = mixer._params_per_batch()
        if use_cutmix:
            _, lam = cutmix_bbox_and_lam((1, 3, 224, 224), lam)
        lams.append(lam)
        chosen.append(use_cutmix)
    ours = our_draws(mixup, cutmix, 0.9, 0.4)
    chosen = np.asarray(chosen)
    for which in (False, True):
        share = [(ours.cutmix == which).mean(), (chosen == which).mean()]
        assert abs(share[0] - share[1]) < 0.02
        if share[0] > 0:
            drawn = ours.lam[ours.cutmix == which]
            # Compared at the resolution of 2^-16, below which lam has no effect on a pixel.
            theirs = np.round(np.asarray(lams)[chosen == which] * 2**16) / 2**16
            assert stats.ks_2samp(np.round(drawn * 2**16) / 2**16, theirs).pvalue > 0.01


def test_boxes_are_distributed_as_in_timm(timm):
    from timm.data.mixup import rand_bbox

    np.random.seed(1)
    lams = np.random.beta(1.0, 1.0, DRAWS)
    theirs = np.asarray([rand_bbox((1, 3, 224, 288), lam) for lam in lams])
    ours = our_draws(0.0, 1.0, size=(224, 288))
    for k, field in enumerate((ours.top, ours.bottom, ours.left, ours.right)):
        assert stats.ks_2samp(field, theirs[:, k]).pvalue > 0.01
    area = (ours.bottom - ours.top) * (ours.right - ours.left)
    np.testing.assert_allclose(ours.lam, 1 - area / (224 * 288), atol=1e-6)


def test_box_has_the_size_and_position_of_timm_0_6():
    """Twice half the truncated side around the centre: an even size unless clipped."""
    ours = our_draws(0.0, 1.0, size=(50, 50), seed=3, count=500)
    inside = (ours.top > 0) & (ours.bottom < 50)
    assert inside.any()
    assert ((ours.bottom - ours.top)[inside] % 2 == 0).all()
    assert ours.top.min() == 0
    assert ours.bottom.max() == 50
    box = mixing.box_at(jnp.asarray([0.3, 0.9]), jnp.float32(1.0), (50, 50))
    assert float(mixing.box_lam(box, (50, 50))) == 1.0
