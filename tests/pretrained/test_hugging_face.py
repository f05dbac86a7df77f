"""Folders that transformers wrote, and hub repositories of such files."""

import json
import shutil

import jax
import pytest

import inceptionnext_jax as inx
from inceptionnext_jax.__main__ import main
from inceptionnext_jax.convert.files import read_weights
from inceptionnext_jax.convert.load import load_weights
from inceptionnext_jax.errors import UserError
from inceptionnext_jax.models.layers.resize import resize_bilinear
from inceptionnext_jax.pretrained import DensePreprocessing, load_pretrained
from inceptionnext_jax.pretrained.hugging_face import upernet_fields
from inceptionnext_jax.tasks.segmentation.task import Segmentation
from inceptionnext_jax.train.init_state import below, match
from tests.convert.test_torch_weights import assert_identical, flat
from tests.models.dense.hugging_face import SHALLOW, configured, twin
from tests.models.oracle import images, logits_of, relative_error, state

NAMES = ("wall", "building", "sky", "floor", "tree")
NAME = "upernet_convnext_atto"
RENEWABLE = Segmentation.renewable


@pytest.fixture(scope="module")
def theirs(transformers):
    labels = dict(enumerate(NAMES))
    return twin(transformers, id2label=labels, label2id={v: k for k, v in labels.items()})


@pytest.fixture(scope="module")
def folder(theirs, transformers, tmp_path_factory):
    """What transformers' `save_pretrained` of a network and of an image processor write."""
    path = tmp_path_factory.mktemp("hub") / "upernet"
    theirs.save_pretrained(path)
    processor = transformers.SegformerImageProcessor(
        size={"height": 96, "width": 96}, image_mean=[0.1, 0.2, 0.3], image_std=[0.4, 0.5, 0.6]
    )
    processor.save_pretrained(path)
    return path


@pytest.fixture
def changed(folder, tmp_path):
    """Returns a copy of the folder with changes to its configs."""

    def change(backbone=None, preprocessor=None, **fields):
        shutil.copytree(folder, tmp_path / "copy")
        for name, new in (("config", fields), ("preprocessor_config", preprocessor or {})):
            path = tmp_path / "copy" / f"{name}.json"
            config = {**json.loads(path.read_text()), **new}
            if name == "config" and backbone:
                config["backbone_config"] |= backbone
            path.write_text(json.dumps(config))
        return tmp_path / "copy"

    return change


def test_a_folder_of_transformers_gives_its_network_and_logits(folder, theirs):
    model, variables = inx.load_model(folder, depthwise_impl="conv")
    x = images((1, 70, 90, 3))
    logits = resize_bilinear(jax.jit(model.apply)(variables, x), (70, 90))
    expected = logits_of(lambda x: theirs(x).logits, x).transpose(0, 2, 3, 1)
    assert relative_error(logits, expected) < 1e-4


def test_name_classes_and_preprocessing_come_from_the_configs(folder):
    loaded = load_pretrained(folder)
    assert loaded.name == NAME
    assert loaded.options == {"stage_depths": SHALLOW, "channels": 16}
    assert loaded.class_names == NAMES
    assert loaded.preprocessing == DensePreprocessing(
        96, (0.1, 0.2, 0.3), (0.4, 0.5, 0.6), (384, 96), "slide", 96, 64, 1
    )
    assert loaded.licence == ""


def test_a_folder_without_an_image_processor_has_the_systems_preprocessing(changed):
    path = changed()
    (path / "preprocessor_config.json").unlink()
    assert load_pretrained(path).preprocessing == DensePreprocessing.of(inx.model_info(NAME))


def test_an_older_folder_holds_a_pickle(folder, theirs, tmp_path):
    import torch

    shutil.copytree(folder, tmp_path / "old", ignore=shutil.ignore_patterns("*.safetensors"))
    torch.save(theirs.state_dict(), tmp_path / "old/pytorch_model.bin")
    assert_identical(
        flat(load_pretrained(tmp_path / "old").variables), flat(load_pretrained(folder).variables)
    )


PUBLISHED = {
    "convnext_tiny": ((96, 192, 384, 768), (3, 3, 9, 3)),
    "convnext_small": ((96, 192, 384, 768), (3, 3, 27, 3)),
    "convnext_base": ((128, 256, 512, 1024), (3, 3, 27, 3)),
    "convnext_large": ((192, 384, 768, 1536), (3, 3, 27, 3)),
    "convnext_xlarge": ((256, 512, 1024, 2048), (3, 3, 27, 3)),
}


@pytest.mark.parametrize("name", PUBLISHED)
def test_the_backbones_name_is_that_of_its_widths_and_depths(transformers, name):
    widths, depths = PUBLISHED[name]
    for given, options in ((depths, {}), (SHALLOW, {"stage_depths": SHALLOW})):
        config = json.loads(configured(transformers, widths, given).to_json_string(use_diff=False))
        found = upernet_fields(config, {})
        assert found["options"] == options
        if not options or name != "convnext_small":  # of the tiny one's widths
            assert found["name"] == f"upernet_{name}"
    assert inx.model_info(f"upernet_{name}").hub_id == f"openmmlab/upernet-{name.replace('_', '-')}"
    assert inx.model_info(f"upernet_{name}").licence == "mit"


def test_a_config_that_leaves_defaults_out_is_a_tiny_one():
    found = upernet_fields({"backbone_config": {"model_type": "convnext"}}, {})
    assert (found["name"], found["options"], found["class_names"]) == (
        ("upernet_convnext_tiny", {}, ())
    )


def test_an_image_processor_of_the_short_side_or_without_normalisation_is_read(changed):
    path = changed(preprocessor={"size": {"shortest_edge": 448}, "do_normalize": False})
    before = load_pretrained(path).preprocessing
    assert (before.image_size, before.mean, before.std) == (448, (0.0,) * 3, (1.0,) * 3)


REFUSED = {
    "another backbone": ({"backbone": {"model_type": "swin"}}, "model_type is 'swin', expected"),
    "another activation": ({"backbone": {"hidden_act": "relu"}}, "hidden_act is 'relu'"),
    "other widths": ({"backbone": {"hidden_sizes": [1, 2, 3, 4]}}, "are no ConvNeXt's"),
    "depths of text": ({"backbone": {"depths": "abc"}}, "'abc' are not whole numbers"),
    "a billion blocks": ({"backbone": {"depths": [10**9, 1, 1, 1]}}, "are the most"),
    "other depths": ({"backbone": {"depths": [1, 1, 1, 1]}}, "does not fit"),
    "other pools": ({"pool_scales": [1, 2, 3]}, "pool_scales is .1, 2, 3., expected .1, 2, 3, 6"),
    "a backbone of text": ({"backbone_config": "x"}, "backbone_config is not a JSON object"),
    "labels of numbers": ({"id2label": {"0": 7}}, "class_names are not a list of strings"),
    "labels with gaps": ({"id2label": {"0": "a", "2": "b"}}, "does not name the classes 0, 1"),
    "more labels": ({"id2label": {str(i): "a" for i in range(9)}}, "9 class_names .* 5 classes"),
    "another network": ({"architectures": ["BertModel"]}, "architecture .*BertModel.* is unknown"),
    "huge images": ({"preprocessor": {"size": 10**9}}, "image_size=1000000000"),
    "a size of text": ({"preprocessor": {"size": {"height": "a"}}}, "image_size="),
    "other pixels": ({"preprocessor": {"rescale_factor": 2}}, "does not divide pixels by 255"),
}  # fmt: skip


@pytest.mark.parametrize("which", REFUSED)
def test_a_network_that_is_not_ours_is_refused_in_one_sentence(changed, which):
    changes, message = REFUSED[which]
    with pytest.raises(UserError, match=message) as error:
        load_pretrained(changed(**changes))
    assert "\n" not in str(error.value)


@pytest.fixture
def on_hub(folder, monkeypatch):
    """A hub with one repository of the given files; returns the names that are asked for."""
    import huggingface_hub
    from huggingface_hub import errors

    def publish(path, missing=errors.EntryNotFoundError):
        asked = []

        def download(repository, file):
            asked.append((repository, file))
            if not (path / file).is_file():
                raise missing(file)
            return str(path / file)

        monkeypatch.setattr(huggingface_hub, "hf_hub_download", download)
        return asked

    return publish


@pytest.mark.parametrize(
    "source", ["hf://openmmlab/upernet-convnext-tiny", "upernet_convnext_tiny"]
)
def test_a_published_network_comes_from_the_hub_with_its_licence(
    on_hub, transformers, tmp_path, source
):
    config = configured(transformers, (96, 192, 384, 768), num_labels=5, hidden_size=8)
    theirs = transformers.UperNetForSemanticSegmentation(config)
    theirs.save_pretrained(tmp_path)
    asked = on_hub(tmp_path)
    loaded = load_pretrained(source)
    assert (loaded.name, loaded.licence) == ("upernet_convnext_tiny", "mit")
    assert asked == [
        ("openmmlab/upernet-convnext-tiny", file)
        for file in ("model.safetensors", "config.json", "preprocessor_config.json")
    ]


@pytest.mark.parametrize("is_offline", [False, True])
def test_a_repository_with_a_pickle_only_is_found(on_hub, folder, theirs, tmp_path, is_offline):
    import torch
    from huggingface_hub import errors

    shutil.copytree(folder, tmp_path / "old", ignore=shutil.ignore_patterns("*.safetensors"))
    torch.save(theirs.state_dict(), tmp_path / "old/pytorch_model.bin")
    on_hub(
        tmp_path / "old",
        errors.LocalEntryNotFoundError if is_offline else errors.EntryNotFoundError,
    )
    loaded = load_pretrained("hf://someone/upernet")
    assert (loaded.name, loaded.class_names, loaded.licence) == (NAME, NAMES, "")
    assert loaded.preprocessing.image_size == 96


def test_init_from_and_checkpoints_read_the_folder(folder):
    variables, averages, meta = load_weights(folder, NAME, SHALLOW)
    assert_identical(flat(variables), flat(load_pretrained(folder).variables))
    assert (averages, meta) == (None, {})
    model = inx.create_model(NAME, num_classes=9, stage_depths=SHALLOW, channels=16)
    wanted = jax.eval_shape(model.init, jax.random.key(0), images((1, 64, 64, 3)))
    found = match(wanted, below("backbone/", variables), str(folder), RENEWABLE, "backbone/")
    assert found.renewed.keys() == {
        f"params/{head}/conv_seg/{leaf}"
        for head in ("decode_head", "auxiliary_head")
        for leaf in ("kernel", "bias")
    }
    assert not found.unused


def test_convert_writes_our_folder_of_theirs_and_their_names_again(
    folder, theirs, tmp_path, capsys
):
    ours, back = tmp_path / "ours", tmp_path / "back.safetensors"
    assert main(["convert", "--from", str(folder), "--to", str(ours)]) == 0
    loaded = load_pretrained(ours)
    assert (loaded.class_names, loaded.preprocessing) == (
        (NAMES, load_pretrained(folder).preprocessing)
    )
    arguments = ["--from", str(ours), "--to", str(back), "--layout=huggingface"]
    assert main(["convert", *arguments]) == 0
    assert_identical(read_weights(back).arrays, state(theirs))
    assert "huggingface's names" in capsys.readouterr().out
