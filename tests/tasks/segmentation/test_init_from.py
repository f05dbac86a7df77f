"""A system begins with a classifier's weights, from every kind of source; all arrays are listed."""

import jax
import numpy as np
import pytest
from safetensors.numpy import save_file

import inceptionnext_jax as inx
from configs.segmentation import digits as scenes
from inceptionnext_jax.convert import to_torch
from inceptionnext_jax.convert.load import load_weights
from inceptionnext_jax.errors import UserError
from inceptionnext_jax.tasks.segmentation import build
from inceptionnext_jax.train import mesh as meshes
from inceptionnext_jax.train.init_state import InitialState, below, match
from inceptionnext_jax.train.optimizer import make_optimizer
from inceptionnext_jax.trees import paths_and_leaves
from tests.models.oracle import random_variables
from tests.runs import small_config, untrained

ATTO, SYSTEM, DEPTHS = "inceptionnext_atto", "upernet_inceptionnext_atto", (1, 1, 1, 1)


@pytest.fixture(scope="module")
def classifier(tmp_path_factory):
    """{kind of source: (its path, the classifier's variables)}."""
    folder = tmp_path_factory.mktemp("classifier")
    config = small_config()
    trained = untrained(folder / "run", config)
    variables = random_variables(inx.create_model(ATTO, num_classes=7, stage_depths=DEPTHS))
    save_file(to_torch(ATTO, variables, stage_depths=DEPTHS), folder / "w.safetensors")
    saved = inx.Pretrained(ATTO, variables, {"stage_depths": DEPTHS})
    inx.save_pretrained(folder / "saved", saved)
    return {
        "workdir": (folder / "run", trained),
        "step": (folder / "run/checkpoints/1", trained),
        "file": (folder / "w.safetensors", variables),
        "folder": (folder / "saved", variables),
    }


def task():
    config = scenes.get_config()
    config.update_from_flattened_dict(
        {"model.stage_depths": DEPTHS, "head.channels": 16, "model.depthwise_impl": "conv"}
    )
    return config, build.build(config, build.open_data(config)).task


def backbone(variables):
    """The classifier's arrays under the system's names, without those of its head."""
    paths = paths_and_leaves(variables)
    return {
        f"{path.split('/', 1)[0]}/backbone/{path.split('/', 1)[1]}": leaf
        for path, leaf in paths
        if not path.split("/", 1)[1].startswith("head/")
    }


@pytest.mark.parametrize("kind", ["workdir", "step", "file", "folder"])
def test_every_array_of_a_classifier_is_loaded_or_listed(classifier, kind):
    path, variables = classifier[kind]
    said = []
    given, averages, _ = load_weights(path, SYSTEM, DEPTHS, said.append)
    assert averages is None

    is_file = kind in ("file", "folder")
    assert said == [f"{path}: taking it for {ATTO}, the backbone of {SYSTEM}"] * is_file
    _, wanted = task()
    shapes = jax.eval_shape(wanted.init, jax.random.key(0))
    found = match(shapes, below(wanted.body, given), str(path), wanted.renewable, wanted.body)
    expected = backbone(variables)
    assert found.loaded.keys() == expected.keys()
    for name, leaf in expected.items():
        np.testing.assert_array_equal(found.loaded[name], leaf, err_msg=name)
    assert {name.split("/")[1] for name in found.renewed} == {"decode_head", "auxiliary_head"}
    assert {name.split("/")[2] for name in found.unused} == {"head"}
    notes = "\n".join(found.notes(str(path)))
    total = len(dict(paths_and_leaves(shapes)))
    assert f"{len(expected)} of {total} arrays loaded" in notes
    assert all(name in notes for name in (*found.renewed, *found.unused))


@pytest.mark.usefixtures("quick_compilation")
def test_a_run_begins_with_a_classifiers_file(classifier):
    path, variables = classifier["file"]
    config, wanted = task()
    mesh = meshes.make_mesh(1, 1)
    params = jax.eval_shape(wanted.init, jax.random.key(0))["params"]
    tx = make_optimizer(config.optim, params, SYSTEM, wanted.body).tx
    said = []
    initial = InitialState(wanted, mesh, tx, seed=0, ema=False)
    state = initial.from_weights(str(path), config.model, said.append)
    found = dict(paths_and_leaves(jax.device_get(state.weights())))
    for name, leaf in backbone(variables).items():
        np.testing.assert_array_equal(found[name], leaf, err_msg=name)
    assert said[0].endswith(f"taking it for {ATTO}, the backbone of {SYSTEM}")
    assert any(line.startswith("re-initialised (") for line in said)


def test_a_file_of_another_network_is_compared_with_the_backbone(classifier):
    path, _ = classifier["file"]
    with pytest.raises(UserError, match=r"does not fit model\.name=convnext_atto: "):
        load_weights(path, "upernet_convnext_atto", DEPTHS)
