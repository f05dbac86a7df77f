"""Heads and neck equal mmsegmentation's on stored data, in float32, below 1e-4.

`golden/` holds weights in mmsegmentation's names, inputs and what its modules made of them: in
evaluation, on maps of odd sizes, and in training, with losses, gradients and running statistics.
"""

import functools
import json
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import linen as nn
from flax.traverse_util import flatten_dict, unflatten_dict

from inceptionnext_jax.convert.tables import locate
from inceptionnext_jax.models.dense.fpn import Fpn
from inceptionnext_jax.models.dense.heads import FcnHead, FpnHead, UperHead
from inceptionnext_jax.models.dense.names import MMSEG
from inceptionnext_jax.models.layers.resize import resize_bilinear
from tests.models.oracle import relative_error

GOLDEN = Path(__file__).parent / "golden"
IGNORED = 255


class Decoder(nn.Module):
    """A decode head, perhaps on one of the maps only, perhaps after a neck."""

    decode_head: nn.Module
    neck: nn.Module | None = None
    only: int | None = None

    def __call__(self, maps, train=False):
        maps = maps if self.neck is None else self.neck(maps)
        return self.decode_head(maps if self.only is None else maps[self.only], None, train)

    def pyramid(self, maps):
        return self.neck(maps)


MODELS = {
    "uper_head": (Decoder(UperHead(7, 32)), "decode_head.", 1.0),
    "fcn_head": (Decoder(FcnHead(7, 32), only=2), "decode_head.", 0.4),
    "semantic_fpn": (Decoder(FpnHead(7, 32), Fpn(32)), "", 1.0),
}


@functools.cache
def golden(file):
    with np.load(GOLDEN / f"{file}.npz") as stored:
        return dict(stored)


def nhwc(array):
    return array.transpose(0, 2, 3, 1)


def maps_of(data, kind):
    return [jnp.asarray(nhwc(data[f"inputs/{kind}/{i}"])) for i in range(4)]


@functools.cache
def case(file):
    """A model, its variables from mmsegmentation's, the data, and the name of each of our paths."""
    model, prefix, weight = MODELS[file]
    data = golden(file)
    assert json.loads(str(data["settings"]))["ignore_index"] == IGNORED
    shapes = flatten_dict(jax.eval_shape(model.init, jax.random.key(0), maps_of(data, "maps")))
    located = {path: locate(MMSEG, path[1:]) for path in shapes}
    names = {path: key.removeprefix(prefix) for path, (key, _) in located.items()}
    leaves = {
        path: leaf.from_torch(data[f"weights/{names[path]}"]) for path, (_, leaf) in located.items()
    }
    stored = {key.removeprefix("weights/") for key in data if key.startswith("weights/")}
    assert {key for key in stored if "num_batches" not in key} == set(names.values())
    assert {path: leaf.shape for path, leaf in leaves.items()} == (
        {path: shape.shape for path, shape in shapes.items()}
    )
    return model, unflatten_dict(leaves), data, names, weight


@pytest.mark.parametrize("file", MODELS)
def test_evaluation_equals_mmsegmentation(file):
    model, variables, data, _, _ = case(file)
    for kind, output in (("maps", "eval_logits"), ("odd_maps", "odd_maps_eval_logits")):
        found = jax.jit(model.apply)(variables, maps_of(data, kind))
        assert relative_error(found, nhwc(data[f"outputs/{output}"])) < 1e-4


def test_the_pyramid_equals_mmsegmentation():
    model, variables, data, _, _ = case("semantic_fpn")
    found = model.apply(variables, maps_of(data, "maps"), method="pyramid")
    for i, level in enumerate(found):
        assert relative_error(level, nhwc(data[f"outputs/neck/{i}"])) < 1e-4


def loss(logits, labels, weight):
    """Returns mmsegmentation's loss: the sum over valid pixels by all pixels."""
    logits = resize_bilinear(logits, labels.shape[1:])
    valid = labels != IGNORED
    picked = jnp.take_along_axis(nn.log_softmax(logits), (labels * valid)[..., None], -1)[..., 0]
    return -weight * (picked * valid).sum() / labels.size


@pytest.mark.parametrize("file", MODELS)
def test_training_equals_mmsegmentation(file):
    model, variables, data, names, weight = case(file)
    labels = jnp.asarray(data["inputs/labels"].astype(np.int32))

    @functools.partial(jax.value_and_grad, argnums=(0, 1), has_aux=True)
    def step(params, maps):
        both = {**variables, "params": params}
        logits, moved = model.apply(both, maps, train=True, mutable="batch_stats")
        return loss(logits, labels, weight), (logits, moved)

    (value, (logits, moved)), gradients = jax.jit(step)(variables["params"], maps_of(data, "maps"))
    assert relative_error(logits, nhwc(data["outputs/train_logits"])) < 1e-4
    assert float(value) == pytest.approx(float(data["outputs/loss"]), rel=1e-5)

    statistics = flatten_dict(moved)
    stored = [key for key in data if key.startswith("outputs/after_train/")]
    assert len(stored) == len(statistics) > 0
    for path, found in statistics.items():
        assert relative_error(found, data[f"outputs/after_train/{names[path]}"]) < 1e-4, path

    of_params, of_maps = gradients
    for i, found in enumerate(of_maps):
        if f"outputs/grad/maps/{i}" in data:
            assert relative_error(found, nhwc(data[f"outputs/grad/maps/{i}"])) < 1e-4, i
    checked = 0
    for path, found in flatten_dict({"params": of_params}).items():
        key, leaf = f"outputs/grad/weights/{names[path]}", locate(MMSEG, path[1:])[1]
        if key in data:
            checked += 1
            assert relative_error(leaf.to_torch(np.asarray(found)), data[key]) < 1e-4, path
    assert checked == len([key for key in data if key.startswith("outputs/grad/weights/")])
