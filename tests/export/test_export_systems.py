"""Exported systems of segmentation compute the network's logits, and their README makes maps."""

import re
import subprocess
import sys

import jax
import numpy as np
import pytest

import inceptionnext_jax as inx
from inceptionnext_jax.export import FORMATS, export
from inceptionnext_jax.export.function import make_inference
from inceptionnext_jax.export.stablehlo import on_platforms
from inceptionnext_jax.models.layers.resize import resize_bilinear
from inceptionnext_jax.models.network import with_options
from inceptionnext_jax.pretrained import DensePreprocessing, Pretrained
from tests.export.test_export import normalised, photographs, runner
from tests.models.oracle import random_variables
from tests.runs import environment

CLASSES, SIDE = 5, 64


def shallow(name, side=SIDE, **changes):
    options = {"stage_depths": (1, 1, 1, 1), "channels": 16, **changes}
    variables = random_variables(inx.create_model(name, num_classes=CLASSES, **options))
    before = DensePreprocessing.of(inx.model_info(name), {"image_size": side})
    return Pretrained(name, variables, options, before, tuple("abcde"), "mit")


UPERNET, FPN = "upernet_inceptionnext_atto", "semantic_fpn_inceptionnext_atto"
DEFAULT = {(UPERNET, "onnx"), (FPN, "stablehlo")}


@pytest.mark.parametrize(
    ("name", "changes", "format"),
    [
        pytest.param(name, changes, format, marks=[] if is_default else pytest.mark.slow)
        for name, changes in (
            (UPERNET, {}),
            (FPN, {}),
            (UPERNET, {"out_norm": "batch", "output_stride": 16}),
            (FPN, {"out_norm": "group"}),
            ("upernet_convnext_atto", {}),
            ("upernet_resnet50", {}),
            ("semantic_fpn_poolformer_s12", {}),
            ("upernet_swin_tiny", {"side": 224}),
        )
        for format in FORMATS
        for is_default in [not changes and (name, format) in DEFAULT]
    ],
)
def test_files_compute_the_systems_logits(tmp_path, name, changes, format):
    network = shallow(name, **changes)
    side = network.preprocessing.image_size
    run = runner(export(network, tmp_path, format, uint8=True))
    pixels = photographs(network.preprocessing)
    apply = jax.jit(with_options(network.model, depthwise_impl="conv").apply)
    expected = np.asarray(apply(network.variables, normalised(pixels)))
    assert expected.shape == (8, side // 4, side // 4, CLASSES)
    for count in (1, 3):
        found = run(pixels[:count])
        np.testing.assert_allclose(found, expected[:count], atol=1e-4 * np.abs(expected).max())
    assert (tmp_path / "classes.txt").read_text().split() == list("abcde")
    text = (tmp_path / "README.md").read_text()
    assert f"[B, {side // 4}, {side // 4}, {CLASSES}] | float32" in text


def test_the_readmes_code_makes_a_label_map_without_this_package(tmp_path):
    network = shallow(UPERNET)
    export(network, tmp_path, "onnx", uint8=True)
    text = (tmp_path / "README.md").read_text()
    pixels = photographs(network.preprocessing)[:1]
    np.save(tmp_path / "images.npy", pixels)
    absent = ["flax", "inceptionnext_jax", "torch", "optax", "jax"]
    code = "\n".join(re.findall(r"```python\n(.*?)```", text, re.DOTALL))
    script = (
        f"import sys\nfor name in {absent}:\n    sys.modules[name] = None\n"
        f"import numpy as np\nimages = np.load('images.npy')\n{code}\n"
        "np.save('label_map.npy', label_map)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", script],
        cwd=tmp_path,
        env=environment(),
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    logits = network.model.apply(network.variables, normalised(pixels))
    expected = resize_bilinear(logits, (SIDE, SIDE))[0].argmax(-1)
    found = np.load(tmp_path / "label_map.npy")
    assert (found != np.asarray(expected)).mean() < 1e-3
    assert len(np.unique(found)) > 1
    for part in (
        "just fits in 256 × 64 pixels",
        "windows of 64 × 64 pixels every 42",
        "argmax over the last axis",
        "Licence of the weights: mit",
    ):
        assert part in text


def test_each_platform_has_its_depthwise_implementation():
    """They are the backbone's, not the system's own."""
    inference = make_inference(shallow(UPERNET), uint8=True)
    image = jax.ShapeDtypeStruct((2, *inference.image_shape), np.uint8)
    traced = jax.make_jaxpr(lambda x: on_platforms(inference, inference.variables, x))(image)
    assert any("platforms" in equation.params for equation in traced.eqns)
