"""Exported detectors find what the network finds, and their README says how to use it."""

import re
import subprocess
import sys

import jax
import numpy as np
import pytest
from pycocotools import mask as coco_mask

import inceptionnext_jax as inx
from inceptionnext_jax.errors import UserError
from inceptionnext_jax.export import export
from inceptionnext_jax.export.detector import unmatched
from inceptionnext_jax.pretrained import DetectionPreprocessing, Pretrained
from inceptionnext_jax.trees import nested, paths_and_leaves
from tests.models.oracle import random_variables
from tests.runs import environment

pytestmark = pytest.mark.usefixtures("quick_compilation")
MASK, RETINA = "mask_rcnn_inceptionnext_atto", "retinanet_inceptionnext_atto"
CASCADE = "cascade_mask_rcnn_inceptionnext_atto"
CANVASES = ((64, 96), (96, 64))


def shallow(name, shift=0.0):
    """A network of three classes; a positive shift makes objects less likely."""
    options = {"stage_depths": (1, 1, 1, 1), "channels": 16, "proposals": 20, "detections": 6}
    if name != RETINA:
        options |= {"fc_channels": 32, "rois": 8}
    variables = random_variables(inx.create_model(name, num_classes=3, **options))
    leaves = dict(paths_and_leaves(variables))
    for path, leaf in leaves.items():
        if path.endswith("fc_cls/bias"):
            leaves[path] = np.asarray(leaf) + shift * np.array([0, 0, 0, 1], np.float32)
        if path.endswith("retina_cls/bias"):
            leaves[path] = np.asarray(leaf) - shift
    before = DetectionPreprocessing.of(
        inx.model_info(name), {"resize": (96, 64), "canvases": CANVASES}
    )
    return Pretrained(name, nested(leaves), options, before, ("cat", "dog", "tram"), "mit")


@pytest.fixture(scope="module")
def exported(tmp_path_factory):
    """(network, folder) of a Mask R-CNN that takes pixels."""
    network, folder = shallow(MASK), tmp_path_factory.mktemp("exported")
    export(network, folder, "stablehlo", uint8=True)
    return network, folder


def called(path, images, sizes):
    loaded = jax.export.deserialize(bytearray(path.read_bytes()))
    return jax.tree.map(np.asarray, loaded.call(images, sizes))


def photographs():
    """Three images on a square canvas, of three sizes, [3, 96, 96, 3] uint8; their sizes."""
    from skimage import data

    images = np.zeros((3, 96, 96, 3), np.uint8)
    sizes = np.array([[64, 96], [96, 64], [50, 70]], np.int32)
    for image, (height, width) in zip(images, sizes, strict=True):
        image[:height, :width] = data.chelsea()[::3, ::3][:height, :width]
    return images, sizes


@pytest.mark.parametrize("name", [RETINA, MASK, pytest.param(CASCADE, marks=pytest.mark.slow)])
def test_files_find_what_the_network_finds(exported, tmp_path, name):
    network, folder = exported
    if name != MASK:
        network, folder = shallow(name), tmp_path
        export(network, folder, "stablehlo", uint8=True)
    path = folder / "model.stablehlo"
    images, sizes = photographs()
    mean, std = (
        np.array(values) for values in (network.preprocessing.mean, network.preprocessing.std)
    )
    x = np.zeros(images.shape, np.float32)
    for out, image, (height, width) in zip(x, images, sizes, strict=True):
        out[:height, :width] = ((image / 255 - mean) / std)[:height, :width]
    expected = network.model.apply(network.variables, x, sizes, train=False)
    assert np.asarray(expected["valid"]).sum() >= 6
    for count in (1, 3):
        found = called(path, images[:count], sizes[:count])
        assert found.keys() == expected.keys()
        wanted = {key: np.asarray(array)[:count] for key, array in expected.items()}
        assert {key: a.shape for key, a in found.items()} == {k: a.shape for k, a in wanted.items()}
        assert unmatched(found, wanted) == 0
    if "masks" in found:
        np.testing.assert_allclose(found["masks"], wanted["masks"], atol=1e-3)
    assert (folder / "classes.txt").read_text().split() == ["cat", "dog", "tram"]


@pytest.mark.parametrize("name", [pytest.param(RETINA, marks=pytest.mark.slow), MASK])
def test_an_image_without_objects_has_no_valid_row(tmp_path, name):
    path = export(shallow(name, shift=1000.0), tmp_path, "stablehlo")
    images = np.zeros((2, 96, 96, 3), np.float32)
    found = called(path, images, np.array([[96, 96], [1, 1]], np.int32))
    assert not found["valid"].any()
    for key in ("boxes", "scores", "labels"):
        assert not found[key].any()
    assert all(np.isfinite(array).all() for array in found.values())


def test_the_readmes_code_gives_objects_without_this_package(exported):
    network, tmp_path = exported
    original = (75, 113)
    image = photographs()[0][0][:64, :96].repeat(2, 0).repeat(2, 1)[: original[0], : original[1]]
    pixels, plan = network.preprocessing.padded(image)
    images = np.zeros((1, 96, 96, 3), np.uint8)
    images[0, :64] = pixels
    np.savez(tmp_path / "x.npz", images=images, sizes=np.array([plan.final], np.int32))
    text = (tmp_path / "README.md").read_text()
    code = "\n".join(re.findall(r"```python\n(.*?)```", text, re.DOTALL))
    script = (
        "import sys\nfor name in ['flax', 'inceptionnext_jax', 'torch', 'optax']:\n"
        "    sys.modules[name] = None\n"
        "import numpy as np\ngiven = np.load('x.npz')\nimages = given['images']\n"
        "sizes = given['sizes']\n"
        f"original = {original}\n{code}\n"
        "np.savez('found.npz', boxes=boxes, scores=scores, classes=classes, masks=pasted)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", script],
        cwd=tmp_path, env=environment(), capture_output=True, text=True,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    found = np.load(tmp_path / "found.npz")
    # On another canvas; images differ from evaluation near the border only.
    assert len(found["scores"]) > 2
    assert found["masks"].shape == (len(found["scores"]), *original)
    likely = {
        "valid": np.ones((1, len(found["scores"])), bool),
        **{new: found[old][None] for new, old in
           (("boxes", "boxes"), ("scores", "scores"), ("labels", "classes"))},
    }  # fmt: skip
    (same,) = inx.predict(
        Pretrained(
            network.name, network.variables, network.options,
            DetectionPreprocessing.of(
                inx.model_info(MASK), {"resize": (96, 64), "canvases": ((96, 96),)}
            ),
        ),
        [image], threshold=0,
    )  # fmt: skip
    wanted = {
        "valid": np.ones((1, len(same.scores)), bool),
        "boxes": same.boxes[None], "scores": same.scores[None], "labels": same.classes[None],
    }  # fmt: skip
    assert unmatched(likely, wanted) <= 0.2
    np.testing.assert_array_equal(found["classes"][:1], same.classes[:1])
    own = coco_mask.decode({"size": list(original), "counts": same.masks[0]})
    assert (own != found["masks"][0]).mean() < 0.01
    for part in (
        "[B, 96, 96, 3], any B | uint8 pixels",
        "[B, 2] | int32, height and width",
        "[B, 6, 4] | float32, x1, y1, x2, y2",
        "[B, 6, 28, 28] | float32, probabilities",
        "just fits in 96 × 64 pixels",
        "an image without objects has no valid row",
        "Licence of the weights: mit",
    ):
        assert part in text


def test_onnx_is_refused_in_one_sentence_before_any_work(tmp_path):
    with pytest.raises(
        UserError, match="cannot be written as ONNX: jax2onnx has no loops"
    ) as error:
        export(shallow(RETINA), tmp_path / "new", "onnx")
    assert "\n" not in str(error.value)
    assert not (tmp_path / "new").exists()


def test_a_wrong_export_is_seen(tmp_path, monkeypatch):
    """Weights of another network give other detections, and other maps."""
    from inceptionnext_jax.export import stablehlo

    real = stablehlo.on_platforms

    def scaled(inference, variables, *inputs):
        return real(inference, jax.tree.map(lambda leaf: leaf * 1.1, variables), *inputs)

    monkeypatch.setattr(stablehlo, "on_platforms", scaled)
    with pytest.raises(UserError, match="of the exported function's detections are not"):
        export(shallow(RETINA), tmp_path / "new", "stablehlo")
    assert not (tmp_path / "new").exists()
