"""Losses of detectors, element by element, equal torchvision's, gradients too."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from inceptionnext_jax.models.dense import detection_losses as losses


def compared(ours, theirs, given):
    """Compares values and gradients for the first argument."""
    import torch

    first = torch.tensor(given, requires_grad=True)
    wanted = theirs(first)
    wanted.sum().backward()
    found, pullback = jax.vjp(ours, jnp.asarray(given))
    np.testing.assert_allclose(found, wanted.detach().numpy(), rtol=1e-5, atol=1e-6)
    gradient = pullback(jnp.ones_like(found))[0]
    np.testing.assert_allclose(gradient, first.grad.numpy(), rtol=1e-4, atol=1e-6)


def test_focal_loss_equals_torchvisions(timm):
    import torch
    from torchvision.ops import sigmoid_focal_loss

    random = np.random.default_rng(0)
    logits = np.concatenate([random.normal(0, 4, 200), [-60, 60, 0]]).astype(np.float32)
    targets = random.random(len(logits)) < 0.4
    compared(
        lambda x: losses.focal(x, jnp.asarray(targets)),
        lambda x: sigmoid_focal_loss(x, torch.tensor(targets, dtype=torch.float32)),
        logits,
    )


def test_giou_loss_equals_torchvisions(timm):
    import torch
    from torchvision.ops import generalized_box_iou_loss

    random = np.random.default_rng(1)
    corners, sides = random.uniform(0, 50, (2, 60, 2)), random.uniform(5, 40, (2, 60, 2))
    first, second = np.concatenate([corners, corners + sides], -1).astype(np.float32)
    compared(
        lambda x: losses.giou_loss(x, jnp.asarray(second)),
        lambda x: generalized_box_iou_loss(x, torch.tensor(second), eps=0.0),
        first,
    )


@pytest.mark.parametrize("beta", [0.0, 1 / 9])
def test_box_losses_equal_torchs(timm, beta):
    import torch
    from torch.nn import functional

    random = np.random.default_rng(2)
    first, second = random.normal(0, 0.3, (2, 50, 4)).astype(np.float32)
    compared(
        lambda x: losses.smooth_l1(x, jnp.asarray(second), beta),
        lambda x: functional.smooth_l1_loss(
            x, torch.tensor(second), reduction="none", beta=beta
        ).sum(-1),
        first,
    )


def test_sums_are_divided_by_the_count_of_what_is_included():
    values, included = jnp.array([1.0, 2.0, jnp.nan]), jnp.array([True, True, False])
    assert float(losses.mean_over(values, included, jnp.array(2))) == pytest.approx(1.5)
    assert float(losses.mean_over(values, included & False, jnp.array(0))) == 0
