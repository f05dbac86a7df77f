"""The losses against timm's, values and gradients."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from inceptionnext_jax.augment.mixing import mix_targets, smoothed_targets
from inceptionnext_jax.tasks.classification.losses import bce_loss, softmax_loss

N, K, SMOOTHING = 8, 11, 0.1
RNG = np.random.default_rng(0)
LOGITS = RNG.normal(scale=4, size=(N, K)).astype(np.float32)
LOGITS[0, 0] = 90.0  # where naive formulas overflow
LABELS = RNG.integers(0, K, N).astype(np.int32)
LAM = np.array([0.3, 1.0], np.float32)


def assert_same(loss_fn, targets, reference, their_targets):
    """Mean loss and gradient to 1e-5 of the largest."""
    import torch

    logits = torch.tensor(LOGITS, requires_grad=True)
    wanted = reference(logits, torch.tensor(np.asarray(their_targets)))
    wanted.backward()
    loss, gradient = jax.value_and_grad(lambda x: loss_fn(x, targets).mean())(jnp.asarray(LOGITS))
    assert float(loss) == pytest.approx(wanted.item(), rel=1e-5)
    wanted_gradient = logits.grad.numpy()
    assert abs(gradient - wanted_gradient).max() < 1e-5 * abs(wanted_gradient).max()


@pytest.fixture
def mixed():
    return mix_targets(jnp.asarray(LABELS), jnp.asarray(LAM), K, SMOOTHING)


def test_softmax_equals_timms_soft_target_cross_entropy(timm, mixed):
    from timm.loss import SoftTargetCrossEntropy

    assert_same(softmax_loss, mixed, SoftTargetCrossEntropy(), mixed)


def test_softmax_of_smoothed_targets_equals_timms_label_smoothing(timm):
    from timm.loss import LabelSmoothingCrossEntropy

    targets = smoothed_targets(jnp.asarray(LABELS), K, SMOOTHING)
    labels = LABELS.astype(np.int64)
    assert_same(softmax_loss, targets, LabelSmoothingCrossEntropy(SMOOTHING), labels)


def test_bce_equals_timms_on_mixed_targets(timm, mixed):
    from timm.loss import BinaryCrossEntropy

    assert_same(bce_loss, mixed, BinaryCrossEntropy(smoothing=SMOOTHING), mixed)


def test_bce_of_smoothed_targets_equals_timms_on_labels(timm):
    from timm.loss import BinaryCrossEntropy

    targets = smoothed_targets(jnp.asarray(LABELS), K, SMOOTHING)
    labels = LABELS.astype(np.int64)
    assert_same(bce_loss, targets, BinaryCrossEntropy(smoothing=SMOOTHING), labels)
