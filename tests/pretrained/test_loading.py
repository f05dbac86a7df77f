"""Weights keep their preprocessing and class names; timm reads our folders and we read timm's."""

import dataclasses
import json

import numpy as np
import pytest

import inceptionnext_jax as inx
from inceptionnext_jax.convert import to_torch
from inceptionnext_jax.errors import UserError
from inceptionnext_jax.pretrained import Preprocessing, Pretrained
from inceptionnext_jax.trees import paths_and_leaves
from tests.models.oracle import images, logits_of, random_variables

ATTO, DEPTHS = "inceptionnext_atto", (1, 1, 1, 1)
SHALLOW = {"stage_depths": DEPTHS}
BEFORE = Preprocessing(32, 1.0, "bilinear", (0.1, 0.2, 0.3), (0.4, 0.5, 0.6))
FAMILIES = ["inceptionnext_atto", "convnext_atto", "convnext_tiny"]


def bundle(name=ATTO, num_classes=3, **fields):
    variables = random_variables(inx.create_model(name, num_classes=num_classes, **SHALLOW))
    return Pretrained(name, variables, options=SHALLOW, **fields)


def assert_same(one, other):
    one, other = dict(paths_and_leaves(one)), dict(paths_and_leaves(other))
    assert one.keys() == other.keys()
    for path, leaf in one.items():
        np.testing.assert_array_equal(leaf, other[path], err_msg=path)


def test_saved_weights_are_loaded_with_all_fields(tmp_path):
    saved = bundle(
        preprocessing=BEFORE,
        class_names=("a", "b", "ü"),
        licence="mit",
        metrics={"eval/top1": 0.5},
    )
    inx.save_pretrained(tmp_path / "w", saved)
    loaded = inx.load_pretrained(tmp_path / "w")
    for field in ("name", "preprocessing", "class_names", "licence", "metrics"):
        assert getattr(loaded, field) == getattr(saved, field), field
    assert_same(loaded.variables, saved.variables)
    model, variables = inx.load_model(tmp_path / "w")
    assert (model.num_classes, tuple(model.stage_depths)) == (3, DEPTHS)
    assert_same(variables, saved.variables)
    assert inx.load_model(tmp_path / "w", output_stride=8)[0].output_stride == 8


@pytest.mark.parametrize("name", FAMILIES)
def test_timm_loads_our_folder_and_agrees(timm, tmp_path, name):
    saved = bundle(name, preprocessing=BEFORE, class_names=("a", "b", "c"), licence="mit")
    inx.save_pretrained(tmp_path, saved)
    theirs = timm.create_model(f"local-dir:{tmp_path}", pretrained=True).eval()
    assert theirs.num_classes == 3
    x = images((2, 64, 64, 3))
    ours = saved.model.clone(depthwise_impl="conv").apply(saved.variables, x)
    np.testing.assert_allclose(ours, logits_of(theirs, x), atol=5e-6 * np.abs(ours).max())
    before = timm.data.resolve_model_data_config(theirs)
    assert tuple(before["input_size"]) == (3, 32, 32)
    assert before["interpolation"] == "bilinear"
    assert (tuple(before["mean"]), tuple(before["std"])) == (BEFORE.mean, BEFORE.std)
    assert before["crop_pct"] == 1.0
    assert theirs.pretrained_cfg["license"] == "mit"
    assert theirs.pretrained_cfg["label_names"] == ["a", "b", "c"]


def test_a_folder_of_timm_is_loaded(timm, tmp_path):
    from timm.models import save_for_hf

    theirs = timm.create_model(
        "inception_next_atto", num_classes=4, depths=DEPTHS, drop_path_rate=0.1
    ).eval()
    save_for_hf(
        theirs, tmp_path, model_config={"label_names": list("abcd")}, safe_serialization=True
    )
    loaded = inx.load_pretrained(tmp_path)
    assert (loaded.name, loaded.class_names) == (ATTO, tuple("abcd"))
    assert loaded.preprocessing == Preprocessing.of(inx.model_info(ATTO))
    state = {key: value.numpy() for key, value in theirs.state_dict().items()}
    ours = to_torch(ATTO, loaded.variables, stage_depths=DEPTHS)
    for key, value in ours.items():
        np.testing.assert_array_equal(value, state[key], err_msg=key)
    x = images((1, 64, 64, 3))
    np.testing.assert_allclose(
        loaded.model.clone(depthwise_impl="conv").apply(loaded.variables, x),
        logits_of(theirs, x),
        atol=5e-6,
    )


@pytest.mark.parametrize(
    ("architecture", "size", "name"),
    [
        ("inception_next_tiny", 224, "inceptionnext_tiny"),
        ("inception_next_base", 224, "inceptionnext_base"),
        ("inception_next_base", 384, "inceptionnext_base_384"),
        ("convnext_small", 224, "convnext_small"),
        ("swin_tiny_patch4_window7_224", 224, "swin_tiny"),
        ("regnety_040", 224, "regnety_4g"),
        ("resnet9000", 224, None),
    ],
)
def test_timms_names_are_ours(architecture, size, name):
    from inceptionnext_jax.convert.timm_names import our_name

    assert our_name(architecture, [3, size, size]) == name


@pytest.mark.slow
@pytest.mark.parametrize(
    "name", ["resnet50", "regnety_4g", "poolformer_s12", "deit_small", "swin_tiny"]
)
def test_folders_of_every_comparator_are_exchanged_with_timm(timm, tmp_path, name):
    from timm.models import save_for_hf

    saved = Pretrained(name, random_variables(inx.create_model(name, num_classes=3)))
    inx.save_pretrained(tmp_path / "ours", saved)
    theirs = timm.create_model(f"local-dir:{tmp_path / 'ours'}", pretrained=True).eval()
    x = images((1, 224, 224, 3))
    ours = saved.model.apply(saved.variables, x)
    np.testing.assert_allclose(ours, logits_of(theirs, x), atol=5e-6 * np.abs(ours).max())
    save_for_hf(theirs, tmp_path / "timm", safe_serialization=True)
    loaded = inx.load_pretrained(tmp_path / "timm")
    assert loaded.name == name
    assert_same(loaded.variables, saved.variables)


def test_a_bare_file_needs_a_name_and_gets_the_models_preprocessing(tmp_path):
    saved = bundle()
    np.savez(tmp_path / "w.npz", **to_torch(ATTO, saved.variables, **SHALLOW))
    with pytest.raises(UserError, match="does not say which model"):
        inx.load_pretrained(tmp_path / "w.npz")
    loaded = inx.load_pretrained(tmp_path / "w.npz", ATTO, **SHALLOW)
    assert_same(loaded.variables, saved.variables)
    assert loaded.preprocessing == Preprocessing.of(inx.model_info(ATTO))
    assert loaded.licence == "apache-2.0"


def test_a_models_name_loads_its_published_weights(monkeypatch, tmp_path):
    from inceptionnext_jax.convert import hub

    inx.save_pretrained(tmp_path, bundle())
    asked = []

    def fetch(source):
        asked.append(source)
        return tmp_path / "model.safetensors"

    monkeypatch.setattr(hub, "fetch_weights", fetch)
    monkeypatch.setattr(hub, "fetch_config", lambda source: tmp_path / "config.json")
    assert inx.load_pretrained(ATTO).name == ATTO
    assert asked == ["hf://timm/inception_next_atto.sail_in1k"]
    with pytest.raises(UserError, match="no published weights"):
        inx.load_pretrained("inceptionnext_tiny_band7")


def test_a_thousand_classes_without_names_are_imagenets():
    names = bundle(num_classes=1000).readable_names
    assert len(names) == 1000
    assert (names[0], names[281], names[999]) == (
        "tench, Tinca tinca", "tabby, tabby cat", "toilet tissue, toilet paper, bathroom tissue",
    )  # fmt: skip
    known = bundle(class_names=("n02123045", "mine"))
    assert known.readable_names == ["tabby, tabby cat", "mine", "2"]


def test_packaged_classes_are_timms(timm):
    from inceptionnext_jax.pretrained.class_names import imagenet_classes

    info = timm.data.ImageNetInfo()
    ours = list(imagenet_classes().items())
    assert ours == [
        (info.index_to_label_name(k), info.index_to_description(k)) for k in range(1000)
    ]


CONFIGS = {
    "no json": "{",
    "no object": "[]",
    "deep": "[" * 100_000,
    "another architecture": {"architecture": "resnet9000"},
    "architecture is a list": {"architecture": [1], "pretrained_cfg": {}},
    "unknown option": {"inceptionnext_jax": {"model": ATTO, "options": {"exec": "x"}}},
    "option of a wrong type": {
        "inceptionnext_jax": {"model": ATTO, "options": {"stage_depths": 3}}
    },
    "a billion blocks": {
        "inceptionnext_jax": {"model": ATTO, "options": {"stage_depths": [10**9, 1, 1, 1]}}
    },
    "a mixer that is a list": {
        "inceptionnext_jax": {"model": ATTO, "options": {"token_mixer": []}}
    },
    "options are a list": {"inceptionnext_jax": {"model": ATTO, "options": [1]}},
    "model is a path": {"inceptionnext_jax": {"model": "../../etc/passwd"}},
    "oblong": {"architecture": "inception_next_atto", "pretrained_cfg": {"input_size": [3, 2, 4]}},
    "huge image": {
        "architecture": "inception_next_atto",
        "pretrained_cfg": {"input_size": [3, 10**9, 10**9]},
    },
    "crop of nothing": {"architecture": "inception_next_atto", "pretrained_cfg": {"crop_pct": 0}},
    "no interpolation": {
        "architecture": "inception_next_atto", "pretrained_cfg": {"interpolation": "../x"},
    },
    "mean of text": {"architecture": "inception_next_atto", "pretrained_cfg": {"mean": "abc"}},
    "names are a number": {"architecture": "inception_next_atto", "label_names": 7},
    "names are numbers": {
        "inceptionnext_jax": {"model": ATTO, "options": {"stage_depths": DEPTHS}},
        "label_names": [1, 2, 3],
    },
    "too many names": {
        "inceptionnext_jax": {"model": ATTO, "options": {"stage_depths": DEPTHS}},
        "label_names": list("abcd"),
    },
}  # fmt: skip


@pytest.mark.parametrize("name", CONFIGS)
def test_a_hostile_config_is_one_sentence(tmp_path, name):
    inx.save_pretrained(tmp_path, bundle())
    content = CONFIGS[name]
    text = content if isinstance(content, str) else json.dumps(content)
    (tmp_path / "config.json").write_text(text)
    with pytest.raises(UserError) as error:
        inx.load_pretrained(tmp_path)
    assert "\n" not in str(error.value)
    assert len(str(error.value)) < 900


def test_variables_that_do_not_fit_the_model_are_not_saved(tmp_path):
    wrong = dataclasses.replace(bundle(), options={})
    with pytest.raises(UserError, match="missing"):
        inx.save_pretrained(tmp_path / "w", wrong)
    assert not (tmp_path / "w").exists()
