"""Losses equal mmsegmentation's stored ones and PyTorch's; scores equal mmsegmentation's."""

import functools
import json
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from inceptionnext_jax.data.label_maps import IGNORED
from inceptionnext_jax.models.dense.names import MMSEG
from inceptionnext_jax.models.dense.segmenter import UperNet
from inceptionnext_jax.models.layers.resize import resize_bilinear
from inceptionnext_jax.tasks.segmentation import metrics
from inceptionnext_jax.tasks.segmentation.losses import PixelLoss, pixel_hits
from tests.models.dense.toy import ToyBackbone, stored_variables


@functools.cache
def golden(name):
    with np.load(Path(__file__).parent / f"golden/{name}.npz") as stored:
        return dict(stored)


def random_case(seed=0, shape=(2, 9, 7), classes=5):
    random = np.random.default_rng(seed)
    logits = random.normal(size=(*shape, classes)).astype(np.float32) * 3
    labels = random.integers(0, classes, shape).astype(np.int16)
    labels[random.random(shape) < 0.3] = IGNORED
    return logits, labels


def torch_case(logits, labels):
    import torch

    return (
        torch.from_numpy(logits).permute(0, 3, 1, 2).requires_grad_(),
        torch.from_numpy(labels.astype(np.int64)),
    )


def test_training_losses_and_accuracy_equal_mmsegmentation():
    stored = golden("segmentor")
    model = UperNet(
        ToyBackbone(), num_classes=5, channels=16, aux_head=True, aux_channels=16, dropout_rate=0.0
    )
    variables = stored_variables(model, stored, MMSEG)
    images = jnp.asarray(stored["inputs/train/normalised"].transpose(0, 2, 3, 1))
    labels = stored["inputs/train/labels"].astype(np.int16)
    labels[labels == 255] = IGNORED
    logits, _ = jax.jit(
        lambda v, x: model.apply(v, x, train=True, mutable="batch_stats", method="heads")
    )(variables, images)
    for name, weight, key in (("decode", 1.0, "decode"), ("auxiliary", 0.4, "aux")):
        full = resize_bilinear(logits[name], labels.shape[1:])
        found = weight * PixelLoss("all")(full, jnp.asarray(labels))
        assert float(found) == pytest.approx(
            float(stored[f"outputs/train/{key}.loss_ce"]), rel=1e-4
        )
        hits, count = pixel_hits(full, jnp.asarray(labels))
        wanted = stored[f"outputs/train/{key}.acc_seg"].item()
        assert 100 * float(hits / count) == pytest.approx(wanted, rel=1e-4)


@pytest.mark.parametrize("weights", [None, (1.0, 0.5, 2.0, 0.0, 3.0)])
@pytest.mark.parametrize("normalizer", ["all", "valid"])
def test_loss_and_gradient_equal_torch(timm, normalizer, weights):
    import torch

    logits, labels = random_case()
    theirs, target = torch_case(logits, labels)
    reduction = "mean" if normalizer == "valid" else "sum"
    wanted = torch.nn.functional.cross_entropy(
        theirs,
        target,
        weight=None if weights is None else torch.tensor(weights),
        ignore_index=IGNORED,
        reduction=reduction,
    ) / (1 if normalizer == "valid" else labels.size)
    wanted.backward()
    loss = PixelLoss(normalizer, weights)
    value, gradient = jax.value_and_grad(loss)(jnp.asarray(logits), jnp.asarray(labels))
    assert float(value) == pytest.approx(wanted.item(), rel=1e-5)
    expected = theirs.grad.permute(0, 2, 3, 1).numpy()
    np.testing.assert_allclose(gradient, expected, atol=1e-6)


@pytest.mark.parametrize("kept", [1, 20, 10_000])
def test_hard_pixels_are_those_that_mmsegmentation_samples(timm, kept):
    import torch

    logits, labels = random_case(1)
    theirs, target = torch_case(logits, labels)
    probs = torch.softmax(theirs.detach(), 1)
    valid = target != IGNORED
    own = probs.gather(1, target.clamp(min=0)[:, None])[:, 0]
    ascending = own[valid].sort()[0]
    limit = max(float(ascending[min(kept * len(labels), len(ascending) - 1)]), 0.3)
    weights = ((own < limit) & valid).float()
    losses = torch.nn.functional.cross_entropy(
        theirs, target, ignore_index=IGNORED, reduction="none"
    )
    wanted = (losses * weights).sum() / labels.size
    found = PixelLoss("all", None, 0.3, kept)(jnp.asarray(logits), jnp.asarray(labels))
    assert float(found) == pytest.approx(wanted.item(), rel=1e-5)


def test_an_image_without_labels_has_no_loss_and_finite_gradients():
    logits, labels = random_case()
    nothing = jnp.full(labels.shape, IGNORED, jnp.int16)
    for loss in (PixelLoss("all"), PixelLoss("valid"), PixelLoss("valid", None, 0.7)):
        value, gradient = jax.value_and_grad(loss)(jnp.asarray(logits), nothing)
        assert float(value) == 0
        assert not np.asarray(gradient).any()


def test_scores_equal_mmsegmentation():
    stored = golden("iou_metric")
    classes = json.loads(str(stored["settings"]))["num_classes"]
    images = []
    for i in range(4):
        labels, found = stored[f"inputs/label/{i}"], stored[f"inputs/prediction/{i}"]
        counted = labels != 255
        cells = labels[counted].astype(int) * classes + found[counted]
        matrix = np.bincount(cells, minlength=classes**2).reshape(classes, classes)
        images.append(metrics.sparse(matrix))
        hits, predicted, labelled = np.diag(matrix), matrix.sum(0), matrix.sum(1)
        union = labelled + predicted - hits
        wanted = stored["outputs/areas"][i]
        np.testing.assert_array_equal([hits, union, predicted, labelled], wanted)
    scores = metrics.scores(metrics.total(images, classes))
    np.testing.assert_allclose(scores.iou, stored["outputs/IoU"], rtol=1e-6)
    np.testing.assert_allclose(scores.accuracy, stored["outputs/Acc"], rtol=1e-6)
    for name, key in (("aacc", "aAcc"), ("miou", "mIoU"), ("macc", "mAcc")):
        assert getattr(scores, name) == pytest.approx(float(stored[f"outputs/{key}"]), rel=1e-6)
        printed = float(stored[f"outputs/rounded_percent/{key}"])
        assert round(100 * getattr(scores, name), 2) == pytest.approx(printed, abs=1e-5)
