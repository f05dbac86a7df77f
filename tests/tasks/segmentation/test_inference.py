"""Whole images, windows, scales and mirroring equal mmsegmentation's, at the image's own size."""

import functools
import json
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from inceptionnext_jax import create_model
from inceptionnext_jax.augment.normalize import normalize
from inceptionnext_jax.data.views import STRIDE, Views
from inceptionnext_jax.models.dense.label_map import TILE, grid_offsets, label_maps
from inceptionnext_jax.models.dense.names import MMSEG
from inceptionnext_jax.models.dense.segmenter import UperNet
from inceptionnext_jax.models.registry import IMAGENET_MEAN, IMAGENET_STD
from tests.models.dense.toy import ToyBackbone, stored_variables
from tests.models.oracle import relative_error

CANVAS = (128, 256)


@functools.cache
def golden():
    with np.load(Path(__file__).parent / "golden/segmentor.npz") as stored:
        return dict(stored)


@functools.cache
def network():
    """A jitted function from uint8 windows to logits, and the model."""
    model = UperNet(ToyBackbone(), num_classes=5, channels=16, aux_head=True, aux_channels=16)
    variables = stored_variables(model, golden(), MMSEG)

    @jax.jit
    def forward(windows):
        return model.apply(variables, normalize(windows, IMAGENET_MEAN, IMAGENET_STD, jnp.float32))

    return forward, model, variables


def views(**changes):
    _, model, _ = network()
    settings = {"method": "whole", "scale": (2048, 512), "crop": 64, "stride": 43}
    return Views(**(settings | {"grid_offsets": grid_offsets(model)} | changes))


def rgb(key):
    return np.ascontiguousarray(golden()[key][..., ::-1])


def original_size():
    return tuple(json.loads(str(golden()["settings"]))["ori_shape"])


def full_logits(view):
    """The logits of a view at the image's own size, by its matrices."""
    forward, _, _ = network()
    logits = np.asarray(jnp.concatenate([forward(window[None]) for window in view["windows"]]))
    count, height, width, classes = logits.shape
    down = view["rows"].shape[1] // height
    grid = logits.reshape(down, count // down, height, width, classes).transpose(0, 2, 1, 3, 4)
    grid = grid.reshape(down * height, -1, classes)
    return np.einsum("yh,hwk,xw->kyx", view["rows"], grid, view["columns"])


def every_second(logits):
    """The pixels [K, H, W] of which the file has numbers; it has the labels of all."""
    return logits[:, ::2, ::2]


def maps_of(given, original, plain=0):
    """The label maps [M, H, W] of views at the image's own size, through the compiled function."""
    forward, _, _ = network()
    arrays = {}
    for i, view in enumerate(given):
        arrays[f"windows_{i}"] = jnp.asarray(view["windows"])[None]
        for name, length in zip(("rows", "columns"), CANVAS, strict=True):
            padded = np.zeros((1, length, view[name].shape[1]), np.float32)
            padded[0, : len(view[name])] = view[name]
            arrays[f"{name}_{i}"] = jnp.asarray(padded)
    size = jnp.asarray([original], jnp.int32)
    found = jax.jit(lambda a, s: label_maps(forward, a, s, CANVAS, plain))(arrays, size)
    return np.asarray(found)[0, :, : original[0], : original[1]]


@pytest.mark.parametrize("method", ["whole", "slide"])
def test_logits_and_labels_equal_mmsegmentation(method):
    view = views(method=method).view(rgb("inputs/image_bgr"), original_size(), mirrored=False)
    assert len(view["windows"]) == (1 if method == "whole" else 2 * 3)
    wanted = golden()[f"outputs/{method}/logits"]
    assert relative_error(every_second(full_logits(view)), wanted) < 1e-4
    found = maps_of([view], original_size())
    assert (found != golden()[f"outputs/{method}/labels"]).sum() <= 1


def test_an_image_lower_than_a_window_equals_mmsegmentation():
    image = rgb("inputs/image_bgr")[:50]
    view = views(method="slide").view(image, (50, 131), mirrored=False)
    assert view["windows"].shape[1:3] == (50, 64)
    wanted = golden()["outputs/slide_small/logits"]
    assert relative_error(every_second(full_logits(view)), wanted) < 1e-4


def test_scales_and_mirroring_equal_mmsegmentation():
    wanted, given, total = golden()["outputs/tta/probabilities"], [], 0
    for i in range(0, 6, 2):
        for mirrored in (False, True):
            view = views().view(rgb(f"inputs/tta/{i}"), original_size(), mirrored)
            np.testing.assert_array_equal(view["windows"][0], rgb(f"inputs/tta/{i + mirrored}"))
            given.append(view)
            total = total + np.asarray(jax.nn.softmax(full_logits(view), axis=0))
    assert relative_error(every_second(total / 6), wanted) < 1e-4
    plain, several = maps_of(given, original_size(), plain=2)
    assert (several != golden()["outputs/tta/labels"]).sum() <= 1
    np.testing.assert_array_equal(plain, maps_of(given[2:3], original_size())[0])


def test_views_resize_as_the_reference_and_agree_with_their_shapes():
    random = np.random.default_rng(0)
    several = views(method="slide", scale=(200, 70), scales=(1.0, 1.5), flip=True, multiple=32)
    for size in ((50, 90), (300, 64), (70, 70)):
        arrays = several.arrays(random.integers(0, 256, (*size, 3), np.uint8), "x")
        shapes = several.shapes(size)
        assert len(arrays) == 3 * len(shapes) == 12
        for i, (rows, columns) in enumerate(shapes):
            windows = arrays[f"windows_{i}"].shape
            assert windows == (rows.number * columns.number, rows.window, columns.window, 3)
            positions = columns.number * several.grid(columns.window)
            assert arrays[f"columns_{i}"].shape == (size[1], positions)
            for name in ("rows", "columns"):  # averages of positions
                np.testing.assert_allclose(arrays[f"{name}_{i}"].sum(axis=1), 1, rtol=1e-5)
    assert several.plain == 0
    assert views(scales=(0.5, 1.0), flip=True).plain == 2


BACKBONES = ["inceptionnext_atto", "resnet50", "swin_tiny", "poolformer_s12", "vanillanet_5"]


@pytest.mark.parametrize("backbone", BACKBONES)
def test_the_grid_of_the_logits_is_known_for_any_size(backbone):
    model = create_model(f"upernet_{backbone}", num_classes=3, channels=8)
    known = views(grid_offsets=grid_offsets(model))
    for length in (97, 110, 131, 160):
        image = jax.ShapeDtypeStruct((1, length, 64, 3), jnp.float32)
        logits, _ = jax.eval_shape(
            lambda x: model.init_with_output(jax.random.key(0), x, train=False), image
        )
        assert logits.shape[1] == known.grid(length), length
    assert STRIDE * TILE[0] == 128
