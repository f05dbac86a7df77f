"""Label maps of trained networks: those of evaluation, from every source, at the images' size."""

import dataclasses
import functools
import io
import json
import shutil

import jax
import numpy as np
import pytest
from PIL import Image

import inceptionnext_jax as inx
from configs.segmentation import digits
from inceptionnext_jax.__main__ import main
from inceptionnext_jax.convert import to_torch
from inceptionnext_jax.data import ade20k
from inceptionnext_jax.data.digit_scenes import open_digit_scenes
from inceptionnext_jax.errors import UserError
from inceptionnext_jax.pretrained import DensePreprocessing, Pretrained
from inceptionnext_jax.pretrained.config_json import read_config
from inceptionnext_jax.tasks.segmentation import build
from inceptionnext_jax.tasks.segmentation.metrics import total
from tests.models.oracle import random_variables
from tests.pretrained.test_loading import assert_same
from tests.runs import untrained

pytestmark = pytest.mark.usefixtures("quick_compilation")
NAME = "upernet_inceptionnext_atto"
DEPTHS = (1, 1, 1, 1)
OPTIONS = {"stage_depths": DEPTHS, "channels": 16}
MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
BEFORE = DensePreprocessing(64, MEAN, STD, (160, 112), "slide", 72, 40, 1)
SCENES = open_digit_scenes()
SMALLEST, LARGEST = 0, 6  # scenes of 96 × 112 and 128 × 128 pixels
CHANGES = {
    "model.stage_depths": DEPTHS,
    "model.depthwise_impl": "conv",
    "head.channels": 16,
    "data.image_size": 64,
    "eval.crop": 72,
    "eval.stride": 40,
}


@functools.cache
def bundle(name=NAME, num_classes=11):
    options = OPTIONS if name == NAME else {"stage_depths": DEPTHS}
    variables = random_variables(inx.create_model(name, num_classes=num_classes, **options))
    names = SCENES.class_names[:num_classes]
    return Pretrained(name, variables, options, BEFORE, names, palette=SCENES.palette[:num_classes])


def config(**changes):
    made = digits.get_config()
    made.update_from_flattened_dict({**CHANGES, **changes})
    return made


def encoded(image):
    file = io.BytesIO()
    Image.fromarray(image).save(file, "PNG")
    return file.getvalue()


@pytest.mark.parametrize("method", ["slide", pytest.param("whole", marks=pytest.mark.slow)])
def test_label_maps_have_the_confusion_of_evaluation(method):
    """The same bits in another canvas, and through another compiled program."""
    built = build.build(config(**{"eval.method": method}), SCENES)
    task, indices = dataclasses.replace(built.task, devices=1), (SMALLEST, LARGEST)
    evaluate = jax.jit(task.evaluate)
    network = Pretrained(NAME, bundle().variables, {**OPTIONS, "depthwise_impl": "conv"})
    before = DensePreprocessing.of(inx.model_info(NAME), task.metadata()["preprocessing"])
    network = Pretrained(NAME, network.variables, network.options, before)
    found = list(inx.predict(network, [SCENES.eval[i].image for i in indices]))
    for index, one in zip(indices, found, strict=True):
        example = SCENES.eval[index]
        labels = SCENES.rule(example.label, example.name)
        size = labels.shape
        shapes = task.views.shapes(size)
        transform = next(t for t in built.evaluation.transforms if t.shapes == shapes)
        row = transform(example, np.zeros(0))
        batch = {**{name: a[None] for name, a in row.items()}, "mask": np.ones(1, np.float32)}
        _, records = evaluate(network.variables, batch)
        (kept, *_) = task.collect(jax.device_get(records), batch)
        confusion = np.zeros((11, 11), int)
        np.add.at(confusion, (labels.ravel(), one.label_map.ravel()), 1)
        np.testing.assert_array_equal(total([kept["0"]], 11), confusion)
        assert one.label_map.shape == size
        assert one.label_map.dtype == np.int16
        assert len(np.unique(one.label_map)) > 3


def test_paths_bytes_and_arrays_of_any_size_are_answered_in_order(tmp_path):
    images = [SCENES.eval[SMALLEST].image] * 3
    images += [images[0][:20, :90], images[1].repeat(3, 0).repeat(3, 1)]
    path = tmp_path / "x.png"
    path.write_bytes(encoded(images[0]))
    given = [path, encoded(images[1]), ("name", encoded(images[2])), *images[3:]]
    found = list(inx.predict(bundle(), given))
    assert [one.path for one in found] == [str(path), "image 1", "name", "image 3", "image 4"]
    for image, one in zip(images, found, strict=True):
        np.testing.assert_array_equal(one.image, image)
        assert one.label_map.shape == image.shape[:2]
        shares = np.bincount(one.label_map.ravel(), minlength=11) / one.label_map.size
        np.testing.assert_array_equal(
            one.classes, np.argsort(-shares, kind="stable")[: len(one.classes)]
        )
        np.testing.assert_allclose(one.shares, shares[one.classes])
        assert one.shares.sum() == pytest.approx(1)
        assert one.names == [SCENES.class_names[k] for k in one.classes]
    (few,) = inx.predict(bundle(), [path], topk=2)
    np.testing.assert_array_equal(few.classes, found[0].classes[:2])


def test_images_with_views_of_equal_shapes_share_a_compilation(monkeypatch):
    """Sizes of 60 × 80 to 120 × 160 pixels are resized to the same, in a canvas of 128 × 256."""
    from inceptionnext_jax.pretrained import segmentation

    traced = []
    real = segmentation.label_maps
    monkeypatch.setattr(
        segmentation, "label_maps", lambda *args: traced.append(args[3]) or real(*args)
    )
    images = [np.zeros((h, h * 4 // 3, 3), np.uint8) for h in (66, 90, 120)]
    assert len(list(inx.predict(bundle(), images))) == 3
    assert traced == [(128, 256)]


def test_bad_images_are_reported_and_wrong_options_refused(tmp_path):
    bad = [b"no image", np.zeros((4, 4), np.uint8), np.zeros((60_000, 1, 3), np.uint8)]
    good = SCENES.eval[0].image
    errors = []
    found = list(inx.predict(bundle(), [*bad, good], unreadable=errors.append))
    assert [one.path for one in found] == ["image 3"]
    assert [str(error).split(":")[0][:25] for error in errors] == [
        "cannot decode image 0", "image 1 is uint8 (4, 4), ", "cannot use image 2",
    ]  # fmt: skip
    with pytest.raises(UserError, match="cannot decode image 0"):
        list(inx.predict(bundle(), bad))
    with pytest.raises(UserError, match="topk=0 is not"):
        inx.predict(bundle(), [good], topk=0)
    with pytest.raises(UserError, match="batch_size is for classifiers"):
        inx.predict(bundle(), [good], batch_size=2)


def test_many_windows_are_refused_before_they_are_cut():
    before = DensePreprocessing(64, MEAN, STD, (2**14, 2**14), "slide", 512, 1, 1)
    with pytest.raises(UserError, match=r"cannot use image: 2[\d,]+ windows of 512 × 512"):
        before.decoded(np.zeros((640, 640, 3), np.uint8))


# --- where preprocessing and palette come from ---


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    workdir = tmp_path_factory.mktemp("run")
    changes = {"head.out_norm": "layer", "head.aux_head": False}
    untrained(workdir, config(**changes), {"eval/miou": 0.5})
    return workdir


def test_a_run_gives_its_preprocessing_palette_and_head(trained):
    loaded = inx.load_pretrained(trained)
    assert loaded.preprocessing == BEFORE
    assert loaded.palette == SCENES.palette
    assert loaded.class_names == SCENES.class_names
    head = {"channels": 16, "aux_head": False, "out_norm": "layer"}
    assert loaded.options == {"stage_depths": list(DEPTHS), "layer_scale_init": 1.0, **head}
    assert loaded.metrics == {"eval/miou": 0.5}
    (one,) = inx.predict(loaded, [SCENES.eval[0].image])
    assert one.label_map.shape == SCENES.eval[0].image.shape[:2]


def test_a_run_becomes_a_folder_and_a_file(trained, tmp_path):
    first = inx.load_pretrained(trained)
    command = ["convert", "--from", str(trained), "--to"]
    assert main([*command, str(tmp_path / "w")]) == 0
    second = inx.load_pretrained(tmp_path / "w")
    for field in ("name", "preprocessing", "class_names", "palette", "licence", "metrics"):
        assert getattr(first, field) == getattr(second, field), field
    assert_same(first.variables, second.variables)
    assert main([*command, str(tmp_path / "w.safetensors"), "--layout=mmseg"]) == 0
    options = {"stage_depths": DEPTHS, "out_norm": "layer"}
    bare = inx.load_pretrained(tmp_path / "w.safetensors", NAME, **options)
    assert_same(first.variables, bare.variables)
    assert (bare.palette, bare.class_names) == ((), ())


def test_new_last_layers_are_those_of_all_heads(tmp_path, capsys):
    inx.save_pretrained(tmp_path / "w", bundle())
    command = ["convert", "--from", str(tmp_path / "w"), "--to", str(tmp_path / "new")]
    assert main([*command, "--num-classes=7", "--reset-head"]) == 0
    loaded = inx.load_pretrained(tmp_path / "new")
    params = loaded.variables["params"]
    for head in ("decode_head", "auxiliary_head"):
        kernel, bias = (params[head]["conv_seg"][name] for name in ("kernel", "bias"))
        assert kernel.shape[-1] == 7
        assert kernel.std() == pytest.approx(0.02, rel=0.3)
        assert not bias.any()
    assert_same(params["backbone"], bundle().variables["params"]["backbone"])
    assert (loaded.palette, loaded.class_names) == ((), ())


def test_a_bare_file_has_the_papers_preprocessing_and_ade20ks_classes(tmp_path):
    variables = random_variables(inx.create_model(NAME, num_classes=150, **OPTIONS))
    np.savez(tmp_path / "w.npz", **to_torch(NAME, variables, "mmseg", **OPTIONS))
    loaded = inx.load_pretrained(tmp_path / "w.npz", NAME, stage_depths=DEPTHS)
    papers = DensePreprocessing(512, MEAN, STD, (2048, 512), "slide", 512, 341, 1)
    assert loaded.preprocessing == papers
    assert loaded.readable_names == list(ade20k.classes().names)
    assert tuple(loaded.colors) == ade20k.classes().colors
    other = DensePreprocessing.of(inx.model_info(NAME), {"image_size": 640})
    assert (other.resize, other.crop, other.stride) == ((2560, 640), 640, 426)


HOSTILE = {
    "resize": [[1], [10**9, 512], ["a", "b"], 512],
    "method": ["../x", 3],
    "crop": [0, 10**9, 1.5, True],
    "stride": [0, 73, "x"],
    "multiple": [0, "x", 10**9],
    "palette": [7, [[1, 2]], [[0, 0, 256]], [[0.5, 0, 0]], [[0, 0, 0]] * 12, "abc"],
}


@pytest.mark.parametrize("key", HOSTILE)
def test_hostile_fields_are_one_sentence(tmp_path, key):
    path = inx.save_pretrained(tmp_path, bundle()) / "config.json"
    config = json.loads(path.read_text())
    for value in HOSTILE[key]:
        config["inceptionnext_jax" if key == "palette" else "pretrained_cfg"][key] = value
        path.write_text(json.dumps(config))
        with pytest.raises(UserError) as error:
            Pretrained(variables=bundle().variables, **read_config(path))
        assert "\n" not in str(error.value)


def test_a_damaged_step_is_one_sentence(trained, tmp_path):
    shutil.copytree(trained, tmp_path / "run")
    path = tmp_path / "run/checkpoints/1/meta/metadata"
    meta = json.loads(path.read_text())
    for changes in ({"palette": [[0, 0, "x"]]}, {"preprocessing": {"stride": -1}}):
        path.write_text(json.dumps({**meta, **changes}))
        with pytest.raises(UserError) as error:
            inx.load_pretrained(tmp_path / "run/checkpoints/1")
        assert "\n" not in str(error.value)
