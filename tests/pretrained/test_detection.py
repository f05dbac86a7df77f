"""Objects found by trained networks: those of evaluation, from every source, in own pixels."""

import functools
import json
import shutil

import jax
import numpy as np
import pytest
from pycocotools import mask as coco_mask

import inceptionnext_jax as inx
from configs.detection import digits
from inceptionnext_jax.__main__ import main
from inceptionnext_jax.convert import to_torch
from inceptionnext_jax.data import coco
from inceptionnext_jax.data.digit_instances import open_digit_instances
from inceptionnext_jax.errors import UserError
from inceptionnext_jax.pretrained import DetectionPreprocessing, Pretrained
from inceptionnext_jax.pretrained.config_json import read_config
from inceptionnext_jax.tasks.detection import build
from tests.models.oracle import random_variables
from tests.pretrained.test_loading import assert_same
from tests.runs import untrained

pytestmark = pytest.mark.usefixtures("quick_compilation")
NAME, FLAT = "mask_rcnn_inceptionnext_atto", "retinanet_inceptionnext_atto"
DEPTHS = (1, 1, 1, 1)
SHARED = {"stage_depths": DEPTHS, "channels": 16, "proposals": 20, "detections": 8}
OPTIONS = {NAME: {**SHARED, "fc_channels": 32, "rois": 8}, FLAT: SHARED}
MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
BEFORE = DetectionPreprocessing(96, MEAN, STD, (128, 96), ((96, 128), (128, 96)))
SCENES = open_digit_instances()
WIDE, SQUARE, HIGH = 0, 6, 5  # scenes of 96 × 112, 128 × 128 and 128 × 112 pixels


def config(name=NAME, **changes):
    made = digits.get_config("retinanet" if name == FLAT else "")
    head = {f"head.{key}": value for key, value in OPTIONS[name].items() if key in made.head}
    made.update_from_flattened_dict(
        {
            **head,
            "model.stage_depths": DEPTHS,
            "model.depthwise_impl": "conv",
            "data.resize": (128, 96),
            "data.canvases": ((96, 128), (128, 96)),
            **changes,
        }
    )
    return made


@functools.cache
def bundle(name=NAME, num_classes=10):
    options = OPTIONS[name]
    variables = random_variables(inx.create_model(name, num_classes=num_classes, **options))
    return Pretrained(name, variables, options, BEFORE, SCENES.class_names[:num_classes])


@pytest.mark.parametrize("name", [NAME, FLAT])
def test_objects_are_those_of_evaluation(name):
    task = build.build(config(name), SCENES).task
    task = task.__class__(**{**vars(task), "devices": 1})
    network = Pretrained(name, bundle(name).variables, OPTIONS[name])
    before = DetectionPreprocessing.of(inx.model_info(name), task.metadata()["preprocessing"])
    assert before == BEFORE
    network = Pretrained(name, network.variables, network.options, before)
    images = [SCENES.eval[i].image for i in (WIDE, HIGH, SQUARE)]
    evaluate = jax.jit(task.evaluate)
    inputs = build.build(config(name), SCENES).evaluation
    for image, one in zip(images, inx.predict(network, images, threshold=0), strict=True):
        _, canvas = before.plan(image.shape[:2])
        (transform,) = [t for t in inputs.transforms if t.canvas == canvas]
        arrays = transform.arrays(image, "x")
        pixels, _ = before.padded(image)
        np.testing.assert_array_equal(pixels, arrays["image"])
        batch = {key: array[None] for key, array in arrays.items()}
        batch |= {"mask": np.ones(1, np.float32), "index": np.zeros(1, np.int32)}
        _, records = evaluate(network.variables, batch)
        (kept,) = task.collect(jax.device_get(records), batch)
        expected = kept["plain"]
        assert 0 < len(one.scores) == len(expected["scores"])
        np.testing.assert_allclose(one.scores, expected["scores"], atol=1e-5)
        np.testing.assert_allclose(one.boxes, expected["boxes"], atol=1e-2)
        np.testing.assert_array_equal(one.classes, expected["classes"])
        assert (one.masks is None) == ("masks" not in expected)
        for found, wanted in zip(one.masks or (), expected.get("masks", ()), strict=True):
            difference = decoded(found, image) != decoded(wanted, image)
            assert difference.mean() < 1e-3


def decoded(mask, image):
    return coco_mask.decode({"size": list(image.shape[:2]), "counts": mask})


def test_objects_lie_in_the_image_with_masks_of_its_size(tmp_path):
    image = SCENES.eval[WIDE].image
    images = [image, image.repeat(4, 0).repeat(3, 1), image[:7, :100], image[:1, :1]]
    for pixels, one in zip(images, inx.predict(bundle(), images, threshold=0), strict=True):
        height, width = pixels.shape[:2]
        np.testing.assert_array_equal(one.image, pixels)
        assert one.boxes.dtype == one.scores.dtype == np.float32
        assert one.classes.dtype == np.int32
        assert (one.boxes >= 0).all()
        assert (one.boxes <= [width, height, width, height]).all()
        assert (np.diff(one.scores) <= 0).all()
        assert one.names == [SCENES.class_names[k] for k in one.classes]
        assert len(one.masks) == len(one.boxes)
        for mask in one.masks:
            assert decoded(mask, pixels).shape == (height, width)


def test_the_threshold_and_the_number_choose_the_likeliest():
    image = SCENES.eval[SQUARE].image
    (every,) = inx.predict(bundle(), [image], threshold=0)
    assert len(every.scores) > 3
    middle = float(every.scores[2])
    (likely,) = inx.predict(bundle(), [image], threshold=middle)
    (two,) = inx.predict(bundle(), [image], threshold=0, topk=2)
    (default,) = inx.predict(bundle(), [image])
    for one, count in ((likely, 3), (two, 2), (default, int((every.scores >= 0.3).sum()))):
        assert len(one.masks) == len(one.names) == len(one.scores) == count
        np.testing.assert_array_equal(one.boxes, every.boxes[:count])
    (none,) = inx.predict(bundle(), [image], threshold=1)
    assert none.boxes.shape == (0, 4)
    assert none.masks == none.names == []


def test_images_on_one_canvas_share_a_compilation(monkeypatch):
    from inceptionnext_jax.pretrained import detection

    traced = []
    real = detection.normalized_within
    monkeypatch.setattr(
        detection, "normalized_within", lambda x, *rest: traced.append(x.shape) or real(x, *rest)
    )
    images = [np.zeros((h, w, 3), np.uint8) for h, w in ((66, 88), (90, 91), (80, 300), (99, 70))]
    assert len(list(inx.predict(bundle(FLAT), images))) == 4
    assert traced == [(1, 96, 128, 3), (1, 128, 96, 3)]


def test_bad_images_are_reported_and_wrong_options_refused():
    bad, good = [b"no image", np.zeros((4, 4), np.uint8)], SCENES.eval[WIDE].image
    errors = []
    found = list(inx.predict(bundle(FLAT), [*bad, good], unreadable=errors.append))
    assert [one.path for one in found] == ["image 2"]
    assert [str(error).split(":")[0][:23] for error in errors] == [
        "cannot decode image 0", "image 1 is uint8 (4, 4)",
    ]  # fmt: skip
    with pytest.raises(UserError, match="finds objects, one image after the other"):
        inx.predict(bundle(FLAT), [good], batch_size=2)
    for threshold in (-0.1, 1.5, float("nan")):
        with pytest.raises(UserError, match="is not a number from 0 to 1"):
            inx.predict(bundle(FLAT), [good], threshold=threshold)


# --- where preprocessing and names come from ---


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    workdir = tmp_path_factory.mktemp("run")
    untrained(workdir, config(), {"eval/box_ap": 0.5})
    return workdir


def test_a_run_gives_its_preprocessing_names_and_heads(trained):
    loaded = inx.load_pretrained(trained)
    assert loaded.preprocessing == BEFORE
    assert loaded.class_names == SCENES.class_names
    assert loaded.num_classes == 10
    assert {name: loaded.options[name] for name in OPTIONS[NAME]} == {
        **OPTIONS[NAME], "stage_depths": list(DEPTHS),
    }  # fmt: skip
    (one,) = inx.predict(loaded, [SCENES.eval[WIDE].image], threshold=0)
    assert len(one.scores) <= 8


def test_a_run_becomes_a_folder_and_a_file(trained, tmp_path):
    first = inx.load_pretrained(trained)
    command = ["convert", "--from", str(trained), "--to"]
    assert main([*command, str(tmp_path / "w")]) == 0
    second = inx.load_pretrained(tmp_path / "w")
    for field in ("name", "preprocessing", "class_names", "licence", "metrics"):
        assert getattr(first, field) == getattr(second, field), field
    assert_same(first.variables, second.variables)
    image = [SCENES.eval[SQUARE].image]
    (one,), (other,) = (inx.predict(network, image, threshold=0) for network in (first, second))
    np.testing.assert_array_equal(one.boxes, other.boxes)
    assert main([*command, str(tmp_path / "w.safetensors"), "--layout=mmdet"]) == 0
    bare = inx.load_pretrained(tmp_path / "w.safetensors", NAME, stage_depths=DEPTHS)
    assert_same(first.variables, bare.variables)


@pytest.mark.parametrize("name", [NAME, FLAT])
def test_a_bare_file_has_the_papers_preprocessing_and_cocos_classes(tmp_path, name):
    variables = random_variables(inx.create_model(name, num_classes=80, **OPTIONS[name]))
    np.savez(tmp_path / "w.npz", **to_torch(name, variables, "mmdet", **OPTIONS[name]))
    loaded = inx.load_pretrained(tmp_path / "w.npz", name, stage_depths=DEPTHS)
    canvases = ((800, 1344), (1344, 800))
    assert loaded.preprocessing == DetectionPreprocessing(800, MEAN, STD, (1333, 800), canvases)
    assert loaded.readable_names == list(coco.coco_categories().names)
    assert len(set(loaded.colors)) == 80


def test_new_last_layers_are_those_of_all_heads(tmp_path):
    inx.save_pretrained(tmp_path / "w", bundle())
    command = ["convert", "--from", str(tmp_path / "w"), "--to", str(tmp_path / "new")]
    assert main([*command, "--num-classes=7", "--reset-head"]) == 0
    params = inx.load_pretrained(tmp_path / "new").variables["params"]
    assert params["bbox_head"]["fc_cls"]["bias"].shape == (8,)
    assert params["bbox_head"]["fc_reg"]["bias"].shape == (28,)
    assert params["mask_head"]["conv_logits"]["bias"].shape == (7,)
    for part in ("backbone", "neck", "rpn_head"):
        assert_same(params[part], bundle().variables["params"][part])


HOSTILE = {
    "resize": [[1], [10**9, 512], ["a", "b"], 512],
    "canvases": [[], 7, [[1]], [[32, "x"]], [[33, 64]], [[32, 10**9]], "abc"],
    "std": [[0, 1, 1], "x"],
}


@pytest.mark.parametrize("key", HOSTILE)
def test_hostile_fields_are_one_sentence(tmp_path, key):
    path = inx.save_pretrained(tmp_path, bundle()) / "config.json"
    config = json.loads(path.read_text())
    for value in HOSTILE[key]:
        config["pretrained_cfg"][key] = value
        path.write_text(json.dumps(config))
        with pytest.raises(UserError) as error:
            Pretrained(variables=bundle().variables, **read_config(path))
        assert "\n" not in str(error.value)


def test_a_damaged_step_is_one_sentence(trained, tmp_path):
    shutil.copytree(trained, tmp_path / "run")
    path = tmp_path / "run/checkpoints/1/meta/metadata"
    meta = json.loads(path.read_text())
    path.write_text(json.dumps({**meta, "preprocessing": {"canvases": [[1, 2]]}}))
    with pytest.raises(UserError) as error:
        inx.load_pretrained(tmp_path / "run/checkpoints/1")
    assert "\n" not in str(error.value)
