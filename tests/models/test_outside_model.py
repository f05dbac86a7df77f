"""A network registered from outside the package works wherever models are looked up by name."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import linen as nn

import inceptionnext_jax as inx
from configs import default
from inceptionnext_jax import trees
from inceptionnext_jax.__main__ import main
from inceptionnext_jax.cli.job import run_job
from inceptionnext_jax.convert import from_torch, to_torch
from inceptionnext_jax.errors import UserError
from inceptionnext_jax.explain.cam import class_maps, last_layer, layers
from inceptionnext_jax.models import ModelInfo, register_model, registry
from inceptionnext_jax.models.family import LINEAR_HEAD, Family
from inceptionnext_jax.models.names import CONV, LINEAR, Rule
from inceptionnext_jax.pretrained import Pretrained, load_pretrained
from inceptionnext_jax.train.layer_decay import layer_factors
from tests.models.oracle import images, random_variables
from tests.train.test_optimizer import optim


class TwoConvs(nn.Module):
    """Two convolutions and a linear classifier, with a gain that the host sets."""

    stage_depths: tuple[int, ...]
    num_classes: int = 1000
    dtype: object = jnp.float32

    @nn.compact
    def __call__(self, x, train=False, positions=None):
        gain = self.variable("host", "gain", jnp.ones, ())
        x = nn.relu(nn.Conv(4, (4, 4), (4, 4), padding="VALID", name="stem")(x))
        for i in range(self.stage_depths[0]):
            x = x + gain.value * nn.relu(nn.Conv(4, (3, 3), name=f"layer_{i}")(x))
        return nn.Dense(self.num_classes, name="head")(x.mean((1, 2)))

    @staticmethod
    def explained_layer(paths):
        return "layer_0"


def layer_ids(paths):
    """The stem, each layer, and the head."""
    firsts = [path.split("/")[0] for path in paths]
    order = {name: i for i, name in enumerate(sorted(set(firsts) - {"stem", "head"}), start=1)}
    order |= {"stem": 0, "head": len(order) + 1}
    return {path: order[first] for path, first in zip(paths, firsts, strict=True)}


NAMES = (
    Rule(r"stem", r"features.0", CONV),
    Rule(r"layer_(\d+)", r"features.1.\1", CONV),
    Rule(r"head", r"classifier", LINEAR),
)
FAMILY = Family(
    (NAMES,),
    implied={("host", "gain"): 1.0},
    classifier=("params", "head", "bias"),
    layer_ids=layer_ids,
    host_scalars=("gain",),
)
INFO = ModelInfo("twoconvs", input_size=32, stage_depths=(2,), family=FAMILY)


@pytest.fixture(autouse=True)
def registered(monkeypatch):
    """Registers the network for one test."""
    monkeypatch.setattr(registry, "_MODELS", dict(registry._MODELS))
    register_model(INFO, TwoConvs)


@pytest.fixture
def variables():
    found = random_variables(inx.create_model("twoconvs", num_classes=5))
    return {**found, "host": {"gain": np.float32(1)}}


def test_registration_ends_with_the_test(monkeypatch):
    assert "twoconvs" in inx.list_models()
    monkeypatch.undo()
    assert "twoconvs" not in inx.list_models()


def test_it_is_created_with_checked_options():
    model = inx.create_model("twoconvs", num_classes=5, stage_depths=(3,), bn_group_size=8)
    assert model == TwoConvs((3,), num_classes=5)
    with pytest.raises(UserError, match="twoconvs has no option drop_path_rate"):
        inx.create_model("twoconvs", drop_path_rate=0.1)


def test_sizes_are_unknown_unless_given(monkeypatch):
    assert inx.model_info("twoconvs") == INFO
    assert (INFO.params, INFO.macs, INFO.activations, INFO.macs_of_attention) == (None,) * 4
    monkeypatch.undo()
    monkeypatch.setattr(registry, "_MODELS", dict(registry._MODELS))
    register_model(dataclasses.replace(INFO, params=9_000), TwoConvs)
    assert inx.model_info("twoconvs").params == 9_000


def test_it_is_listed_with_empty_sizes(capsys):
    assert main(["models", "twoconvs"]) == 0
    assert capsys.readouterr().out.splitlines()[1].split() == ["twoconvs", "32"]
    assert main(["models", "--details", "twoconvs"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert {"params", "macs", "activations"} <= set(lines)
    assert not [line for line in lines if line.startswith("family")]


def test_a_config_can_plan_it(capsys):
    config = default.get_config()
    config.update_from_flattened_dict(
        {"model.name": "twoconvs", "model.drop_path_rate": 0.0, "data.image_size": 32,
         "data.name": "synthetic", "schedule.slope_epochs": 3.0, "batch_size": 128}
    )  # fmt: skip
    config.compilation_cache = ""
    with pytest.raises(UserError, match=r"^schedule\.slope_epochs=3\.0 is for the activations"):
        run_job(config, None, "plan", None)  # the network has no slope
    config.schedule.slope_epochs = 0.0
    capsys.readouterr()
    assert run_job(config, None, "plan", None) == 0
    lines = capsys.readouterr().out.splitlines()
    (line,) = (line for line in lines if "parameters" in line)
    params = 3 * 16 * 4 + 4 + 2 * (9 * 16 + 4) + 1000 * 5
    assert f"{params:,} parameters, " in line


def test_its_table_converts_both_ways(variables):
    state_dict = to_torch("twoconvs", variables)
    assert sorted(state_dict) == [
        f"{module}.{array}"
        for module in ("classifier", "features.0", "features.1.0", "features.1.1")
        for array in ("bias", "weight")
    ]
    back = from_torch("twoconvs", state_dict)
    assert jax.tree.structure(back) == jax.tree.structure(variables)
    jax.tree.map(np.testing.assert_array_equal, back, variables)
    del state_dict["features.1.1.bias"]
    with pytest.raises(UserError, match=r"1 missing: features\.1\.1\.bias"):
        from_torch("twoconvs", state_dict)


def test_a_family_without_names_is_refused_only_by_conversion():
    register_model(ModelInfo("nameless", input_size=32, stage_depths=(2,)), TwoConvs)
    assert inx.model_info("nameless").family == Family(classifier=LINEAR_HEAD)
    assert inx.create_model("nameless").num_classes == 1000
    with pytest.raises(UserError, match="model 'nameless' has no table of PyTorch names"):
        from_torch("nameless", {})
    with pytest.raises(UserError, match="deployed model 'twoconvs' has no table"):
        from_torch("twoconvs", {}, deployed=True)


def test_its_layer_ids_scale_the_rates(variables):
    from inceptionnext_jax.train.optimizer import make_optimizer

    found = make_optimizer(optim(layer_decay=0.5), variables["params"], "twoconvs").rate_factors
    wanted = {"stem": 0.125, "layer_0": 0.25, "layer_1": 0.5, "head": 1.0}
    for path, factor in trees.paths_and_leaves(found):
        assert factor == wanted[path.split("/")[0]], path
    within = layer_factors(FAMILY, ["b/stem/bias", "b/layer_0/bias", "neck/bias"], 0.5, "b/")
    assert within == {"b/stem/bias": 0.25, "b/layer_0/bias": 0.5, "neck/bias": 1.0}


def test_a_saved_folder_is_loaded(tmp_path, variables):
    labels = tuple("abcde")
    inx.save_pretrained(tmp_path, Pretrained("twoconvs", variables, class_names=labels))
    model, loaded = inx.load_model(tmp_path)
    assert model == TwoConvs((2,), num_classes=5)
    jax.tree.map(np.testing.assert_array_equal, loaded, variables)
    assert load_pretrained(tmp_path).class_names == labels
    x = images((2, 32, 32, 3))
    np.testing.assert_array_equal(model.apply(loaded, x), model.apply(variables, x))


def test_its_class_maps_explain_the_layer_it_names(variables):
    model = inx.create_model("twoconvs", num_classes=5)
    found = layers(model, 32)
    assert last_layer(model, found) == "layer_0"
    assert found["layer_0"] == (8, 8, 4)
    maps = class_maps(model, variables, images((2, 32, 32, 3))).maps
    assert maps.shape == (2, 8, 8)


def test_deploying_it_changes_nothing(variables):
    model = inx.create_model("twoconvs", num_classes=5)
    assert inx.deploy(model, variables) == (model, variables)
